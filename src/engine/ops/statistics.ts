/**
 * Moments and sums of rows, and rows standardised by them.
 *
 * A row is what the trailing axes span: [R, n] with R = product of the kept axes. Sums are deterministic: their order depends
 * on shape and profile alone. Moments are two-pass; sums are kept in blocks, so that rows of a million elements stay accurate.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import { sizeOf } from "../ir/type.ts";
import { momentsKernel, pairSumsKernel } from "../wgsl/rows/statistics.ts";
import { checkAxes, eachRow, expand, kept, sum, total } from "./broadcast.ts";
import { add, div, mul, sub } from "./elementwise.ts";
import { reshape, slice } from "./movement.ts";

export function mean(x: Value, axes: number): Value {
  return div(sum(x, axes), sizeOf(x.type.shape.slice(x.type.shape.length - axes)));
}

/** Two numbers a row, as [2, R]. */
function pairs(
  inputs: readonly Float64Array[],
  length: number,
  f: (rows: Float64Array[]) => [number, number],
): Float64Array {
  const interleaved = eachRow(inputs, length, 2, f);
  return interleaved.map((_, i) =>
    interleaved[(i % (interleaved.length / 2)) * 2 + (i < interleaved.length / 2 ? 0 : 1)]
  );
}

/** Row k of a [2, R...] as a tensor of x's shape, repeated over x's trailing axes. */
export function perRow(pair: Value, k: number, x: Value, axes: number): Value {
  const rank = x.type.shape.length - axes;
  return expand(
    reshape(slice(pair, 0, k, 1), [...x.type.shape.slice(0, rank), ...Array<number>(axes).fill(1)]),
    x.type.shape,
  );
}

/** On the host: a row brought to mean 0 and deviation 1, and the reciprocal of its standard deviation. */
export function standardisedRow(row: Float64Array, epsilon: number): { hat: Float64Array; rstd: number } {
  const mean = total(row) / row.length;
  const rstd = 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length + epsilon);
  return { hat: row.map((x) => (x - mean) * rstd), rstd };
}

/** Means and reciprocal standard deviations of rows: [R, n] -> [2, R]. */
const momentsOp: Op = {
  name: "moments",
  infer(inputs, attrs) {
    checkAxes("take moments of", inputs, attrs);
    return { dtype: "f32", shape: [2, ...kept(inputs[0], attrs)] };
  },
  meaning([x], [type], attrs) {
    const epsilon = attrs.epsilon as number;
    return pairs(
      [x],
      sizeOf(type.shape) / sizeOf(kept(type, attrs)),
      ([row]) => [total(row) / row.length, standardisedRow(row, epsilon).rstd],
    );
  },
  pullback({ g, out, inputs: [x], attrs }) {
    const axes = attrs.axes as number;
    const rstd = perRow(out, 1, x, axes);
    // d mean / dx = 1/n; d rstd / dx = -rstd^3 (x - mean) / n.
    const throughRstd = mul(mul(perRow(g, 1, x, axes), mul(rstd, mul(rstd, rstd))), sub(x, perRow(out, 0, x, axes)));
    return [div(sub(perRow(g, 0, x, axes), throughRstd), sizeOf(x.type.shape.slice(x.type.shape.length - axes)))];
  },
  lower: { kind: "kernel", epilogue: false, prologue: true, build: momentsKernel },
};

function moments(x: Value, axes: number, epsilon: number): Value {
  return apply(momentsOp, [x], { axes, epsilon });
}

/** In a graph: x with its rows, of `axes` trailing axes, brought to mean 0 and deviation 1; and what they were multiplied with, in x's shape. */
export function standardised(
  x: Value,
  { axes, epsilon }: { readonly axes: number; readonly epsilon: number },
): { hat: Value; rstd: Value } {
  const statistics = moments(x, axes, epsilon); // [2, R]
  const rstd = perRow(statistics, 1, x, axes);
  return { hat: mul(sub(x, perRow(statistics, 0, x, axes)), rstd), rstd };
}

/** Sums of g * h and of g over rows: [R, n], [R, n] -> [2, R]. The one reduction a normalisation's gradient needs. */
const pairSumsOp: Op = {
  name: "pair_sums",
  infer(inputs, attrs) {
    checkAxes("take pair sums of", inputs, attrs);
    return { dtype: "f32", shape: [2, ...kept(inputs[0], attrs)] };
  },
  meaning: (inputs, [type], attrs) =>
    pairs(
      inputs,
      sizeOf(type.shape) / sizeOf(kept(type, attrs)),
      ([g, h]) => [g.reduce((a, b, i) => a + b * h[i], 0), total(g)],
    ),
  pullback({ g, inputs: [x, h], attrs }) {
    const axes = attrs.axes as number;
    return [add(perRow(g, 1, x, axes), mul(perRow(g, 0, x, axes), h)), mul(perRow(g, 0, x, axes), x)];
  },
  lower: { kind: "kernel", epilogue: false, prologue: true, build: pairSumsKernel },
};

/** [2, R]: of g * h, of g. */
export function pairSums(g: Value, h: Value, axes: number): Value {
  return apply(pairSumsOp, [g, h], { axes });
}

export const statisticsOps: readonly Op[] = [momentsOp, pairSumsOp];
