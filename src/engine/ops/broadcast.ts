/**
 * Broadcasting and its adjoint, summing: `expand` repeats, `sum` adds up what was repeated.
 *
 * A row is what the trailing axes span: [R, n] with R = product of the kept axes. Sums are deterministic: their order depends
 * on shape and profile alone.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply, constant } from "../ir/graph.ts";
import type { Attrs, Shape, TensorType } from "../ir/type.ts";
import { EngineError, sameShape, sizeOf, typeText } from "../ir/type.ts";
import { columnSumKernel, sumKernel } from "../wgsl/rows/statistics.ts";
import { list, permute, reshape, viewOp } from "./movement.ts";

const expandOp: Op = viewOp(
  "expand",
  ([x], attrs) => {
    const shape = list(attrs, "shape");
    const shift = shape.length - x.shape.length;
    if (shift < 0 || x.shape.some((side, axis) => side !== 1 && side !== shape[axis + shift])) {
      throw new EngineError(
        `Cannot expand ${typeText(x)} to [${shape}]: only axes of side 1 and new leading axes can grow`,
      );
    }
    return { dtype: x.dtype, shape };
  },
  (from, to) => {
    const shift = to.shape.length - from.shape.length;
    const strides = to.shape.map((_, axis) =>
      axis < shift || from.shape[axis - shift] === 1 ? 0 : from.strides[axis - shift]
    );
    return { offset: from.offset, shape: to.shape, strides };
  },
  ({ g, inputs }) => [unbroadcast(g, inputs[0].type.shape)],
);

/** Repeats axes of side 1, and adds leading axes, to fill `shape`. */
export function expand(x: Value, shape: Shape): Value {
  if (sameShape(x.type.shape, shape)) return x;
  return apply(expandOp, [x], { shape });
}

/** Sums g over what `expand` had repeated: axes of side 1 and added ones. */
function unbroadcast(g: Value, shape: Shape): Value {
  const rank = g.type.shape.length;
  const shift = rank - shape.length;
  const repeated = (axis: number) => axis < shift || (shape[axis - shift] === 1 && g.type.shape[axis] !== 1);
  const kept = g.type.shape.map((_, axis) => axis).filter((axis) => !repeated(axis));
  const gone = g.type.shape.map((_, axis) => axis).filter(repeated);
  return gone.length === 0 ? reshape(g, shape) : reshape(sum(permute(g, [...kept, ...gone]), gone.length), shape);
}

/** A tensor filled with one number. */
export function full(shape: Shape, literal: number): Value {
  return expand(constant(literal), shape);
}

export const kept = (type: TensorType, attrs: Attrs) => type.shape.slice(0, type.shape.length - (attrs.axes as number));

/** Applies f to each row of `length` elements of every input. */
export function eachRow(
  inputs: readonly Float64Array[],
  length: number,
  out: number,
  f: (rows: Float64Array[]) => readonly number[] | Float64Array,
): Float64Array {
  const rows = inputs[0].length / length;
  const result = new Float64Array(rows * out);
  for (let r = 0; r < rows; r++) result.set(f(inputs.map((x) => x.subarray(r * length, (r + 1) * length))), r * out);
  return result;
}

export const total = (x: Float64Array) => x.reduce((a, b) => a + b, 0);

export function checkAxes(name: string, inputs: readonly TensorType[], attrs: Attrs): void {
  const axes = attrs.axes as number;
  if (
    !Number.isInteger(axes) || axes < 1 || axes > inputs[0].shape.length ||
    inputs.some((type) => !sameShape(type.shape, inputs[0].shape))
  ) {
    throw new EngineError(
      `Cannot ${name} ${
        inputs.map(typeText).join(" with ")
      } over ${axes} trailing axes: operands must agree and have them`,
    );
  }
}

const sumOp: Op = {
  name: "sum",
  infer(inputs, attrs) {
    checkAxes("sum", inputs, attrs);
    return { dtype: "f32", shape: kept(inputs[0], attrs) };
  },
  meaning: ([x], [type], attrs) =>
    eachRow([x], sizeOf(type.shape) / sizeOf(kept(type, attrs)), 1, ([row]) => [total(row)]),
  pullback: (
    { g, inputs: [x] },
  ) => [expand(reshape(g, [...g.type.shape, ...x.type.shape.slice(g.type.shape.length).map(() => 1)]), x.type.shape)],
  lower: { kind: "kernel", epilogue: true, prologue: true, build: sumKernel },
};

/** Sums over the last `axes` axes: [R..., n...] -> [R...]. */
export function sum(x: Value, axes: number): Value {
  return axes === 0 ? x : apply(sumOp, [x], { axes });
}

/** The sum of everything, f32[]: the last axis first, so that the work spreads over rows. */
export function sumAll(x: Value): Value {
  const rank = x.type.shape.length;
  return rank < 2 ? sum(x, rank) : sum(sum(x, 1), rank - 1);
}

/** Sums over the first axis: [R, n] -> [n]. */
export function sumColumns(x: Value): Value {
  return apply(columnSumOp, [x]);
}

const columnSumOp: Op = {
  name: "column_sum",
  infer: ([x]) => {
    if (x.shape.length !== 2) throw new EngineError(`Cannot sum the columns of ${typeText(x)}: needs [R, n]`);
    return { dtype: x.dtype, shape: [x.shape[1]] };
  },
  meaning([x], [type]) {
    const out = new Float64Array(type.shape[1]);
    x.forEach((value, i) => out[i % out.length] += value);
    return out;
  },
  pullback: ({ g, inputs: [x] }) => [expand(reshape(g, [1, g.type.shape[0]]), x.type.shape)],
  lower: { kind: "kernel", epilogue: true, prologue: true, build: columnSumKernel },
};

export const broadcastOps: readonly Op[] = [expandOp, sumOp, columnSumOp];
