/**
 * Planes with their reflection around them, the edge not repeated, and the adjoint, which adds what lies in the padding to what is reflected there.
 *
 * [B, C, H, W] <-> [B, C, H + 2p, W + 2p]. Each is the other's gradient. Networks do not use them: a reflecting convolution's gradient does.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Attrs, Shape, TensorType } from "../ir/type.ts";
import { EngineError, sizeOf, typeText } from "../ir/type.ts";
import { foldKernel, padKernel } from "../wgsl/movement.ts";

const paddingOf = (attrs: Attrs) => attrs.padding as number;

function widened(name: string, x: TensorType, attrs: Attrs, by: 1 | -1): TensorType {
  const p = paddingOf(attrs);
  const shape = x.shape.map((side, axis) => axis < 2 ? side : side + 2 * by * p);
  const inner = by === 1 ? x.shape : shape;
  if (shape.length !== 4 || Math.min(inner[2], inner[3]) <= p) {
    throw new EngineError(`Cannot ${name} ${typeText(x)} by ${p}: needs planes [B,C,H,W] with sides larger than that`);
  }
  return { dtype: x.dtype, shape };
}

/** Calls `visit` with the flat indices of every padded pixel and of what it shows. */
function eachPixel(inner: Shape, p: number, visit: (padded: number, inner: number) => void): void {
  const [batch, channels, height, width] = inner;
  const mirrored = (i: number, side: number) => side - 1 - Math.abs(side - 1 - Math.abs(i - p));
  let padded = 0;
  for (let plane = 0; plane < batch * channels; plane++) {
    for (let y = 0; y < height + 2 * p; y++) {
      for (let x = 0; x < width + 2 * p; x++) {
        visit(padded++, (plane * height + mirrored(y, height)) * width + mirrored(x, width));
      }
    }
  }
}

const padOp: Op = {
  name: "pad_reflection",
  infer: ([x], attrs) => widened("pad", x, attrs, 1),
  meaning([x], [type], attrs) {
    const out = new Float64Array(sizeOf(widened("pad", type, attrs, 1).shape));
    eachPixel(type.shape, paddingOf(attrs), (padded, inner) => out[padded] = x[inner]);
    return out;
  },
  pullback: ({ g, attrs }) => [apply(foldOp, [g], attrs)],
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build: ({ inputs: [x], output, attrs }: KernelRequest) => padKernel(x.layout, output.layout, paddingOf(attrs)),
  },
};

const foldOp: Op = {
  name: "fold_reflection",
  infer: ([g], attrs) => widened("fold", g, attrs, -1),
  meaning([g], [type], attrs) {
    const { shape } = widened("fold", type, attrs, -1);
    const out = new Float64Array(sizeOf(shape));
    eachPixel(shape, paddingOf(attrs), (padded, inner) => out[inner] += g[padded]);
    return out;
  },
  pullback: ({ g, attrs }) => [apply(padOp, [g], attrs)],
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build: ({ inputs: [g], output, attrs }: KernelRequest) => foldKernel(g.layout, output.layout, paddingOf(attrs)),
  },
};

/** The adjoint of reflection by `padding`: [B, C, H + 2p, W + 2p] -> [B, C, H, W]. */
export function foldReflection(g: Value, padding: number): Value {
  return padding === 0 ? g : apply(foldOp, [g], { padding });
}

export const reflectionOps: readonly Op[] = [padOp, foldOp];
