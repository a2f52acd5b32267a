/**
 * A look at the extractor, from a photograph to a picture: the features of one block, and of these what was asked for. The options are in look_options.ts, the painting in
 * pca.ts and attention_maps.ts.
 */
import type { Runtime } from "../engine/mod.ts";
import type { Picture } from "../images/picture.ts";
import { attentionPicture, similarityPicture } from "./attention_maps.ts";
import type { Extractor } from "./extractor.ts";
import { type ExtractedFeatures, extractFeatures } from "./features.ts";
import { type Look, pixelAt } from "./look_options.ts";
import { pcaPicture } from "./pca.ts";
import { vitSize } from "./recipe.ts";

export interface LookedAt {
  readonly painted: Picture;
  /** The block that was looked at. */
  readonly layer: number;
  readonly grid: ExtractedFeatures["grid"];
}

/** `look` must be without `lookProblems`. @throws EngineError with a vit_side that fits, if this one does not. */
export async function paintLook(
  runtime: Runtime,
  { look, extractor, picture, memoryLimit }: {
    readonly look: Look;
    readonly extractor: Extractor;
    readonly picture: Picture;
    readonly memoryLimit?: number | undefined;
  },
): Promise<LookedAt> {
  const { layer: asked, resize, ...sides } = look.options;
  const { depth, native } = extractor.vit;
  const layer = asked ?? depth - 1;
  const size = vitSize(sides, native);
  const features = await extractFeatures(runtime, {
    extractor,
    picture,
    layers: [layer],
    ...size,
    resize,
    memoryLimit,
  });
  return { painted: paint(look, { features, layer, picture }), layer, grid: features.grid };
}

function paint(
  { look, options }: Look,
  { features, layer, picture }: { features: ExtractedFeatures; layer: number; picture: Picture },
): Picture {
  switch (look) {
    case "pca":
      return pcaPicture(features, layer, picture);
    case "attention":
      return attentionPicture({ features, layer, picture, overlay: options.overlay }, options.head);
    case "similarity":
      return similarityPicture({ features, layer, picture, overlay: options.overlay }, pixelAt(options, picture));
  }
}
