/** The options of rendering with a trained generator, said once, as the recipe says a transfer's: flags, form fields and messages are made from the schema below. */
import { z } from "zod";
import { flagsOf, type OptionError, type OptionFlag, parseOptions } from "./options.ts";
import { recipeSchema } from "./recipe.ts";

/** Every option, in the order in which help lists them. */
export const applySchema = z.strictObject({
  size: z.number().int().min(32).max(8192).optional().describe(
    "longest side to render at, in pixels; larger pictures are scaled down (default: as the generator was trained; the picture's own, where its file does not say)",
  ),
  detail: recipeSchema.shape.detail.describe(
    "how the result gets the picture's own size, where that is larger: guided (edges and textures of the picture, colours of the rendering), generator (the network paints " +
      "all of it) or none (it stays as it was rendered)",
  ),
});

export type ApplyOptions = z.output<typeof applySchema>;
export type ApplyOptionName = keyof ApplyOptions;

export const applyOptionNames = Object.keys(applySchema.shape) as readonly ApplyOptionName[];

/** Completes and checks options, as `parseOptions` does. */
export function parseApply(
  input: Readonly<Record<string, unknown>>,
): { ok: true; options: ApplyOptions } | { ok: false; errors: OptionError[] } {
  return parseOptions(applySchema, input);
}

/** The command line's options, in the order of help. */
export function applyFlags(): OptionFlag<ApplyOptionName>[] {
  return flagsOf(applySchema, applyOptionNames);
}
