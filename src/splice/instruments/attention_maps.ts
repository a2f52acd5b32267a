/**
 * Two more looks at the extractor: where [CLS] looks, head by head, and what resembles a chosen patch. Numbers of patches from features that were extracted before, and
 * pictures of them; no GPU is asked. Registers are no patches and have no place in pictures. Invariant: shares of attention are those of the extractor's own softmax, so with
 * [CLS]'s share of itself, and those of registers, they add up to 1.
 */
import type { Picture } from "../../images/picture.ts";
import { rotaryTables, rotatedOnHost } from "../../nets/rotary.ts";
import type { VitShape } from "../../nets/vit.ts";
import type { ExtractedFeatures } from "./features.ts";
import { framed, heatColours, overPhotograph, paintGrid, patchAt, sideBySide } from "./grid_picture.ts";

export interface ClsAttentionOptions {
  /** Of one block, [t, width], [CLS] first, as they come out of their projections; of the queries only [CLS]'s counts. */
  readonly queries: ArrayLike<number>;
  readonly keys: ArrayLike<number>;
  readonly vit: Pick<VitShape, "dim" | "heads" | "registers" | "positions">;
  readonly grid: { readonly rows: number; readonly cols: number };
  /** Of the file's own rotary positions, where it has some. */
  readonly periods?: ArrayLike<number> | undefined;
}

/** softmax(q_cls . k / sqrt(head width)), head by head: what part of its attention [CLS] gives to each patch, [rows * cols]. */
export function clsAttention({ queries, keys: bare, vit, grid, periods }: ClsAttentionOptions): Float64Array[] {
  const { dim: width, heads, registers } = vit;
  const size = width / heads;
  // [CLS]'s query has no place and is not turned.
  const keys = vit.positions === "rotary" ? rotatedOnHost(bare, vit, rotaryTables(vit, grid, periods)) : bare;
  return Array.from({ length: heads }, (_, head) => {
    const scores = Float64Array.from({ length: keys.length / width }, (_, token) => {
      let sum = 0;
      for (let d = head * size; d < (head + 1) * size; d++) sum += queries[d] * keys[token * width + d];
      return sum / Math.sqrt(size);
    });
    const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    const weights = scores.map((score) => Math.exp(score - top));
    const all = weights.reduce((a, b) => a + b);
    return weights.subarray(1 + registers).map((weight) => weight / all);
  });
}

/** The mean of all heads, [rows * cols]. */
export function meanAttention(options: ClsAttentionOptions): Float64Array {
  const heads = clsAttention(options);
  return heads[0].map((_, i) => heads.reduce((sum, shares) => sum + shares[i] / heads.length, 0));
}

/** Cosine similarity of one patch's key to those of all patches, [rows * cols]. */
export function similarityTo(
  { tensors, grid, vit: { registers } }: ExtractedFeatures,
  layer: number,
  { row, col }: { readonly row: number; readonly col: number },
): Float32Array {
  const { shape: [tokens], data } = tensors.get(`self_similarity.${layer}`)!;
  const first = 1 + registers;
  const token = first + row * grid.cols + col;
  return (data as Float32Array).slice(token * tokens + first, (token + 1) * tokens);
}

export interface HeatOptions {
  readonly features: ExtractedFeatures;
  readonly layer: number;
  /** The photograph; the picture has its size. */
  readonly picture: Picture;
  /** Mixed with the photograph in grey. */
  readonly overlay?: boolean | undefined;
}

/** Where [CLS] looks: of all heads side by side, or of one. Each is scaled by itself: light is where it looks most. */
export function attentionPicture({ features, layer, picture, overlay }: HeatOptions, head?: number): Picture {
  const [queries, keys] = ["queries", "keys"].map((name) => features.tensors.get(`block.${layer}.${name}`)!);
  const heads = clsAttention({ ...features, queries: queries.data, keys: keys.data });
  const maps = head === undefined ? heads : [heads[head]];
  const pictures = maps.map((shares) => {
    const heat = paintGrid(heatColours(shares, { least: 0 }), { ...features, ...features.grid }, picture);
    return overlay ? overPhotograph(heat, picture) : heat;
  });
  return pictures.length === 1 ? pictures[0] : sideBySide(pictures);
}

/** What resembles the patch under a pixel of the photograph; that patch is framed. Light is most alike: itself, 1. */
export function similarityPicture(
  { features, layer, picture, overlay }: HeatOptions,
  pixel: { readonly x: number; readonly y: number },
): Picture {
  const grid = { ...features, ...features.grid };
  const patch = patchAt(pixel, grid, picture);
  const heat = paintGrid(heatColours(similarityTo(features, layer, patch), { most: 1 }), grid, picture);
  return framed(overlay ? overPhotograph(heat, picture) : heat, patch, grid);
}
