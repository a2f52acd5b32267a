/**
 * A look at the extractor, from a photograph to a picture: the features of one block, and of these what was asked for. The options are in look_options.ts, the painting in
 * pca.ts and attention_maps.ts.
 */
import type { Runtime } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import { seenSize } from "../../nets/vit.ts";
import { attentionPicture, similarityPicture } from "./attention_maps.ts";
import type { Size } from "../transfer/augment.ts";
import type { Extractor } from "../transfer/extractor.ts";
import { type ExtractedFeatures, extractFeatures } from "./features.ts";
import { type Look, pixelAt } from "./look_options.ts";
import type { OptionError } from "../transfer/options.ts";
import { pcaPicture } from "./pca.ts";
import { vitSize } from "../transfer/recipe.ts";

export interface LookedAt {
  readonly painted: Picture;
  /** The block that was looked at. */
  readonly layer: number;
  readonly grid: ExtractedFeatures["grid"];
}

/** Pixels of all pictures that attention paints side by side: as many as one picture may have. */
const MOST_PAINTED = 64e6;

/**
 * Why a look would take too long, or all memory there is; null if it would not. `mostPatches`: of so many components may be looked for; memory, and the time of an iteration,
 * grow with their square.
 */
export function tooMuch(
  { look, options }: Look,
  { vit: { heads, native, patch }, picture, mostPatches }: {
    readonly vit: Extractor["vit"];
    readonly picture: Size;
    readonly mostPatches: number;
  },
): OptionError | null {
  if (look === "attention" && options.head === undefined && heads * picture.width * picture.height > MOST_PAINTED) {
    const message = `Cannot paint all ${heads} heads of a photograph of ${picture.width} x ${picture.height}: ` +
      `together that is more than ${MOST_PAINTED / 1e6} megapixels; name one head, or scale the photograph down`;
    return { field: "head", message };
  }
  if (look !== "pca") return null;
  const patchesAt = (vit_side: number) => {
    const { side, longest } = vitSize({ ...options, vit_side }, native);
    const seen = seenSize(picture.height, picture.width, side, longest);
    return Math.floor(seen.height / patch) * Math.floor(seen.width / patch);
  };
  const asked = options.vit_side ?? native;
  let fits = asked;
  while (patchesAt(fits) > mostPatches) fits--;
  if (fits === asked) return null;
  const message = `Cannot use vit_side = ${asked}: the photograph would be seen as ${patchesAt(asked)} patches, and ` +
    `components are found of ${mostPatches} at most; vit_side ${fits} would do`;
  return { field: "vit_side", message };
}

/** `look` must be without `lookProblems`, and not `tooMuch`. @throws EngineError with a vit_side that fits, if this one does not. */
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
