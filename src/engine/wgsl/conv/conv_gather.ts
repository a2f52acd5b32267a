/**
 * A convolution and its adjoint with respect to the image as one sum over output pixels:
 *
 *   out[b, c, y, x] = sum over a, ky, kx of source[b, a, row(y, ky), column(x, kx)] * weight[c, a, ky, kx]
 *
 * c counts output channels, a the channels summed over, (ky, kx) the taps. Forward, row = y * stride + ky - p, read as zero
 * or reflected outside. The adjoint reads row = (y + p - ky) / stride where that is a whole number: its pixels are visited by
 * parity class ("phase"), each of which is a convolution of stride 1 with every stride-th tap. Under reflection by a 3 x 3
 * kernel the pixels next to the outermost also stand for a mirror image outside ("fold"), which one of their taps sees.
 *
 * Here is what its kernels share: windows (forward, on software), single taps (adjoint, on software), workgroup tiles (GPUs).
 */
import type { Chain, Profile } from "../../ir/program.ts";
import { EngineError, type Layout } from "../../ir/type.ts";
import type { RenderedChain } from "../template.ts";
import { each, range } from "../unroll.ts";

export type Padding = "zero" | "reflect";

/** What is read outside: `fold` is the adjoint of `reflect`, zeros but for what a pixel near the border has there as a mirror image of itself. */
export type Border = Padding | "fold";

/** The structure of a convolution: all of it that a text depends on. */
export interface Taps {
  /** The kernel's side. */
  readonly size: number;
  readonly stride: number;
  readonly padding: Border;
}

export interface Gather extends Taps {
  readonly name: string;
  /** [B, A, H, W] of what is read */
  readonly source: Layout;
  /** [B, C, H, W] of what is written */
  readonly out: Layout;
  readonly adjoint: boolean;
  readonly weightOffset: number;
  /** Of the output channel, the summed channel, and the tap. */
  readonly weightStrides: readonly [number, number, number];
  readonly epilogue: Chain | null;
  readonly profile: Profile;
}

/** Refuses shapes that are not one convolution's. */
export function checkConv(x: Layout, weight: Layout, out: Layout, stride: number, padding: Padding): void {
  const [batch, inner, height, width] = x.shape;
  const [outer, expected, size] = weight.shape;
  const p = (size - 1) / 2;
  const text = `Cannot conv2d [${x.shape}] with [${weight.shape}], stride ${stride}, to [${out.shape}]`;
  const side = (length: number) => Math.floor((length + 2 * p - size) / stride) + 1;
  const wanted = [batch, outer, side(height), side(width)];
  if (inner !== expected) throw new EngineError(`${text}: input has ${inner} channels, weight expects ${expected}`);
  if (size % 2 !== 1 || weight.shape[3] !== size) throw new EngineError(`${text}: kernel must be square and odd`);
  if (stride !== 1 && stride !== 2) throw new EngineError(`${text}: stride must be 1 or 2`);
  if (wanted.some((length, axis) => length !== out.shape[axis])) {
    throw new EngineError(`${text}: output must be [${wanted}]`);
  }
  if (padding === "reflect" && p >= Math.min(height, width)) {
    throw new EngineError(`${text}: reflection by ${p} needs sides above ${p}`);
  }
}

/** Of a subgroup, and of a workgroup on software. */
export const LANES = 8;

export type Apply = RenderedChain["apply"];

/** The adjoint's taps of one phase: every stride-th, from the first that meets a source pixel. */
export function firstTaps(g: Gather): string {
  const p = (g.size - 1) / 2;
  const step = g.adjoint ? g.stride : 1;
  const axis = (name: string) => `
  let first_${name} = ${g.adjoint ? `(phase_${name} + ${p}) % ${step}` : "0"};
  let taps_${name} = (${g.size - 1 + step} - first_${name}) / ${step};`;
  return axis("y") + axis("x");
}

/** Reflection of a position into the image, edges not repeated; pixels past the output's end may land anywhere in it. */
export function reflect(at: string, side: string): string {
  return `max(p.${side} - 1 - abs(p.${side} - 1 - abs(${at})), 0)`;
}

/**
 * Sends the sums of `channels` output channels, from `first` on, at pixels 0 .. pixels - 1 through the epilogue to the result.
 * The sums pass through an array, and channels are a loop: an epilogue unrolled 64 times doubled the driver's compile time.
 */
export function store(
  first: string,
  channels: number,
  pixels: number,
  sum: (c: number, i: number) => string,
  apply: Apply,
): string {
  const pixel = (i: number) => {
    const chained = apply([`sums[m * ${pixels} + ${i}]`], ["b", "c", `y${i}`, `x${i}`], `e${i}`);
    return `
    if (inside${i}) {
      ${chained.statements}
      result[row + y${i} * p.width + x${i}] = ${chained.result};
    }`;
  };
  return `
  var sums: array<f32, ${channels * pixels}>;
  ${each(range(channels), (c) => each(range(pixels), (i) => `sums[${c * pixels + i}] = ${sum(c, i)};`))}
  for (var m = 0; m < ${channels}; m++) {
    let c = ${first} + m;
    if (c >= p.outer) { break; }
    let row = p.out_offset + (b * p.outer + c) * p.height * p.width;
    ${each(range(pixels), pixel)}
  }`;
}
