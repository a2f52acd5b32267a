/** Views, copies that no stride expresses, broadcasting and sums. */
import * as ops from "../../../../src/engine/mod.ts";
import { any, applyOp, type CaseTable, indicesOf, reader, rowsOf, whole } from "./case.ts";

const sum = (x: ArrayLike<number>) => Array.from(x).reduce((a, b) => a + b, 0);

/** Where pixel (i, j) of a plane of 3 x 7, padded by 2, comes from: read off by hand. */
const reflected = (i: number, j: number): [number, number] => [
  [2, 1, 0, 1, 2, 1, 0][i],
  [2, 1, 0, 1, 2, 3, 4, 5, 6, 5, 4][j],
];

/** Threefry-2x32 as its paper writes it, in integers without bounds; then Box and Muller's transformation. */
function normalNumbers(key: Float64Array, length: number): number[] {
  const word = 2n ** 32n;
  const half = (i: number) => BigInt.asUintN(16, BigInt(key[i]));
  const k = [half(0) * 65536n + half(1), half(2) * 65536n + half(3)];
  const keys = [...k, k[0] ^ k[1] ^ 0x1bd11bdan];
  return Array.from({ length }, (_, i) => {
    let [x, y] = [(BigInt(i) + k[0]) % word, k[1]];
    for (let block = 0; block < 5; block++) {
      for (const by of block % 2 === 0 ? [13n, 15n, 26n, 6n] : [17n, 29n, 16n, 24n]) {
        x = (x + y) % word;
        y = ((y * 2n ** by) % word + y / 2n ** (32n - by)) ^ x;
      }
      x = (x + keys[(block + 1) % 3]) % word;
      y = (y + keys[(block + 2) % 3] + BigInt(block + 1)) % word;
    }
    const [u, v] = [(Number(x >> 9n) + 0.5) / 2 ** 23, Number(y >> 9n) / 2 ** 23];
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
  });
}

export const movementCases: CaseTable = {
  reshape: {
    cases: [
      {
        name: "three axes to two",
        inputs: [any(4, 3, 5)],
        build: (x) => ops.reshape(x, [6, 10]),
        formula: (x) => x,
      },
      {
        name: "of a permuted tensor, which must be copied",
        inputs: [any(4, 3, 5)],
        build: (x) => ops.reshape(ops.permute(x, [2, 0, 1]), [20, 3]),
        formula: (x) => indicesOf([5, 4, 3]).map(([i, j, k]) => reader(x, [4, 3, 5])(j, k, i)),
      },
      {
        name: "twice with a permutation between, which needs two copies",
        inputs: [any(4, 3, 5)],
        build: (x) => ops.reshape(ops.permute(ops.reshape(ops.permute(x, [2, 0, 1]), [4, 15]), [1, 0]), [30, 2]),
      },
      { name: "to a scalar", inputs: [any(1, 1)], build: (x) => ops.reshape(x, []), formula: (x) => x },
    ],
  },
  permute: {
    cases: [
      {
        name: "four axes",
        inputs: [any(2, 3, 4, 5)],
        build: (x) => ops.permute(x, [3, 0, 2, 1]),
        formula: (x) => indicesOf([5, 2, 4, 3]).map(([a, b, c, d]) => reader(x, [2, 3, 4, 5])(b, d, c, a)),
      },
      { name: "axes of one", inputs: [any(1, 7, 1)], build: (x) => ops.permute(x, [2, 1, 0]), formula: (x) => x },
    ],
  },
  slice: {
    cases: [
      {
        name: "every second, from one",
        inputs: [any(5, 8)],
        build: (x) => ops.slice(x, 1, 1, 3, 2),
        formula: (x) => indicesOf([5, 3]).map(([i, j]) => reader(x, [5, 8])(i, 1 + 2 * j)),
      },
      {
        name: "backwards",
        inputs: [any(9, 3)],
        build: (x) => ops.slice(x, 0, 8, 3, -3),
        formula: (x) => indicesOf([3, 3]).map(([i, j]) => reader(x, [9, 3])(8 - 3 * i, j)),
      },
      {
        name: "a flip",
        inputs: [any(4, 5)],
        build: (x) => ops.flip(x, -1),
        formula: (x) => indicesOf([4, 5]).map(([i, j]) => reader(x, [4, 5])(i, 4 - j)),
      },
    ],
  },
  embed: {
    cases: [
      {
        name: "into every second column",
        inputs: [any(3, 4)],
        build: (x) => applyOp("embed", [x], { shape: [5, 9], start: [1, 1], step: [1, 2] }),
        formula: (x) =>
          indicesOf([5, 9]).map(([i, j]) =>
            i >= 1 && i < 4 && j % 2 === 1 && j < 8 ? reader(x, [3, 4])(i - 1, (j - 1) / 2) : 0
          ),
      },
      {
        name: "backwards",
        inputs: [any(4)],
        build: (x) => applyOp("embed", [x], { shape: [11], start: [10], step: [-3] }),
        formula: (x) => Array.from({ length: 11 }, (_, i) => (10 - i) % 3 === 0 ? x[(10 - i) / 3] : 0),
      },
    ],
  },
  concat: {
    cases: [
      {
        name: "two computed pieces",
        inputs: [any(2, 5), any(3, 5)],
        build: (a, b) => ops.concat([ops.mul(a, 2), b]),
        formula: (a, b) => [...a.map((x) => 2 * x), ...b],
      },
      {
        name: "along the last axis",
        inputs: [any(4, 2), any(4, 3)],
        build: (a, b) => ops.concat([a, b], 1),
        formula: (a, b) => rowsOf(a, 2).flatMap((row, i) => [...row, ...rowsOf(b, 3)[i]]),
      },
      {
        name: "products and chains side by side",
        inputs: [any(5, 3), any(3, 8), any(5, 4)],
        build: (a, b, c) => ops.concat([ops.matmul(a, b), ops.mul(c, c), ops.mul(ops.matmul(a, b), 2), c], 1),
        terms: 3,
      },
      {
        name: "along an axis in the middle",
        inputs: [any(2, 3, 4), any(2, 1, 4)],
        build: (a, b) => ops.concat([ops.exp(a), b, ops.softmax(b)], 1),
      },
      {
        name: "a piece that is read by itself too",
        inputs: [any(4, 3), any(3, 2)],
        build: (a, b) => {
          const product = ops.matmul(a, b);
          return ops.mul(ops.concat([product, ops.neg(product)], 1), ops.concat([a, ops.slice(a, 1, 0, 1)], 1));
        },
        terms: 3,
      },
      {
        name: "a piece twice, and a piece computed from another",
        inputs: [any(3, 4)],
        build: (a) => {
          const b = ops.mul(a, a);
          return ops.concat([b, b, ops.exp(ops.neg(b))]);
        },
      },
      {
        name: "of concatenations",
        inputs: [any(2, 3), any(1, 3)],
        build: (a, b) => {
          const inner = ops.concat([ops.neg(a), b]);
          return ops.concat([inner, ops.flip(inner, 0), b]);
        },
      },
    ],
  },
  crop: {
    cases: [
      {
        name: "partly outside",
        inputs: [any(2, 6, 7), whole(2)],
        build: (x, at) => ops.crop(x, at, 4, 8),
        formula: (x, at) =>
          indicesOf([2, 4, 8]).map(([c, i, j]) => {
            const [y, z] = [i + at[0], j + at[1]];
            return y < 0 || z < 0 || y > 5 || z > 6 ? 0 : reader(x, [2, 6, 7])(c, y, z);
          }),
      },
    ],
  },
  place: {
    cases: [
      {
        name: "partly outside",
        inputs: [any(2, 4, 5), whole(2)],
        build: (x, at) => applyOp("place", [x, at], { height: 6, width: 7 }),
        formula: (x, at) =>
          indicesOf([2, 6, 7]).map(([c, i, j]) => {
            const [y, z] = [i - at[0], j - at[1]];
            return y < 0 || z < 0 || y > 3 || z > 4 ? 0 : reader(x, [2, 4, 5])(c, y, z);
          }),
      },
    ],
  },
  fill: {
    cases: [{
      name: "a negative number",
      inputs: [],
      build: () => applyOp("fill", [], { shape: [3, 5], literal: -0.1 }),
      formula: () => new Float64Array(15).fill(-0.1),
    }],
  },
  pad_reflection: {
    cases: [
      {
        name: "by 2, of planes of 3 x 7",
        inputs: [any(2, 3, 3, 7)],
        build: (x) => applyOp("pad_reflection", [x], { padding: 2 }),
        formula: (x) =>
          indicesOf([2, 3, 7, 11]).map(([b, c, i, j]) => reader(x, [2, 3, 3, 7])(b, c, ...reflected(i, j))),
      },
    ],
  },
  fold_reflection: {
    cases: [
      {
        name: "by 2, to planes of 3 x 7, of turned planes",
        inputs: [any(11, 2, 3, 7)],
        build: (g) => applyOp("fold_reflection", [ops.permute(g, [1, 2, 3, 0])], { padding: 2 }),
        formula(g) {
          const out = new Float64Array(2 * 3 * 3 * 7);
          for (const [b, c, i, j] of indicesOf([2, 3, 7, 11])) {
            const [y, x] = reflected(i, j);
            out[((b * 3 + c) * 3 + y) * 7 + x] += reader(g, [11, 2, 3, 7])(j, b, c, i);
          }
          return out;
        },
        terms: 9,
      },
    ],
  },
  normal: {
    cases: [
      {
        name: "two axes",
        inputs: [whole(4)],
        build: (key) => ops.add(ops.normal(key, [7, 150]), 0),
        formula: (key) => normalNumbers(key, 1050),
        roundings: 64,
      },
      {
        name: "twice with one key",
        inputs: [whole(4)],
        build: (key) => ops.sub(ops.normal(key, [33]), ops.reshape(ops.normal(key, [3, 11]), [33])),
        formula: () => new Float64Array(33),
      },
    ],
  },
  expand: {
    cases: [
      {
        name: "an inner and a leading axis",
        inputs: [any(3, 1, 5)],
        build: (x) => ops.expand(x, [2, 3, 4, 5]),
        formula: (x) => indicesOf([2, 3, 4, 5]).map(([, i, , j]) => reader(x, [3, 5])(i, j)),
      },
      {
        name: "a scalar",
        inputs: [any()],
        build: (x) => ops.expand(x, [3, 7]),
        formula: ([x]) => new Float64Array(21).fill(x),
      },
    ],
  },
  sum: {
    cases: [
      {
        name: "rows of 70",
        inputs: [any(4, 6, 70)],
        build: (x) => ops.sum(x, 1),
        formula: (x) => rowsOf(x, 70).map(sum),
        terms: 70,
      },
      {
        name: "two axes at once, to a scalar",
        inputs: [any(9, 31)],
        build: (x) => ops.sum(x, 2),
        formula: (x) => [sum(x)],
        terms: 279,
      },
      { name: "rows of 1", inputs: [any(17, 1)], build: (x) => ops.sum(x, 1), formula: (x) => x },
      {
        name: "rows of 100,000",
        inputs: [any(3, 100000)],
        build: (x) => ops.sum(x, 1),
        formula: (x) => rowsOf(x, 100000).map(sum),
        terms: 100000,
      },
      {
        name: "70,000 rows of 3",
        inputs: [any(70000, 3)],
        build: (x) => ops.sum(x, 1),
        formula: (x) => rowsOf(x, 3).map(sum),
        terms: 3,
      },
      {
        name: "of a flipped, permuted tensor",
        inputs: [any(5, 12, 9)],
        build: (x) => ops.sum(ops.flip(ops.permute(x, [1, 2, 0]), 1), 2),
        formula: (x) => Array.from({ length: 12 }, (_, j) => sum(rowsOf(x, 9).filter((_, r) => r % 12 === j).map(sum))),
        terms: 45,
      },
    ],
  },
  column_sum: {
    cases: [
      {
        name: "33 columns of 50",
        inputs: [any(50, 33)],
        build: (x) => applyOp("column_sum", [x]),
        formula: (x) => Array.from({ length: 33 }, (_, j) => sum(rowsOf(x, 33).map((row) => row[j]))),
        terms: 50,
      },
      { name: "one row", inputs: [any(1, 9)], build: (x) => applyOp("column_sum", [x]), formula: (x) => x },
      {
        name: "3 columns of 20,000, turned",
        inputs: [any(3, 20000)],
        build: (x) => applyOp("column_sum", [ops.transpose(x)]),
        formula: (x) => rowsOf(x, 20000).map(sum),
        terms: 20000,
      },
    ],
  },
};
