/** Softmax, moments and normalisations, over rows of 1 to 100,000. */
import * as ops from "../../../../src/engine/mod.ts";
import { any, applyOp, type Case, type CaseTable, rowsOf } from "./case.ts";

const EPSILON = 1e-3;

const mean = (x: ArrayLike<number>) => Array.from(x).reduce((a, b) => a + b, 0) / x.length;
/** E[x^2] - E[x]^2: not how the op does it, and exact enough in f64. */
const variance = (x: Float64Array) => mean(x.map((value) => value * value)) - mean(x) ** 2;
const deviation = (x: Float64Array) => Math.sqrt(variance(x) + EPSILON);
const standard = (x: Float64Array) => x.map((value) => (value - mean(x)) / deviation(x));
const softmax = (x: Float64Array) => x.map((value) => 1 / x.reduce((sum, other) => sum + Math.exp(other - value), 0));
const inner = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const over = (length: number, f: (...rows: Float64Array[]) => Float64Array) => (...x: Float64Array[]) =>
  rowsOf(x[0], length).flatMap((_, r) => Array.from(f(...x.map((values) => rowsOf(values, length)[r]))));

function softmaxOf(rows: number, length: number): Case {
  return {
    name: `${rows} rows of ${length}`,
    inputs: [any(rows, length)],
    build: (x) => ops.softmax(x),
    ...(length < 1000 ? { formula: over(length, softmax) } : {}),
    terms: length,
  };
}

function layerNormOf(rows: number, length: number): Case {
  return {
    name: `${rows} rows of ${length}`,
    inputs: [any(rows, length), any(length), any(length)],
    build: (x, weight, bias) => ops.layerNorm(x, weight, bias, EPSILON),
    formula: (x, weight, bias) => over(length, (row) => standard(row).map((hat, j) => hat * weight[j] + bias[j]))(x),
    terms: length,
    // A row of one is its mean: what is left of it is divided by sqrt(epsilon).
    roundings: length === 1 ? 64 : 16,
  };
}

export const rowCases: CaseTable = {
  softmax: {
    cases: [
      softmaxOf(7, 33),
      softmaxOf(5, 1),
      softmaxOf(2, 100000),
      {
        name: "large scores",
        inputs: [any(4, 9)],
        build: (x) => ops.softmax(ops.mul(x, 64)),
        formula: (x) => over(9, softmax)(x.map((value) => value * 64)),
        terms: 9,
        roundings: 64,
      },
      { name: "of a permuted tensor", inputs: [any(6, 3, 5)], build: (x) => ops.softmax(ops.permute(x, [2, 1, 0])) },
    ],
  },
  softmax_gradient: {
    cases: [
      {
        name: "7 rows of 33",
        inputs: [any(7, 33), any(7, 33)],
        build: (p, g) => applyOp("softmax_gradient", [p, g]),
        formula: over(33, (p, g) => p.map((value, i) => value * g[i] - value * inner(g, p))),
        terms: 33,
      },
      {
        name: "rows of 1",
        inputs: [any(3, 1), any(3, 1)],
        build: (p, g) => applyOp("softmax_gradient", [p, g]),
        roundings: 32,
      },
    ],
  },
  moments: {
    cases: [
      {
        name: "5 rows of 99",
        inputs: [any(5, 9, 11)],
        build: (x) => applyOp("moments", [x], { axes: 2, epsilon: EPSILON }),
        formula: (x) => [...rowsOf(x, 99).map(mean), ...rowsOf(x, 99).map((row) => 1 / deviation(row))],
        terms: 99,
      },
      { name: "rows of 1", inputs: [any(9, 1)], build: (x) => applyOp("moments", [x], { axes: 1, epsilon: EPSILON }) },
      {
        name: "a row of 100,000 far from zero",
        inputs: [any(1, 100000)],
        build: (x) => applyOp("moments", [ops.add(x, 100)], { axes: 1, epsilon: EPSILON }),
        terms: 100000,
        roundings: 32,
      },
    ],
  },
  pair_sums: {
    cases: [
      {
        name: "6 rows of 35",
        inputs: [any(6, 5, 7), any(6, 5, 7)],
        build: (g, h) => applyOp("pair_sums", [g, h], { axes: 2 }),
        formula: (g, h) => [
          ...rowsOf(g, 35).map((row, r) => inner(row, rowsOf(h, 35)[r])),
          ...rowsOf(g, 35).map((row) => mean(row) * 35),
        ],
        terms: 35,
      },
      { name: "rows of 1", inputs: [any(4, 1), any(4, 1)], build: (g, h) => applyOp("pair_sums", [g, h], { axes: 1 }) },
    ],
  },
  layer_norm: {
    cases: [
      layerNormOf(7, 64),
      layerNormOf(3, 129),
      layerNormOf(3, 1),
      {
        name: "rank 3, flipped and permuted",
        inputs: [any(5, 4, 6), any(5), any(5)],
        build: (x, weight, bias) => ops.layerNorm(ops.permute(x, [1, 2, 0]), ops.flip(weight, 0), bias, EPSILON),
        terms: 5,
        roundings: 16,
      },
    ],
  },
  layer_norm_gradient: {
    cases: [
      {
        name: "7 rows of 65",
        inputs: [any(7, 65), any(7, 65)],
        build: (x, h) => applyOp("layer_norm_gradient", [x, h], { epsilon: EPSILON }),
        formula: over(65, (x, h) => {
          const [hat, middle] = [standard(x), mean(h)];
          return h.map((value, i) => (value - middle - hat[i] * inner(h, hat) / 65) / deviation(x));
        }),
        terms: 65,
        roundings: 16,
      },
    ],
  },
  batch_norm: {
    cases: [
      {
        name: "one image",
        inputs: [any(1, 4, 9, 11), any(2, 4)],
        build: (x, affine) => ops.batchNorm(x, affine, EPSILON),
        formula: (x, affine) =>
          rowsOf(x, 99).flatMap((row, c) => Array.from(standard(row), (hat) => hat * affine[c] + affine[4 + c])),
        terms: 99,
        roundings: 16,
      },
      {
        name: "two images",
        inputs: [any(2, 3, 5, 1), any(2, 3)],
        build: (x, affine) => ops.batchNorm(x, affine, EPSILON),
        terms: 5,
        roundings: 16,
      },
      {
        name: "planes of one pixel",
        inputs: [any(1, 3, 1, 1), any(2, 3)],
        build: (x, affine) => ops.batchNorm(x, affine, EPSILON),
        roundings: 64,
      },
    ],
  },
};
