/**
 * Two more looks at the extractor: where [CLS] looks, head by head, and what resembles a chosen patch. Numbers of patches from features that were extracted before, and
 * pictures of them; no GPU is asked. Invariant: shares of attention are those of the extractor's own softmax, so with [CLS]'s share of itself they add up to 1.
 */
import type { Picture } from "../images/picture.ts";
import type { ExtractedFeatures } from "./features.ts";
import { framed, heatColours, overPhotograph, paintGrid, patchAt, sideBySide } from "./grid_picture.ts";

/** Channels of a head. */
const HEAD = 64;

/** softmax(q_cls . k / 8) of one block, head by head: what part of its attention [CLS] gives to each patch, [rows * cols]. */
export function clsAttention({ tensors }: ExtractedFeatures, layer: number): Float32Array[] {
  const [queries, keys] = ["queries", "keys"].map((name) => tensors.get(`block.${layer}.${name}`)!);
  const [tokens, width] = keys.shape;
  return Array.from({ length: width / HEAD }, (_, head) => {
    const scores = Float64Array.from({ length: tokens }, (_, token) => {
      let sum = 0;
      for (let d = head * HEAD; d < (head + 1) * HEAD; d++) sum += queries.data[d] * keys.data[token * width + d];
      return sum / Math.sqrt(HEAD);
    });
    const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    const weights = scores.map((score) => Math.exp(score - top));
    const all = weights.reduce((a, b) => a + b);
    return Float32Array.from(weights.subarray(1), (weight) => weight / all);
  });
}

/** Cosine similarity of one patch's key to those of all patches, [rows * cols]. */
export function similarityTo(
  { tensors, grid }: ExtractedFeatures,
  layer: number,
  { row, col }: { readonly row: number; readonly col: number },
): Float32Array {
  const { shape: [tokens], data } = tensors.get(`self_similarity.${layer}`)!;
  const token = 1 + row * grid.cols + col;
  return (data as Float32Array).slice(token * tokens + 1, (token + 1) * tokens);
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
  const heads = clsAttention(features, layer);
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
