/**
 * Crops whose place is data, not shape, so that one program serves all crops of a size: a window of planes, and its adjoint, which places a window among zeros.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Attrs, Shape, TensorType } from "../ir/type.ts";
import { EngineError, sameShape, typeText } from "../ir/type.ts";
import { shiftKernel } from "../wgsl/movement.ts";
import { gather } from "./movement.ts";

/** Crop and place read zero outside their source, whatever the offset says. */
function shiftMeaning(
  out: Shape,
  source: (y: number, x: number) => [number, number] | null,
): (x: Float64Array, from: Shape) => Float64Array {
  return (x, from) =>
    gather(x, out, ([c, i, j]) => {
      const at = source(i, j);
      if (!at || at[0] < 0 || at[1] < 0 || at[0] >= from[1] || at[1] >= from[2]) return -1;
      return (c * from[1] + at[0]) * from[2] + at[1];
    });
}

function planes(name: string, [x, offset]: readonly TensorType[], attrs: Attrs): TensorType {
  if (x.shape.length !== 3 || !sameShape(offset.shape, [2])) {
    throw new EngineError(
      `Cannot ${name} ${typeText(x)} at ${typeText(offset)}: needs [C,H,W] and an offset f32[2] (y, x)`,
    );
  }
  return { dtype: x.dtype, shape: [x.shape[0], attrs.height as number, attrs.width as number] };
}

const cropOp: Op = {
  name: "crop",
  infer: (inputs, attrs) => planes("crop", inputs, attrs),
  meaning([x, offset], types, attrs) {
    return shiftMeaning(planes("crop", types, attrs).shape, (y, c) => [y + offset[0], c + offset[1]])(
      x,
      types[0].shape,
    );
  },
  pullback: (
    { g, inputs: [x, offset] },
  ) => [apply(placeOp, [g, offset], { height: x.type.shape[1], width: x.type.shape[2] }), null],
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build: ({ inputs, output }: KernelRequest) =>
      shiftKernel({ x: inputs[0].layout, offset: inputs[1].layout, out: output.layout, sign: 1 }),
  },
};

const placeOp: Op = {
  name: "place",
  infer: (inputs, attrs) => planes("place", inputs, attrs),
  meaning([x, offset], types, attrs) {
    return shiftMeaning(planes("place", types, attrs).shape, (y, c) => [y - offset[0], c - offset[1]])(
      x,
      types[0].shape,
    );
  },
  pullback: (
    { g, inputs: [x, offset] },
  ) => [apply(cropOp, [g, offset], { height: x.type.shape[1], width: x.type.shape[2] }), null],
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build: ({ inputs, output }: KernelRequest) =>
      shiftKernel({ x: inputs[0].layout, offset: inputs[1].layout, out: output.layout, sign: -1 }),
  },
};

/** A window of [C, H, W] whose corner (y, x) is data, not shape: whole numbers in f32[2]. What lies outside reads as 0. */
export function crop(x: Value, offset: Value, height: number, width: number): Value {
  return apply(cropOp, [x, offset], { height, width });
}

export const cropOps: readonly Op[] = [cropOp, placeOp];
