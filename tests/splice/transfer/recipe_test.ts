/** The options of a transfer: defaults, presets, text, and every message about a wrong one. */
import assert from "node:assert/strict";
import {
  optionFlags,
  parseRecipe,
  presets,
  type Recipe,
  type RecipeError,
  recipeNames,
  vitSize,
} from "../../../src/splice/transfer/recipe.ts";

function accepted(input: Record<string, unknown>): Recipe {
  const result = parseRecipe(input);
  assert.ok(result.ok, JSON.stringify(result));
  return result.recipe;
}

function refused(input: Record<string, unknown>): RecipeError[] {
  const result = parseRecipe(input);
  assert.ok(!result.ok, JSON.stringify(result));
  return result.errors;
}

const defaults = {
  steps: 2000,
  seed: 0,
  detail: "guided",
  augment: true,
  weight_cls: 10,
  weight_ssim: 1,
  weight_id: 1,
  weight_entire_cls: 10,
  weight_entire_ssim: 1,
  entire_every: 75,
  learning_rate: 0.002,
  resize: "bilinear",
  blur_probability: 0.5,
  preview_every: 50,
};

Deno.test("recipe: without options it is the published method", () => {
  assert.deepEqual(accepted({}), defaults);
  assert.deepEqual(accepted({ steps: undefined }), defaults);
});

Deno.test("recipe: options given win over the preset, the preset over defaults", () => {
  assert.deepEqual(accepted({ preset: "paper" }), { ...defaults, ...presets.paper, preset: "paper" });
  assert.deepEqual(accepted({ preset: "quick", steps: 7 }), {
    ...defaults,
    ...presets.quick,
    preset: "quick",
    steps: 7,
  });
});

Deno.test("recipe: a recipe's own JSON gives the same recipe", () => {
  for (const input of [{}, { preset: "quick", seed: 5, augment: false }]) {
    const recipe = accepted(input);
    assert.deepEqual(accepted(JSON.parse(JSON.stringify(recipe))), recipe);
  }
});

Deno.test("recipe: text is read as the option's type", () => {
  const recipe = accepted({
    steps: "12",
    learning_rate: "1e-3",
    augment: "false",
    weight_id: " .5 ",
    model: "dino-vits8",
  });
  assert.deepEqual([recipe.steps, recipe.learning_rate, recipe.augment, recipe.weight_id, recipe.model], [
    12,
    1e-3,
    false,
    0.5,
    "dino-vits8",
  ]);
});

Deno.test("recipe: wrong values are all reported at once, each with what is wanted", () => {
  const errors = refused({
    steps: "many",
    seed: 1.5,
    size: 8,
    augment: "perhaps",
    resize: "cubic",
    blur_probability: 2,
    weight_cls: "",
    preset: "slow",
  });
  assert.deepEqual(Object.fromEntries(errors.map(({ field, message }) => [field, message])), {
    steps: 'Cannot use steps = "many": it must be a whole number from 1 to 1000000',
    seed: "Cannot use seed = 1.5: it must be a whole number from 0 to 4294967295",
    size: "Cannot use size = 8: it must be a whole number from 32 to 8192",
    augment: 'Cannot use augment = "perhaps": it must be true or false',
    resize: 'Cannot use resize = "cubic": it must be bilinear or bicubic',
    blur_probability: "Cannot use blur_probability = 2: it must be a number from 0 to 1",
    weight_cls: 'Cannot use weight_cls = "": it must be a number from 0 to 1000000',
    preset: 'Cannot use preset = "slow": it must be quick or paper',
  });
});

Deno.test("recipe: unknown options are named, with the nearest known one", () => {
  const errors = refused({ "weight-cls": 3, stpes: 3, steps: 0 });
  assert.deepEqual(errors.map((error) => error.field).sort(), ["steps", "stpes", "weight-cls"]);
  const message = (field: string) => errors.find((error) => error.field === field)?.message ?? "";
  assert.match(message("weight-cls"), /no such option; did you mean weight_cls\?/);
  assert.match(message("stpes"), /did you mean steps\?/);
});

Deno.test("recipe: values that contradict each other are refused", () => {
  assert.deepEqual(refused({ vit_side: 224, vit_longest: 200 }).map((error) => error.field), ["vit_longest"]);
  const none = { weight_cls: 0, weight_ssim: 0, weight_id: 0, weight_entire_cls: 0, weight_entire_ssim: 0 };
  assert.match(refused(none)[0].message, /one of the weights/);
  accepted({ ...none, weight_id: 1 });
});

Deno.test("recipe: numbers that are no numbers are refused", () => {
  for (const steps of [NaN, Infinity, null, [], {}, "0x10", "12px", "NaN", "1e999"]) {
    assert.deepEqual(refused({ steps }).map((error) => error.field), ["steps"], String(steps));
  }
});

Deno.test("recipe: every option has its flag and its help", () => {
  const flags = optionFlags();
  assert.deepEqual(flags.map(({ name }) => name), recipeNames);
  for (const { name, flag, description } of flags) {
    assert.match(flag, /^--[a-z-]+( <[a-z|]+>)?$/);
    assert.ok(description.length > 5, name);
  }
  const flagOf = (name: string) => flags.find((one) => one.name === name);
  assert.deepEqual(flagOf("weight_cls")?.flag, "--weight-cls <number>");
  assert.deepEqual(flagOf("weight_cls")?.default, 10);
  assert.deepEqual(flagOf("augment")?.flag, "--no-augment");
  assert.deepEqual(flagOf("resize")?.flag, "--resize <bilinear|bicubic>");
  assert.deepEqual(flagOf("model")?.flag, "--model <text>");
});

Deno.test("recipe: what the extractor sees follows from the model's native side", () => {
  assert.deepEqual(vitSize({}, 224), { side: 224, longest: 480 });
  assert.deepEqual(vitSize({ vit_side: 96 }, 224), { side: 96, longest: 480 });
  assert.deepEqual(vitSize({}, 64), { side: 64, longest: 137 });
  assert.deepEqual(vitSize({ vit_side: 96 }, 64), { side: 96, longest: 205 });
  assert.deepEqual(vitSize({ vit_longest: 150 }, 64), { side: 64, longest: 150 });
});
