/**
 * Movement ops: tensors seen through another index. Most are views (strides, no work); `embed` copies.
 *
 * Every verb returns its argument unchanged where there is nothing to do, so callers need not ask.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Attrs, Layout, Shape, TensorType } from "../ir/type.ts";
import { contiguousStrides, EngineError, reshapeLayout, sameShape, sizeOf, typeText } from "../ir/type.ts";
import { embedKernel, fillKernel } from "../wgsl/movement.ts";

export const list = (attrs: Attrs, name: string) => attrs[name] as readonly number[];

/** Gathers: out[i] = x[source(i)], where `source` maps an output multi-index to an element. */
export function gather(x: Float64Array, shape: Shape, source: (index: readonly number[]) => number): Float64Array {
  const out = new Float64Array(sizeOf(shape));
  const index = shape.map(() => 0);
  for (let i = 0; i < out.length; i++) {
    const from = source(index);
    out[i] = from < 0 ? 0 : x[from];
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
  }
  return out;
}

const dot = (index: readonly number[], strides: readonly number[]) =>
  index.reduce((total, i, axis) => total + i * strides[axis], 0);

/** A view's meaning is its layout's: one definition for the interpreter and for every kernel that reads through it. */
function viewMeaning(
  layout: (from: Layout, to: TensorType, attrs: Attrs) => Layout | null,
  infer: Op["infer"],
): Op["meaning"] {
  return ([x], types, attrs) => {
    const to = infer(types, attrs);
    const seen = layout({ offset: 0, shape: types[0].shape, strides: contiguousStrides(types[0].shape) }, to, attrs)!;
    return gather(x, to.shape, (index) => seen.offset + dot(index, seen.strides));
  };
}

export function viewOp(
  name: string,
  infer: Op["infer"],
  layout: (from: Layout, to: TensorType, attrs: Attrs) => Layout | null,
  pullback: Op["pullback"],
): Op {
  return { name, infer, meaning: viewMeaning(layout, infer), pullback, lower: { kind: "view", layout } };
}

const reshapeOp: Op = viewOp(
  "reshape",
  ([x], attrs) => {
    const shape = list(attrs, "shape");
    if (sizeOf(shape) !== sizeOf(x.shape)) {
      throw new EngineError(
        `Cannot reshape ${typeText(x)} to [${shape}]: ${sizeOf(x.shape)} elements cannot become ${sizeOf(shape)}`,
      );
    }
    return { dtype: x.dtype, shape };
  },
  (from, to) => reshapeLayout(from, to.shape),
  ({ g, inputs }) => [reshape(g, inputs[0].type.shape)],
);

export function reshape(x: Value, shape: Shape): Value {
  if (sameShape(x.type.shape, shape)) return x;
  return apply(reshapeOp, [x], { shape });
}

const permuteOp: Op = viewOp(
  "permute",
  ([x], attrs) => {
    const order = list(attrs, "order");
    if (
      order.length !== x.shape.length || new Set(order).size !== order.length ||
      order.some((axis) => x.shape[axis] === undefined)
    ) {
      throw new EngineError(`Cannot permute ${typeText(x)} by [${order}]: the order must name each axis once`);
    }
    return { dtype: x.dtype, shape: order.map((axis) => x.shape[axis]) };
  },
  (from, to, attrs) => ({
    offset: from.offset,
    shape: to.shape,
    strides: list(attrs, "order").map((axis) => from.strides[axis]),
  }),
  ({ g, attrs }) => [permute(g, list(attrs, "order").map((_, axis) => list(attrs, "order").indexOf(axis)))],
);

/** Axis `order[i]` of x becomes axis i. */
export function permute(x: Value, order: readonly number[]): Value {
  return order.every((axis, i) => axis === i) && order.length === x.type.shape.length
    ? x
    : apply(permuteOp, [x], { order });
}

/** Exchanges the last two axes. */
export function transpose(x: Value): Value {
  const rank = x.type.shape.length;
  return permute(x, x.type.shape.map((_, axis) => axis === rank - 1 ? rank - 2 : axis === rank - 2 ? rank - 1 : axis));
}

export const sliceOp: Op = viewOp(
  "slice",
  ([x], attrs) => {
    const [start, count, step] = [list(attrs, "start"), list(attrs, "count"), list(attrs, "step")];
    const ok = x.shape.every((side, axis) => {
      const last = start[axis] + (count[axis] - 1) * step[axis];
      return count[axis] >= 1 && start[axis] >= 0 && start[axis] < side && last >= 0 && last < side && step[axis] !== 0;
    });
    if (!ok || start.length !== x.shape.length) {
      throw new EngineError(
        `Cannot slice ${typeText(x)} from [${start}] by [${step}], [${count}] elements: that leaves the tensor`,
      );
    }
    return { dtype: x.dtype, shape: count };
  },
  (from, to, attrs) => ({
    offset: from.offset + dot(list(attrs, "start"), from.strides),
    shape: to.shape,
    strides: from.strides.map((stride, axis) => stride * list(attrs, "step")[axis]),
  }),
  (
    { g, inputs, attrs },
  ) => [apply(embedOp, [g], { shape: inputs[0].type.shape, start: attrs.start, step: attrs.step })],
);

/** Elements `start`, `start + step`, ... of one axis; a negative step runs backwards. */
export function slice(x: Value, axis: number, start: number, count: number, step = 1): Value {
  const at = axis < 0 ? axis + x.type.shape.length : axis;
  if (start === 0 && step === 1 && count === x.type.shape[at]) return x;
  const attrs = {
    start: x.type.shape.map((_, i) => i === at ? start : 0),
    count: x.type.shape.map((side, i) => i === at ? count : side),
    step: x.type.shape.map((_, i) => i === at ? step : 1),
  };
  return apply(sliceOp, [x], attrs);
}

export function flip(x: Value, axis: number): Value {
  const side = x.type.shape.at(axis)!;
  return slice(x, axis, side - 1, side, -1);
}

/** The adjoint of slice: g at `start`, `start + step`, ... of a tensor of zeros. */
export const embedOp: Op = {
  name: "embed",
  infer([g], attrs) {
    const whole = { dtype: g.dtype, shape: list(attrs, "shape") };
    sliceOp.infer([whole], { start: attrs.start, count: g.shape, step: attrs.step });
    return whole;
  },
  meaning([g], [type], attrs) {
    const strides = contiguousStrides(type.shape);
    return gather(g, list(attrs, "shape"), (index) => {
      let from = 0;
      for (let axis = 0; axis < index.length; axis++) {
        const at = (index[axis] - list(attrs, "start")[axis]) / list(attrs, "step")[axis];
        if (!Number.isInteger(at) || at < 0 || at >= type.shape[axis]) return -1;
        from += at * strides[axis];
      }
      return from;
    });
  },
  pullback: (
    { g, inputs, attrs },
  ) => [apply(sliceOp, [g], { start: attrs.start, count: inputs[0].type.shape, step: attrs.step })],
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build: ({ inputs, output, attrs }: KernelRequest) =>
      embedKernel({ x: inputs[0].layout, out: output.layout, start: list(attrs, "start"), step: list(attrs, "step") }),
  },
};

const axisOf = (attrs: Attrs) => attrs.axis as number;

export const concatOp: Op = {
  name: "concat",
  infer(inputs, attrs) {
    const [first] = inputs;
    const axis = axisOf(attrs);
    const others = ({ shape }: TensorType) => shape.toSpliced(axis, 1);
    if (axis >= first.shape.length || inputs.some((type) => !sameShape(others(type), others(first)))) {
      throw new EngineError(
        `Cannot concat ${inputs.map(typeText).join(" with ")}: all axes but the joined one must agree`,
      );
    }
    return {
      dtype: first.dtype,
      shape: first.shape.with(axis, inputs.reduce((total, type) => total + type.shape[axis], 0)),
    };
  },
  meaning(inputs, types, attrs) {
    const runs = types.map(({ shape }) => sizeOf(shape.slice(axisOf(attrs))));
    const row = runs.reduce((a, b) => a + b);
    const out = new Float64Array(inputs.reduce((total, x) => total + x.length, 0));
    let start = 0;
    for (const [i, x] of inputs.entries()) {
      for (let r = 0; r * row < out.length; r++) out.set(x.subarray(r * runs[i], (r + 1) * runs[i]), r * row + start);
      start += runs[i];
    }
    return out;
  },
  pullback({ g, inputs, attrs }) {
    const axis = axisOf(attrs);
    let start = 0;
    return inputs.map(({ type: { shape } }) => slice(g, axis, (start += shape[axis]) - shape[axis], shape[axis]));
  },
  lower: { kind: "concat" },
};

/** Joins tensors along an axis. Nothing is copied along the first axis of more than one element, nor of what kernels can write in rows of any stride. */
export function concat(values: readonly Value[], axis = 0): Value {
  return values.length === 1 ? values[0] : apply(concatOp, values, { axis });
}

/** A stored tensor of one number, for readers that need a buffer. */
export const fillOp: Op = {
  name: "fill",
  infer: (_, attrs) => ({ dtype: "f32", shape: list(attrs, "shape") }),
  meaning: (_, __, attrs) => new Float64Array(sizeOf(list(attrs, "shape"))).fill(attrs.literal as number),
  pullback: () => [],
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build: ({ output, attrs }: KernelRequest) => fillKernel(output.layout, attrs.literal as number),
  },
};

export const movementOps: readonly Op[] = [reshapeOp, permuteOp, sliceOp, embedOp, concatOp, fillOp];
