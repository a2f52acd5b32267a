/**
 * Looking at the extractor: tokens, queries, keys, values and self-similarity of any of its blocks for one picture.
 *
 * One program per picture size, up to the last block that is asked for: blocks share their scratch, and only what is asked for is kept.
 */
import { compile, f32, input, type Interpolation, type Runtime, type Value } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import { openVit, prepareImage, seenSize, selfSimilarity, vitBlocks, type VitShape } from "../../nets/vit.ts";
import type { HostTensor, StateDict } from "../../weights/formats/tensor.ts";
import { checkSeen, type Extractor, periodsOf, uploadExtractor } from "../transfer/extractor.ts";
import { numbered } from "./look_options.ts";
import { refuseUnlessItFits, tryPlan } from "../transfer/memory.ts";
import type { OptionError } from "../transfer/options.ts";
import { seenPicture } from "./seen_picture.ts";

export interface FeatureOptions {
  readonly extractor: Extractor;
  readonly picture: Picture;
  /** Blocks, from 0. */
  readonly layers: readonly number[];
  /** Short side of what the extractor sees, limit of its long side, and how the picture is resized to it. */
  readonly side: number;
  readonly longest: number;
  readonly resize: Interpolation;
  /** Bytes the device may use, where that is known. */
  readonly memoryLimit?: number | undefined;
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
  const { extractor, picture, layers, resize } = options;
  const plan = (side: number, longest: number) => {
    const net = openVit(extractor.vit);
    const seen = seenSize(picture.height, picture.width, side, longest);
    const image = input("image", f32(3, seen.height, seen.width));
    const blocks = vitBlocks(net, prepareImage(net, image, { ...seen, resize }), Math.max(...layers));
    const roots = new Map<string, Value>();
    for (const layer of layers) {
      for (const [name, value] of Object.entries(blocks[layer])) roots.set(`block.${layer}.${name}`, value);
      roots.set(`self_similarity.${layer}`, selfSimilarity(blocks[layer].keys));
    }
    return { seen, roots, ...tryPlan(() => compile("features", { roots }, { profile: runtime.gpu.profile })) };
  };
  const { patch } = extractor.vit;
  checkSeen(picture, { name: "given", patch, side: options.side, longest: options.longest });
  const { seen, roots, memory, compiled } = plan(options.side, options.longest);
  refuseUnlessItFits(memory, {
    action: "extract features",
    bindingBytes: runtime.gpu.limits.bindingBytes,
    totalBytes: options.memoryLimit,
    options: [{
      name: "vit_side",
      value: options.side,
      planAt: (side) => plan(side, Math.floor(options.longest * side / options.side)).memory,
    }],
  });
  const { prelude, step } = compiled!;
  uploadExtractor(runtime, extractor, [prelude, step]);
  if (prelude) runtime.run((await runtime.load([prelude]))[0]);
  const [program] = await runtime.load([step]);
  runtime.run(program, new Map([["image", seenPicture(picture, seen, resize).data]]));
  const tensors = new Map<string, HostTensor>();
  for (const [name, { type }] of roots) {
    tensors.set(name, { shape: type.shape, data: await runtime.readOutput(program, name) });
  }
  return {
    tensors,
    vit: extractor.vit,
    periods: periodsOf(extractor.tensors),
    grid: { rows: Math.floor(seen.height / patch), cols: Math.floor(seen.width / patch) },
    patch,
    seen,
  };
}
