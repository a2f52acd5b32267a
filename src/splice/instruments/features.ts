/**
 * Looking at the extractor: tokens, queries, keys, values and self-similarity of any of its blocks for one picture.
 *
 * One program per picture size, up to the last block that is asked for: blocks share their scratch, and only what is asked for is kept.
 */
import type { Runtime, Value } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import { selfSimilarity, type VitShape } from "../../nets/vit.ts";
import type { StateDict } from "../../weights/formats/tensor.ts";
import { periodsOf } from "../transfer/extractor.ts";
import type { OptionError } from "../transfer/options.ts";
import { type ExtractorView, openExtractorProgram } from "./extractor_program.ts";
import { numbered } from "./look_options.ts";

export interface FeatureOptions extends ExtractorView {
  readonly picture: Picture;
  /** Blocks, from 0. */
  readonly layers: readonly number[];
}

export interface ExtractedFeatures {
  /** `block.{i}.tokens|queries|keys|values` [t, d] and `self_similarity.{i}` [t, t]; [CLS] first, then registers, then patches row by row. Queries and keys before any turning. */
  readonly tensors: StateDict;
  readonly vit: VitShape;
  /** Of the extractor's own rotary positions, where its file has some. */
  readonly periods: Float32Array | undefined;
  readonly grid: { readonly rows: number; readonly cols: number };
  /** Side of a patch, in pixels of what the extractor saw. */
  readonly patch: number;
  /** What the extractor saw, in pixels. */
  readonly seen: { readonly height: number; readonly width: number };
}

/** The blocks that are asked for, in order and each once; where none is, the last. */
export function wantedLayers(asked: readonly number[], depth: number): number[] {
  return asked.length === 0 ? [depth - 1] : [...new Set(asked)].sort((a, b) => a - b);
}

/** Why a model has not all of these blocks; null if it has. */
export function layersProblem(
  layers: readonly number[],
  { model, depth }: { readonly model: string; readonly depth: number },
): OptionError | null {
  if (layers.every((layer) => layer < depth)) return null;
  return { field: "layers", message: `Cannot use layers = ${layers}: ${model} has ${numbered(depth, "block")}` };
}

/** What a file of features says of itself. */
export function featureMetadata({ grid, patch, seen, vit }: ExtractedFeatures, model: string): Record<string, string> {
  return {
    kind: "splice-features",
    model,
    grid: `${grid.rows}x${grid.cols}`,
    patch: String(patch),
    ...(vit.registers > 0 ? { registers: String(vit.registers) } : {}),
    resized: `${seen.height}x${seen.width}`,
  };
}

/** @throws EngineError with a vit_side that fits, if this one does not. */
export async function extractFeatures(runtime: Runtime, options: FeatureOptions): Promise<ExtractedFeatures> {
  const { extractor, picture, layers } = options;
  const { seen, grid, read } = await openExtractorProgram(runtime, {
    ...options,
    name: "features",
    action: "extract features",
    called: "given",
    last: Math.max(...layers),
    roots(blocks) {
      const roots = new Map<string, Value>();
      for (const layer of layers) {
        for (const [name, value] of Object.entries(blocks[layer])) roots.set(`block.${layer}.${name}`, value);
        roots.set(`self_similarity.${layer}`, selfSimilarity(blocks[layer].keys));
      }
      return roots;
    },
  });
  return {
    tensors: await read(picture),
    vit: extractor.vit,
    periods: periodsOf(extractor.tensors),
    grid,
    patch: extractor.vit.patch,
    seen,
  };
}
