/**
 * The options of a look at the extractor, said once: at its parts in colours (`pca`), at where [CLS] looks (`attention`), at what resembles one place (`similarity`).
 * Flags, form fields and messages are made from the schemas below. They know no model; what only a model can tell is checked by `lookProblems`.
 */
import { z } from "zod";
import { inversionSchema } from "./inversion_options.ts";
import { flagsOf, type OptionError, type OptionFlag, parseOptions } from "../transfer/options.ts";
import { checkSides, recipeSchema } from "../transfer/recipe.ts";

const { model, vit_side, vit_longest, resize } = recipeSchema.shape;
const sight = { layer: inversionSchema.shape.layer, model, vit_side, vit_longest, resize };
const overlay = z.boolean().default(false).describe("over the photograph in grey");
const place = z.number().min(0).max(1).default(0.5);

const schemas = {
  pca: z.strictObject(sight).superRefine(checkSides),
  attention: z.strictObject({
    head: z.number().int().min(0).max(255).optional().describe(
      "one head alone, from 0 (default: all of them side by side)",
    ),
    overlay,
    ...sight,
  }).superRefine(checkSides),
  similarity: z.strictObject({
    x: place.describe("the place, from 0 at the photograph's left edge to 1 at its right"),
    y: place.describe("the place, from 0 at the photograph's upper edge to 1 at its lower"),
    overlay,
    ...sight,
  }).superRefine(checkSides),
} as const;

export type LookName = keyof typeof schemas;
export const lookNames = Object.keys(schemas) as readonly LookName[];

/** Which look, and its options. */
export const lookSchema = z.discriminatedUnion("look", [
  z.strictObject({ look: z.literal("pca"), options: schemas.pca }),
  z.strictObject({ look: z.literal("attention"), options: schemas.attention }),
  z.strictObject({ look: z.literal("similarity"), options: schemas.similarity }),
]);
export type Look = z.infer<typeof lookSchema>;

/** Completes and checks the options of a look, as `parseOptions` does. */
export function parseLook(
  look: LookName,
  input: Readonly<Record<string, unknown>>,
): { ok: true; look: Look } | { ok: false; errors: OptionError[] } {
  const parsed = parseOptions(schemas[look], input);
  // Which schema it was, the type of `schemas[look]` does not tell.
  return parsed.ok ? { ok: true, look: { look, options: parsed.options } as Look } : parsed;
}

/** The options of a look as a schema, for documents. */
export const lookOptions = (look: LookName) => schemas[look];

/** The names of all options of a look, in the order of help. */
export const lookOptionNames = (look: LookName): readonly string[] => Object.keys(schemas[look].shape);

/** The command line's options of a look, in the order of help. */
export function lookFlags(look: LookName): OptionFlag[] {
  return flagsOf(schemas[look], lookOptionNames(look));
}

/** How many of a thing a model has, and their numbers: `3 heads, 0 to 2`. */
export function numbered(count: number, thing: string): string {
  return count === 1 ? `1 ${thing}, number 0` : `${count} ${thing}s, 0 to ${count - 1}`;
}

/** Why a model has no such block; null if it has. */
export function layerProblem(
  layer: number | undefined,
  { model, depth }: { readonly model: string; readonly depth: number },
): OptionError | null {
  if (layer === undefined || layer < depth) return null;
  return { field: "layer", message: `Cannot use layer = ${layer}: ${model} has ${numbered(depth, "block")}` };
}

/** What is wrong with a look once the model is known. */
export function lookProblems({ look, options }: Look, known: {
  readonly model: string;
  readonly depth: number;
  readonly heads: number;
}): OptionError[] {
  const { model, heads } = known;
  const problems = [layerProblem(options.layer, known)].filter((problem) => problem !== null);
  if (look === "attention" && options.head !== undefined && options.head >= heads) {
    const message = `Cannot use head = ${options.head}: ${model} has ${numbered(heads, "head")}`;
    problems.push({ field: "head", message });
  }
  return problems;
}

/** The pixel at a place of a picture, `x` and `y` from 0 to 1. */
export function pixelAt(
  { x, y }: { readonly x: number; readonly y: number },
  { width, height }: { readonly width: number; readonly height: number },
): { x: number; y: number } {
  return { x: Math.min(Math.floor(x * width), width - 1), y: Math.min(Math.floor(y * height), height - 1) };
}
