/**
 * Rotary positions as DINOv3 has them: in every block queries and keys of patches are turned, channel j of a head with channel j + w/2, by angles that grow with the
 * patch's place. [CLS] and registers have no place and are not turned, nor are values. (Simeoni et al. 2025, arXiv:2508.10104.)
 *
 * Angles are tables, computed here in f64; what runs on the GPU is two products and a sum: x cos + swapped(x) sin, the first half of sin negative.
 */
import { add, flip, mul, reshape, type Value } from "../engine/mod.ts";
import type { Vit, VitShape } from "./vit_weights.ts";

/** Base of the periods, where a file has none of its own. */
const THETA = 100;

/** Rows and columns of patches. */
export interface Grid {
  readonly rows: number;
  readonly cols: number;
}

/** What turns queries or keys [T, D] of pictures of this grid. */
export function rotation(net: Vit, { rows, cols }: Grid): (x: Value) => Value {
  const { heads, dim, registers } = net.shape;
  const half = dim / heads / 2;
  const tokens = 1 + registers + rows * cols;
  const [cos, sin] = (["cos", "sin"] as const).map((name) =>
    net.constant(`rotary.${rows}x${cols}.${name}`, [tokens, 1, 2, half])
  );
  return (x) => {
    const pairs = reshape(x, [tokens, heads, 2, half]);
    return reshape(add(mul(pairs, cos), mul(flip(pairs, 2), sin)), [tokens, dim]);
  };
}

type Sizes = Pick<VitShape, "dim" | "heads" | "registers">;

/** Both tables of `rotation`, each [T, 1, 2, w/2]. `periods` [w/4] are the file's own, where it has some. */
export function rotaryTables(
  { dim, heads, registers }: Sizes,
  { rows, cols }: Grid,
  periods?: ArrayLike<number>,
): { readonly cos: Float32Array; readonly sin: Float32Array } {
  const half = dim / heads / 2;
  const period = (k: number) => periods === undefined ? THETA ** (2 * k / half) : periods[k];
  const first = 1 + registers;
  const cos = new Float32Array((first + rows * cols) * 2 * half).fill(1);
  const sin = new Float32Array(cos.length);
  for (let patch = 0; patch < rows * cols; patch++) {
    const y = 2 * (Math.floor(patch / cols) + 0.5) / rows - 1;
    const x = 2 * (patch % cols + 0.5) / cols - 1;
    for (let j = 0; j < half; j++) {
      const angle = 2 * Math.PI * (j < half / 2 ? y / period(j) : x / period(j - half / 2));
      const at = (first + patch) * 2 * half + j;
      cos[at] = cos[at + half] = Math.cos(angle);
      sin[at] = -Math.sin(angle);
      sin[at + half] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** Queries or keys [T, D], turned on the host: what `rotation` makes of them. */
export function rotatedOnHost(
  x: ArrayLike<number>,
  sizes: Sizes,
  { cos, sin }: { readonly cos: Float32Array; readonly sin: Float32Array },
): Float32Array {
  const { dim, heads } = sizes;
  const width = dim / heads;
  return Float32Array.from({ length: x.length }, (_, i) => {
    const [token, channel] = [Math.floor(i / dim), i % width];
    const other = channel < width / 2 ? i + width / 2 : i - width / 2;
    return x[i] * cos[token * width + channel] + x[other] * sin[token * width + channel];
  });
}
