/**
 * The published position embedding on the grid of a picture, by the rules of those who published it. They differ by up to a third of the features, so none stands for
 * another. (facebookresearch/dino and dinov2, `interpolate_pos_encoding`; PyTorch's antialiased bicubic, as Pillow has it.)
 */
import { matmul, permute, resample, reshape, slice, transpose, type Value } from "../engine/mod.ts";
import type { Vit } from "./vit_weights.ts";

/** Of the antialiased cubic convolution: Pillow's, while PyTorch has -0.75 without antialiasing. */
const CUBIC = -0.5;

export interface Place {
  readonly rows: number;
  readonly cols: number;
  /** Whether the picture is square, in pixels. */
  readonly square: boolean;
}

/** The embedding's rows for patches, [rows * cols, D]. */
export function patchPositions(net: Vit, place: Place): Value {
  const { positions, grid: n, clsPosition } = net.shape;
  const all = slice(net.weight("pos_embed"), 0, clsPosition ? 1 : 0, n * n);
  const same = place.rows === n && place.cols === n;
  switch (positions) {
    case "dino":
      return same && place.square ? all : moved(net, all, place);
    case "dinov2":
      return same ? all : moved(net, all, place);
    case "antialias":
      return same ? all : antialiased(net, all, place);
    case "rotary":
      throw new Error("Bug: rotary positions are not embedded");
  }
}

/** Bicubic, by scale factors (rows + 0.1) / n and (cols + 0.1) / n, which move the sample points: the 0.1 is part of the published networks. */
function moved({ shape: { grid: n, dim } }: Vit, all: Value, { rows, cols }: Place): Value {
  const planes = permute(reshape(all, [n, n, dim]), [2, 0, 1]); // [D, n, n]
  const there = resample(planes, {
    height: rows,
    width: cols,
    mode: "bicubic",
    scaleY: n / (rows + 0.1),
    scaleX: n / (cols + 0.1),
  });
  return transpose(reshape(there, [dim, rows * cols])); // [rows * cols, D]
}

/** Both axes one after the other, each a product with the weights of its samples. */
function antialiased(net: Vit, all: Value, { rows, cols }: Place): Value {
  const { grid: n, dim } = net.shape;
  const taps = (side: number) => net.constant(`antialias.${side}`, [side, n]);
  const high = reshape(matmul(taps(rows), reshape(all, [n, n * dim])), [rows, n, dim]);
  const across = matmul(taps(cols), reshape(permute(high, [1, 0, 2]), [n, rows * dim])); // [cols, rows * D]
  return reshape(permute(reshape(across, [cols, rows, dim]), [1, 0, 2]), [rows * cols, dim]);
}

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * CUBIC : 0;
}

/** How much each of n samples counts in each of `side`, [side, n]: a cubic as wide as the step where there are fewer, cut off at the border, of sum 1. */
export function antialiasTaps(side: number, n: number): Float32Array {
  const out = new Float32Array(side * n);
  const step = n / side;
  const width = Math.max(step, 1);
  for (let i = 0; i < side; i++) {
    const centre = (i + 0.5) * step;
    const first = Math.max(Math.trunc(centre - 2 * width + 0.5), 0);
    const end = Math.min(Math.trunc(centre + 2 * width + 0.5), n);
    const weights = Array.from({ length: end - first }, (_, j) => cubic((first + j + 0.5 - centre) / width));
    const all = weights.reduce((a, b) => a + b, 0);
    weights.forEach((weight, j) => out[i * n + first + j] = weight / all);
  }
  return out;
}
