/**
 * The options of a feature inversion, said once, as the recipe says a transfer's: flags, form fields and messages are made from the schema below. It does not know
 * models, pictures or devices. Invariant: `InversionRecipe` is complete but for what only a model or a picture can tell (`model`, `layer`, `size`, `vit_side`, `vit_longest`).
 */
import { z } from "zod";
import { flagsOf, type OptionError, type OptionFlag, parseOptions } from "../transfer/options.ts";
import { checkSides, recipeSchema } from "../transfer/recipe.ts";

const { model, seed, vit_side, vit_longest, resize } = recipeSchema.shape;

/** Every option of an inversion, in the order in which help lists them. */
export const inversionSchema = z.strictObject({
  model,
  feature: z.enum(["cls", "keys"]).describe(
    "what the new picture shares with the old one: cls, its appearance as a whole, or keys, its parts and where they are",
  ),
  layer: z.number().int().min(0).max(255).optional().describe("block of the extractor, from 0 (default: the last)"),
  prior: z.enum(["unet", "none"]).default("unet").describe(
    "unet: a network paints the picture out of noise; none: each pixel is on its own, which shows why the network is needed",
  ),
  steps: z.number().int().min(1).max(1_000_000).default(20_000).describe("training steps"),
  seed: seed.describe("fixes network and noise: the same seed gives the same picture"),
  size: z.number().int().min(32).max(8192).optional().describe(
    "longest side to scale a larger picture down to before the extractor sees it, in pixels (default: the picture's own)",
  ),
  learning_rate: z.number().min(1e-7).max(1).default(0.01).describe("step size of Adam"),
  vit_side: vit_side.describe(
    "short side of what the extractor sees and of the new picture, in pixels (default: the model's native size; of DINOv2 and DINOv3, 28 patches)",
  ),
  vit_longest,
  resize,
  preview_every: z.number().int().min(0).max(1_000_000).default(100).describe("steps between two previews; 0 for none"),
}).superRefine(checkSides);

export type InversionRecipe = z.output<typeof inversionSchema>;
export type InversionOptionName = keyof InversionRecipe;

/** The names of all options, in the order of help. */
export const inversionOptionNames = Object.keys(inversionSchema.shape) as readonly InversionOptionName[];

/** Completes and checks options, as `parseOptions` does. */
export function parseInversion(
  input: Readonly<Record<string, unknown>>,
): { ok: true; recipe: InversionRecipe } | { ok: false; errors: OptionError[] } {
  const parsed = parseOptions(inversionSchema, input);
  return parsed.ok ? { ok: true, recipe: parsed.options } : parsed;
}

/** The command line's options, in the order of help. */
export function inversionFlags(): OptionFlag<InversionOptionName>[] {
  return flagsOf(inversionSchema, inversionOptionNames);
}
