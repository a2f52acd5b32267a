/**
 * Resampling of planes by bilinear or bicubic (a = -0.75) interpolation at any scale, and its adjoint.
 *
 * Output i lies at source position (i + 0.5) * scale - 0.5 (half-pixel centres, no antialiasing, taps clamped to the border), as
 * PyTorch's interpolate with align_corners=False. The scale is an attribute of its own because the published position
 * embedding uses one that is not the ratio of the sizes.
 */
import type { Lowering, Op, Value } from "../ir/graph.ts";
import type { Attrs, Layout, TensorType } from "../ir/type.ts";
import { apply } from "../ir/graph.ts";
import type { Chain, Kernel, Profile } from "../ir/program.ts";
import { EngineError, sizeOf, typeText } from "../ir/type.ts";
import { resampleAdjointKernel, resampleKernel } from "../wgsl/resample/resample.ts";
import { reshape } from "./movement.ts";

export type Interpolation = "bilinear" | "bicubic";

const CUBIC = -0.75;

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * CUBIC : 0;
}

/** Source positions and weights of output i. */
function tapsOf(i: number, side: number, scale: number, mode: Interpolation): { at: number; weight: number }[] {
  const raw = (i + 0.5) * scale - 0.5;
  const position = mode === "bilinear" ? Math.max(raw, 0) : raw;
  const base = Math.floor(position);
  const offsets = mode === "bilinear" ? [0, 1] : [-1, 0, 1, 2];
  return offsets.map((offset) => ({
    at: Math.min(Math.max(base + offset, 0), side - 1),
    weight: mode === "bilinear"
      ? (offset === 0 ? 1 - (position - base) : position - base)
      : cubic(position - base - offset),
  }));
}

function eachTap(
  from: readonly number[],
  to: readonly number[],
  attrs: Attrs,
  visit: (out: number, x: number, weight: number) => void,
): void {
  const mode = attrs.mode as Interpolation;
  const [planes, height, width] = from;
  const columns = Array.from({ length: to[2] }, (_, i) => tapsOf(i, width, attrs.scale_x as number, mode));
  for (let i = 0; i < to[1]; i++) {
    const rows = tapsOf(i, height, attrs.scale_y as number, mode);
    for (let j = 0; j < to[2]; j++) {
      for (const y of rows) {
        for (const x of columns[j]) {
          for (let n = 0; n < planes; n++) {
            visit((n * to[1] + i) * to[2] + j, (n * height + y.at) * width + x.at, y.weight * x.weight);
          }
        }
      }
    }
  }
}

function resampled(x: ArrayLike<number>, from: readonly number[], attrs: Attrs): Float64Array {
  const to = sides(attrs, from[0]);
  const out = new Float64Array(sizeOf(to));
  eachTap(from, to, attrs, (o, i, weight) => out[o] += weight * x[i]);
  return out;
}

function planes(name: string, x: TensorType, attrs: Attrs): TensorType {
  if (x.shape.length !== 3) throw new EngineError(`Cannot ${name} ${typeText(x)}: needs planes [N,H,W]`);
  return { dtype: x.dtype, shape: sides(attrs, x.shape[0]) };
}

const sides = (attrs: Attrs, planes: number) => [planes, attrs.height as number, attrs.width as number];

interface Interpolated {
  readonly mode: Interpolation;
  readonly scaleY: number;
  readonly scaleX: number;
  readonly epilogue: Chain | null;
  readonly profile: Profile;
}

/** Both directions reach the GPU alike; `build` gets where the operand and the result lie. */
function lowering(build: (from: Layout, to: Layout, rest: Interpolated) => Kernel): Lowering {
  return {
    kind: "kernel",
    epilogue: true,
    prologue: false,
    contiguous: true,
    build({ inputs: [from], output, attrs, epilogue, profile }) {
      const scales = { scaleY: attrs.scale_y as number, scaleX: attrs.scale_x as number };
      return build(from.layout, output.layout, { mode: attrs.mode as Interpolation, ...scales, epilogue, profile });
    },
  };
}

const resampleOp: Op = {
  name: "resample",
  infer: ([x], attrs) => planes("resample", x, attrs),
  meaning: ([x], [type], attrs) => resampled(x, type.shape, attrs),
  pullback: (
    { g, inputs: [x], attrs },
  ) => [apply(adjointOp, [g], { ...attrs, height: x.type.shape[1], width: x.type.shape[2] })],
  lower: lowering((x, out, rest) => resampleKernel({ x, out, ...rest })),
};

const adjointOp: Op = {
  name: "resample_adjoint",
  infer: ([g], attrs) => planes("take the resampling gradient of", g, attrs),
  meaning([g], [type], attrs) {
    const to = sides(attrs, type.shape[0]);
    const out = new Float64Array(sizeOf(to));
    eachTap(to, type.shape, attrs, (o, i, weight) => out[i] += weight * g[o]);
    return out;
  },
  pullback: (
    { g, inputs: [x], attrs },
  ) => [apply(resampleOp, [g], { ...attrs, height: x.type.shape[1], width: x.type.shape[2] })],
  lower: lowering((gradient, out, rest) => resampleAdjointKernel({ gradient, out, ...rest })),
};

export interface ResampleOptions {
  readonly height: number;
  readonly width: number;
  readonly mode?: Interpolation;
  /** Source pixels per output pixel; the ratio of the sizes unless given. */
  readonly scaleY?: number;
  readonly scaleX?: number;
}

/** x [..., H, W] -> [..., height, width]. The same tensor where nothing changes. */
export function resample(x: Value, options: ResampleOptions): Value {
  const [height, width] = x.type.shape.slice(-2);
  const leading = x.type.shape.slice(0, -2);
  const attrs = {
    mode: options.mode ?? "bilinear",
    height: options.height,
    width: options.width,
    scale_y: options.scaleY ?? height / options.height,
    scale_x: options.scaleX ?? width / options.width,
  };
  if (height === options.height && width === options.width && attrs.scale_y === 1 && attrs.scale_x === 1) return x;
  const planes = reshape(x, [sizeOf(leading), height, width]);
  return reshape(apply(resampleOp, [planes], attrs), [...leading, options.height, options.width]);
}

/**
 * Planes x [N, H, W] -> [N, height, width] on the host, by the op's own meaning: for pictures that are larger than what the device has to see of them.
 */
export function resampleOnHost(
  x: ArrayLike<number>,
  shape: readonly [number, number, number],
  { height, width, mode }: { readonly height: number; readonly width: number; readonly mode: Interpolation },
): Float32Array<ArrayBuffer> {
  const attrs = { mode, height, width, scale_y: shape[1] / height, scale_x: shape[2] / width };
  return Float32Array.from(resampled(x, shape, attrs));
}

export const resampleOps: readonly Op[] = [resampleOp, adjointOp];
