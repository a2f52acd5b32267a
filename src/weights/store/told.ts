// What a weight file's neighbours say of what its tensors do not tell: Hugging Face's and timm's config.json, preprocessor_config.json. They are believed where they describe
// the very network, and never blindly: DINO's own preprocessor_config.json was wrong. Invariant: a neighbour that cannot be read or understood says nothing.

import { dirname, join } from "node:path";
import { z } from "zod";
import {
  HEAD,
  IMAGENET,
  type Normalisation,
  normalisationText,
  type Told,
  type VitSizes,
} from "../formats/vit_family.ts";

const three = z.tuple([z.number(), z.number(), z.number()]);
const positive = z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]);

/** Hugging Face's transformers. */
const Config = z.object({
  hidden_size: z.number(),
  num_hidden_layers: z.number(),
  num_attention_heads: z.number().int().positive(),
  patch_size: z.number().optional(),
});
/** timm. */
const Architecture = z.object({
  architecture: z.string(),
  num_features: z.number().optional(),
  pretrained_cfg: z.object({ mean: three, std: positive }).optional().catch(undefined),
});
const Preprocessor = z.object({ image_mean: three, image_std: positive, do_normalize: z.literal(true).optional() });

/** timm's architectures whose heads are not 64 wide, and how many they have. */
const UNUSUAL: readonly (readonly [RegExp, number])[] = [
  [/_so400m_/, 16],
  [/_7b_/, 32],
  [/_gigantic_|_giant_(?!.*dinov2)/, 16],
  [/_huge_(?!plus)/, 16],
];

/** `remarks`: what was found and not believed, for people. */
export type Neighbours = { readonly told: Told; readonly remarks: readonly string[] };

/** What lies beside a weight file. @param sizes of the network in it */
export async function askNeighbours(path: string, sizes: VitSizes): Promise<Neighbours> {
  const [config, preprocessor] = await Promise.all(
    ["config.json", "preprocessor_config.json"].map((name) => readJson(join(dirname(path), name))),
  );
  const { dim, depth, patch } = sizes;
  const remarks: string[] = [];
  const huggingFace = Config.safeParse(config).data;
  if (
    huggingFace?.hidden_size === dim && huggingFace.num_hidden_layers === depth &&
    (huggingFace.patch_size ?? patch) === patch
  ) {
    const heads = huggingFace.num_attention_heads;
    const seen = Preprocessor.safeParse(preprocessor).data;
    const normalisation = seen && { mean: seen.image_mean, deviation: seen.image_std };
    if (normalisation === undefined || !mayBeDino(sizes, heads) || equal(normalisation, IMAGENET)) {
      return { told: { heads, normalisation }, remarks };
    }
    remarks.push(
      `preprocessor_config.json says ${
        normalisationText(normalisation)
      }, but this has the sizes of a DINO model, some of ` +
        "which were published with a wrong one",
    );
    return { told: { heads }, remarks };
  }
  const timm = Architecture.safeParse(config).data;
  if (timm && (timm.num_features ?? dim) === dim) {
    const unusual = UNUSUAL.find(([pattern]) => pattern.test(timm.architecture))?.[1];
    const { mean, std } = timm.pretrained_cfg ?? {};
    const normalisation = mean && std && { mean, deviation: std };
    return { told: { heads: unusual ?? (dim % HEAD === 0 ? dim / HEAD : undefined), normalisation }, remarks };
  }
  return { told: {}, remarks };
}

/** Whether sizes are those of one of DINO's own four. */
function mayBeDino({ family, dim, depth, patch, grid }: VitSizes, heads: number): boolean {
  return family === "dino" && (dim === 384 || dim === 768) && heads * HEAD === dim && depth === 12 &&
    (patch === 8 || patch === 16) && grid * patch === 224;
}

const equal = (a: Normalisation, b: Normalisation) => `${a.mean};${a.deviation}` === `${b.mean};${b.deviation}`;

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch {
    return null;
  }
}
