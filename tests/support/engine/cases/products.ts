/** Matrix products and attention. */
import * as ops from "../../../../src/engine/mod.ts";
import { any, applyOp, type Case, type CaseTable, indicesOf, reader } from "./case.ts";

type Matrix = (...index: number[]) => number;

function product(a: Matrix, b: Matrix, [m, k, n]: readonly [number, number, number]): number[] {
  return indicesOf([m, n]).map(([i, j]) => {
    let sum = 0;
    for (let l = 0; l < k; l++) sum += a(i, l) * b(l, j);
    return sum;
  });
}

function matmulOf(m: number, k: number, n: number): Case {
  return {
    name: `${m} x ${k} x ${n}`,
    inputs: [any(m, k), any(k, n)],
    build: (a, b) => ops.matmul(a, b),
    formula: (a, b) => product(reader(a, [m, k]), reader(b, [k, n]), [m, k, n]),
    terms: k,
  };
}

/** q [M, D], k and v [N, D]: per head of `size` columns, softmax(q k^T / sqrt(size)) v. */
function attentionOf(m: number, n: number, { heads, size = 64 }: { heads: number; size?: number }): Case {
  const width = heads * size;
  return {
    name: `${m} queries, ${n} keys, ${heads} heads of ${size}`,
    inputs: [any(m, width), any(n, width), any(n, width)],
    build: (q, k, v) => ops.attention(q, k, v, size === 64 ? {} : { heads }),
    formula: (...x) => {
      const [q, k, v] = [reader(x[0], [m, width]), reader(x[1], [n, width]), reader(x[2], [n, width])];
      return indicesOf([m, width]).map(([i, d]) => {
        const head = d - d % size;
        let [above, below] = [0, 0];
        for (let j = 0; j < n; j++) {
          let score = 0;
          for (let c = head; c < head + size; c++) score += q(i, c) * k(j, c);
          above += Math.exp(score / Math.sqrt(size)) * v(j, d);
          below += Math.exp(score / Math.sqrt(size));
        }
        return above / below;
      });
    },
    terms: n,
    // Errors of the scores, which are sums of `size` products, pass through exp.
    roundings: 2 * Math.max(64, size),
  };
}

export const productCases: CaseTable = {
  matmul: {
    cases: [
      matmulOf(13, 17, 40),
      matmulOf(1, 1, 1),
      matmulOf(1, 64, 33),
      matmulOf(33, 7, 1),
      matmulOf(70, 129, 65),
      {
        name: "both turned",
        inputs: [any(17, 13), any(40, 17)],
        build: (a, b) => ops.matmul(ops.transpose(a), ops.transpose(b)),
        formula: (a, b) => product((i, l) => a[l * 13 + i], (l, j) => b[j * 17 + l], [13, 17, 40]),
        terms: 17,
      },
      {
        name: "a flipped with a strided",
        inputs: [any(9, 12), any(24, 10)],
        build: (a, b) => ops.matmul(ops.flip(a, 1), ops.slice(b, 0, 1, 12, 2)),
        formula: (a, b) => product((i, l) => a[i * 12 + 11 - l], (l, j) => b[(1 + 2 * l) * 10 + j], [9, 12, 10]),
        terms: 12,
      },
      {
        name: "a repeated row",
        inputs: [any(1, 12), any(12, 10)],
        build: (a, b) => ops.matmul(ops.expand(a, [6, 12]), b),
        formula: (a, b) => product((_, l) => a[l], (l, j) => b[l * 10 + j], [6, 12, 10]),
        terms: 12,
      },
      {
        name: "batches",
        inputs: [any(3, 9, 12), any(3, 12, 20)],
        build: (a, b) => ops.matmul(a, b),
        formula: (a, b) =>
          [0, 1, 2].flatMap((z) =>
            product((i, l) => a[(z * 9 + i) * 12 + l], (l, j) => b[(z * 12 + l) * 20 + j], [9, 12, 20])
          ),
        terms: 12,
      },
      {
        name: "batches merged",
        inputs: [any(3, 9, 12), any(3, 12, 20)],
        build: (a, b) => ops.matmul(a, b, { merge: true }),
        formula: (a, b) =>
          indicesOf([9, 3, 20]).map(([i, z, j]) =>
            product((_, l) => a[(z * 9 + i) * 12 + l], (l) => b[(z * 12 + l) * 20 + j], [1, 12, 1])[0]
          ),
        terms: 12,
      },
      {
        name: "a square product and itself turned, added",
        inputs: [any(9, 5), any(5, 9)],
        build: (a, b) => ops.add(ops.matmul(a, b), ops.transpose(ops.matmul(a, b))),
        formula: (a, b) => {
          const whole = product(reader(a, [9, 5]), reader(b, [5, 9]), [9, 5, 9]);
          return whole.map((x, i) => x + whole[i % 9 * 9 + Math.floor(i / 9)]);
        },
        terms: 10,
      },
      {
        name: "a linear layer",
        inputs: [any(21, 16), any(24, 16), any(24)],
        build: (x, weight, bias) => ops.gelu(ops.add(ops.matmul(x, ops.transpose(weight)), bias)),
        terms: 16,
        roundings: 32,
      },
    ],
  },
  matmul_split: {
    cases: [
      {
        name: "5 x 8200 x 6",
        inputs: [any(5, 8200), any(8200, 6)],
        build: (a, b) => ops.matmul(a, b),
        formula: (a, b) => product(reader(a, [5, 8200]), reader(b, [8200, 6]), [5, 8200, 6]),
        terms: 8200,
      },
      {
        name: "parts of unequal length",
        inputs: [any(3, 50), any(50, 4)],
        build: (a, b) => applyOp("matmul_split", [a, b], { splits: 7 }),
        formula: (a, b) => product(reader(a, [3, 50]), reader(b, [50, 4]), [3, 50, 4]),
        terms: 50,
      },
    ],
  },
  attention_general: {
    cases: [
      attentionOf(19, 19, { heads: 3, size: 32 }),
      attentionOf(1, 37, { heads: 2, size: 48 }),
      attentionOf(9, 70, { heads: 1, size: 80 }),
      attentionOf(5, 6, { heads: 4, size: 3 }),
      attentionOf(7, 9, { heads: 1, size: 128 }),
    ],
  },
  attention: {
    cases: [
      attentionOf(19, 19, { heads: 2 }),
      attentionOf(1, 37, { heads: 1 }),
      attentionOf(37, 1, { heads: 1 }),
      attentionOf(9, 70, { heads: 2 }),
      {
        name: "slices of one product",
        inputs: [any(10, 192)],
        build: (x) => ops.attention(ops.slice(x, 1, 0, 64), ops.slice(x, 1, 64, 64), ops.slice(x, 1, 128, 64)),
        terms: 10,
        roundings: 128,
      },
    ],
  },
};
