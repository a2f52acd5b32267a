/**
 * Resizing of images by interpolation between pixel centres, without antialiasing, and its exact transpose:
 *
 *   out[n, i, j] = sum over taps u, v of weight_u(fy) * weight_v(fx) * x[n, clamp(iy + u), clamp(jx + v)]
 *   position of output i: (i + 0.5) * scale - 0.5 = iy + fy, iy its floor
 *
 * n counts planes, (i, j) output pixels. Bilinear has taps 0, 1 and clamps the position to >= 0, bicubic (Keys, a = -0.75)
 * has taps -1 .. 2, both as PyTorch's interpolate(align_corners=False). The transpose is a gather: an input pixel asks every
 * output in reach for the weights with which it was read, border clamping included, so no two invocations write one element.
 */
import type { Chain, Kernel, Profile } from "../../ir/program.ts";
import { type Layout, sizeOf } from "../../ir/type.ts";
import { doubles, doublingAdjointKernel, doublingKernel } from "./resample_double.ts";
import { ceilDiv, foldGrid, kernel, renderChain } from "../template.ts";

export type Interpolation = "bilinear" | "bicubic";

interface Scales {
  readonly mode: Interpolation;
  /** Source pixels per output pixel. */
  readonly scaleY: number;
  readonly scaleX: number;
  readonly epilogue: Chain | null;
  readonly profile: Profile;
}

export interface ResampleShape extends Scales {
  /** [N, H, W] */
  readonly x: Layout;
  /** [N, Ho, Wo]; the epilogue's operands have layouts of this shape. */
  readonly out: Layout;
}

export interface ResampleAdjointShape extends Scales {
  /** [N, Ho, Wo] */
  readonly gradient: Layout;
  /** [N, H, W]; the epilogue's operands have layouts of this shape. */
  readonly out: Layout;
}

const GROUP = 64;

/** out = x resized. */
export function resampleKernel(shape: ResampleShape): Kernel {
  if (doubles(shape, shape.x, shape.out)) return doublingKernel(shape);
  const taps = tapCount(shape.mode);
  return pixelKernel(shape, {
    name: `resample_${shape.mode}`,
    source: shape.x,
    prelude: weights(shape.mode),
    value: `
  let y = place(i, scale_y);
  let x = place(j, scale_x);
  for (var u = 0; u < ${taps}; u++) {
    let row = p.source_offset + (n * p.source_height + clamp(y.first + u, 0, p.source_height - 1)) * p.source_width;
    var sum = 0.0;
    for (var v = 0; v < ${taps}; v++) {
      sum += x.weight[v] * source[row + clamp(x.first + v, 0, p.source_width - 1)];
    }
    value += y.weight[u] * sum;
  }`,
    read: sizeOf(shape.out.shape),
  });
}

/** out = the transpose of `resampleKernel` with the same mode and scales, applied to `gradient`. */
export function resampleAdjointKernel(shape: ResampleAdjointShape): Kernel {
  if (doubles(shape, shape.out, shape.gradient)) return doublingAdjointKernel(shape);
  return pixelKernel(shape, {
    name: `resample_${shape.mode}_adjoint`,
    source: shape.gradient,
    prelude: weights(shape.mode) + reach(tapCount(shape.mode)),
    value: `
  let rows = reach(i, p.height, p.source_height, scale_y);
  let columns = reach(j, p.width, p.source_width, scale_x);
  for (var r = rows.x; r < rows.y; r++) {
    let weight_y = share(i, r, p.height, scale_y);
    let row = p.source_offset + (n * p.source_height + r) * p.source_width;
    var sum = 0.0;
    for (var c = columns.x; c < columns.y; c++) {
      sum += share(j, c, p.width, scale_x) * source[row + c];
    }
    value += weight_y * sum;
  }`,
    read: sizeOf(shape.gradient.shape),
  });
}

/** An invocation owns pixel (n, i, j) of the output, and adds up its `value` from `source`. `read` counts the interpolated pixels, for the cost. */
function pixelKernel(
  { out, epilogue, mode, scaleY, scaleX }: Scales & { readonly out: Layout },
  { name, source, prelude, value, read }: {
    readonly name: string;
    readonly source: Layout;
    readonly prelude: string;
    readonly value: string;
    readonly read: number;
  },
): Kernel {
  const [, sourceHeight, sourceWidth] = source.shape;
  const [, height, width] = out.shape;
  const chain = renderChain(epilogue, "e");
  const chained = chain.apply(["value"], ["n", "i", "j"]);
  const taps = tapCount(mode);
  const size = sizeOf(out.shape);
  return kernel({
    name,
    bindings: [{ name: "source", access: "read" }, ...chain.bindings, { name: "result", access: "write" }],
    params: {
      size,
      source_offset: source.offset,
      source_height: sourceHeight,
      source_width: sourceWidth,
      out_offset: out.offset,
      height,
      width,
      scale_y: bits(scaleY),
      scale_x: bits(scaleX),
      ...chain.params,
    },
    workgroup: [GROUP, 1, 1],
    grid: foldGrid(ceilDiv(size, GROUP)),
    prelude,
    body: `
  let at = (group.x + group.y * groups.x) * ${GROUP} + local_index;
  if (at >= p.size) { return; }
  let j = at % p.width;
  let i = at / p.width % p.height;
  let n = at / (p.width * p.height);
  let scale_y = bitcast<f32>(p.scale_y);
  let scale_x = bitcast<f32>(p.scale_x);
  var value = 0.0;${value}
  ${chained.statements}
  result[p.out_offset + at] = ${chained.result};`,
    cost: { flops: read * (2 * taps * taps + 2 * taps), bytes: 4 * (size + sizeOf(source.shape)) },
  });
}

function tapCount(mode: Interpolation): number {
  return mode === "bilinear" ? 2 : 4;
}

/** The bits of an f32 as the i32 a parameter holds. */
function bits(value: number): number {
  return new Int32Array(new Float32Array([value]).buffer)[0];
}

/** `place(i, scale)`: the first source pixel that output i reads and the weight of it and the ones after. */
function weights(mode: Interpolation): string {
  if (mode === "bilinear") {
    return `
struct Place { first: i32, weight: vec2f }
fn place(i: i32, scale: f32) -> Place {
  let position = max((f32(i) + 0.5) * scale - 0.5, 0.0);
  let below = floor(position);
  return Place(i32(below), vec2f(1.0 - (position - below), position - below));
}
`;
  }
  return `
struct Place { first: i32, weight: vec4f }
fn place(i: i32, scale: f32) -> Place {
  let position = (f32(i) + 0.5) * scale - 0.5;
  let below = floor(position);
  let t = vec4f(position - below) + vec4f(1.0, 0.0, -1.0, -2.0);
  let d = abs(t);
  // Keys' cubic with a = -0.75: near for distances up to 1, far for those up to 2.
  let near = ((1.25 * d - 2.25) * d) * d + 1.0;
  let far = ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0;
  return Place(i32(below) - 1, vec4f(far.x, near.y, near.z, far.w));
}
`;
}

/**
 * `reach`: the outputs, from x up to but not including y, that may read source pixel i. A pixel at the border is also read
 * by every output whose taps lie beyond it. `share`: the weight with which output o reads pixel i.
 */
function reach(taps: number): string {
  const half = taps / 2;
  const sum = Array.from(
    { length: taps },
    (_, u) => `select(0.0, at.weight[${u}], clamp(at.first + ${u}, 0, side - 1) == i)`,
  ).join(" + ");
  return `
fn reach(i: i32, side: i32, outputs: i32, scale: f32) -> vec2i {
  // The slack covers the rounding of both divisions; an output too many has weight 0.
  let low = i32(ceil((f32(i) + 0.5 - ${half}.0) / scale - 0.5 - 0.01));
  let high = i32(floor((f32(i) + 0.5 + ${half}.0) / scale - 0.5 + 0.01)) + 1;
  return vec2i(
    select(clamp(low, 0, outputs), 0, i == 0),
    select(clamp(high, 0, outputs), outputs, i == side - 1),
  );
}
fn share(i: i32, o: i32, side: i32, scale: f32) -> f32 {
  let at = place(o, scale);
  return ${sum};
}
`;
}
