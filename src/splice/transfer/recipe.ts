/**
 * The options of a transfer, said once: the schema below is the only place that knows their names, types, defaults, bounds and help. The command line's flags, the form
 * fields of HTTP, OpenAPI and every message about a wrong value are made from it. It does not know models, pictures or devices. Invariant: a `Recipe` is complete but
 * for what only a model or a picture can tell (`model`, `size`, `vit_side`, `vit_longest`), and parsing a recipe's own JSON gives the same recipe.
 */
import { z } from "zod";
import { flagsOf, type OptionError, type OptionFlag, parseOptions } from "./options.ts";

const weight = () => z.number().min(0).max(1e6);

/** Every option of a transfer, in the order in which help lists them. Pure types: text, as forms and flags give it, is converted by `parseRecipe`. */
export const recipeSchema = z.strictObject({
  preset: z.enum(["quick", "paper"]).optional()
    .describe(
      "values to start from: quick (bundled model, small, two minutes or so in software) or paper (dino-vitb8, 2000 steps, padding zero)",
    ),
  model: z.string().min(1).max(1000).optional().describe(
    "extractor: a name in the model store (default: the best one present)",
  ),
  steps: z.number().int().min(1).max(1_000_000).default(2000).describe("training steps"),
  seed: z.number().int().min(0).max(0xffff_ffff).default(0).describe(
    "fixes weights, crops and colours: the same seed gives the same picture",
  ),
  size: z.number().int().min(32).max(8192).optional().describe(
    "longest side to train at, in pixels; larger pictures are scaled down (default: the picture's own)",
  ),
  detail: z.enum(["guided", "generator", "none"]).default("guided").describe(
    "how a result that was trained smaller gets the structure photograph's size: guided (edges and textures of the photograph, colours of the painting), generator (the " +
      "network paints the whole photograph) or none (it stays as small)",
  ),
  augment: z.boolean().default(true).describe("train on random crops, flips and colours"),
  weight_cls: weight().default(10).describe(
    "weight of the appearance term: [CLS] of a crop against the appearance picture's",
  ),
  weight_ssim: weight().default(1).describe(
    "weight of the structure term: self-similarity of keys of a crop against the structure picture's",
  ),
  weight_id: weight().default(1).describe(
    "weight of the identity term: keys of the rendered appearance picture against its own",
  ),
  weight_entire_cls: weight().default(10).describe("weight of the appearance term on the whole structure picture"),
  weight_entire_ssim: weight().default(1).describe("weight of the structure term on the whole structure picture"),
  entire_every: z.number().int().min(1).max(1_000_000).default(75).describe(
    "the whole picture counts at each step divisible by this",
  ),
  learning_rate: z.number().min(1e-7).max(1).default(2e-3).describe("step size of Adam"),
  padding: z.enum(["reflect", "zero"]).default("reflect").describe(
    "what the generator's convolutions see outside the picture: its reflection, or zero as in the released code, which leaves a frame on results of few steps",
  ),
  vit_side: z.number().int().min(16).max(2048).optional().describe(
    "short side of what the extractor sees, in pixels (default: the model's native size; of DINOv2 and DINOv3, 28 patches)",
  ),
  vit_longest: z.number().int().min(16).max(4096).optional()
    .describe("limit of its long side, in pixels (default: 480 for models of 224 pixels, else 15/7 of the short side)"),
  resize: z.enum(["bilinear", "bicubic"]).default("bilinear").describe("how pictures are resized for the extractor"),
  blur_probability: z.number().min(0).max(1).default(0.5).describe(
    "how often a crop of the structure picture is blurred",
  ),
  preview_every: z.number().int().min(0).max(1_000_000).default(50).describe("steps between two previews; 0 for none"),
}).superRefine((recipe, context) => {
  checkSides(recipe, context);
  if (weightNames.every((name) => recipe[name] === 0)) {
    context.addIssue({
      code: "custom",
      path: ["weight_cls"],
      message: "one of the weights must be above 0, or there is nothing to train for",
    });
  }
});

/** Refuses a limit of the long side below the short one. */
export function checkSides(
  { vit_side, vit_longest }: { vit_side?: number | undefined; vit_longest?: number | undefined },
  context: z.RefinementCtx,
): void {
  if (vit_side === undefined || vit_longest === undefined || vit_longest >= vit_side) return;
  context.addIssue({ code: "custom", path: ["vit_longest"], message: `it must be at least vit_side, ${vit_side}` });
}

/** All options of one transfer; names are the same on the command line (with hyphens), in forms and in JSON. */
export type Recipe = z.output<typeof recipeSchema>;
export type RecipeName = keyof Recipe;
export type Preset = NonNullable<Recipe["preset"]>;

export type RecipeError = OptionError;

const weightNames = ["weight_cls", "weight_ssim", "weight_id", "weight_entire_cls", "weight_entire_ssim"] as const;

/** The names of all options, in the order of help. */
export const recipeNames = Object.keys(recipeSchema.shape) as readonly RecipeName[];

/** What each preset sets; options given beside it win. */
export const presets: Readonly<Record<Preset, Readonly<Partial<Recipe>>>> = {
  quick: { model: "splice-tiny8", size: 170, steps: 300, vit_side: 96 },
  paper: { model: "dino-vitb8", steps: 2000, padding: "zero" },
};

/** Completes and checks options, as `parseOptions` does; what is absent takes its value from the preset if there is one, else its default. */
export function parseRecipe(
  input: Readonly<Record<string, unknown>>,
): { ok: true; recipe: Recipe } | { ok: false; errors: RecipeError[] } {
  const parsed = parseOptions(recipeSchema, input, (given) => {
    const preset = recipeSchema.shape.preset.safeParse(given.preset).data;
    return preset && presets[preset];
  });
  return parsed.ok ? { ok: true, recipe: parsed.options } : parsed;
}

/** The command line's options, in the order of help. */
export function optionFlags(): OptionFlag<RecipeName>[] {
  return flagsOf(recipeSchema, recipeNames).map((flag) =>
    flag.name === "augment" ? { ...flag, description: `${flag.description}, but on the whole pictures` } : flag
  );
}

/**
 * What the extractor sees, in pixels: pictures are resized so that the short side is `side`, but the long side at most `longest`.
 * `nativeSide` is the model's own (224 for the published ones). The published method limits 224-pixel models to 480, which is 15/7 of 224.
 */
export function vitSize(
  recipe: Pick<Recipe, "vit_side" | "vit_longest">,
  nativeSide: number,
): { side: number; longest: number } {
  const side = recipe.vit_side ?? nativeSide;
  const usual = nativeSide === 224 ? Math.max(480, side) : Math.floor(side * 15 / 7);
  return { side, longest: recipe.vit_longest ?? usual };
}
