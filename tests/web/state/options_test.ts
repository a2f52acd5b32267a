/** The page's form of options against the schema it is made from: nothing is missing, and what the form sends means what it shows. No browser, no server. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { z } from "zod";
import { parseRecipe, presets, recipeNames, recipeSchema } from "../../../src/splice/transfer/recipe.ts";
import {
  type Choice,
  choiceOf,
  complaint,
  describeOptions,
  fieldsOf,
  type OptionSource,
  prominent,
  valueOf,
  weights,
} from "../../../src/web/state/option_list.ts";

/** As the build embeds it. */
const source = JSON.parse(
  JSON.stringify({ schema: z.toJSONSchema(recipeSchema, { io: "input" }), presets }),
) as OptionSource;
const options = describeOptions(source);
const fieldsFor = (choice: Choice) => fieldsOf(options, { choice, source });

Deno.test("every option of the schema is in the form, with help; what is prominent exists", () => {
  assert.deepEqual(options.map(({ name }) => name), recipeNames.filter((name) => name !== "preset"));
  for (const { name, help, label } of options) assert.ok(help.length > 10 && /^[A-Z]/.test(label), name);
  const names = new Set(options.map(({ name }) => name));
  for (const name of [...prominent, ...weights]) assert.ok(names.has(name), name);
});

Deno.test("kinds, bounds and defaults are the schema's", () => {
  const option = (name: string) => options.find((one) => one.name === name)!;
  assert.deepEqual([
    option("steps").kind,
    option("steps").least,
    option("steps").most,
    option("steps").whole,
    option("steps").fallback,
  ], ["number", 1, 1_000_000, true, "2000"]);
  assert.deepEqual([option("learning_rate").whole, option("learning_rate").fallback], [false, "0.002"]);
  assert.deepEqual([option("resize").kind, option("resize").choices], ["choice", ["bilinear", "bicubic"]]);
  assert.deepEqual([option("augment").kind, option("augment").fallback], ["boolean", "true"]);
  assert.deepEqual([option("model").kind, option("size").fallback], ["text", ""]);
});

Deno.test("a preset shows its values, what is typed wins, and only what differs is sent", () => {
  const steps = options.find(({ name }) => name === "steps")!;
  const quick: Choice = { preset: "quick", values: {} };
  assert.equal(valueOf(steps, { choice: quick, source }), "300");
  assert.equal(valueOf(steps, { choice: { preset: null, values: {} }, source }), "2000");
  assert.deepEqual(fieldsFor(quick), { preset: "quick" });
  assert.deepEqual(fieldsFor({ preset: "quick", values: { steps: "300", seed: " 7 ", size: "" } }), {
    preset: "quick",
    seed: "7",
  });
  assert.deepEqual(fieldsFor({ preset: null, values: { augment: "false" } }), { augment: "false" });
});

Deno.test("a job's options come back as they were when it is made again", () => {
  for (
    const input of [{ preset: "quick", seed: 5 }, { preset: "paper", model: "dino-vits8" }, {
      steps: 10,
      weight_id: 0.5,
      augment: false,
      size: 64,
    }, {}]
  ) {
    const made = parseRecipe(input);
    assert.ok(made.ok);
    const again = parseRecipe(fieldsFor(choiceOf(made.recipe, { options, source })));
    assert.ok(again.ok);
    assert.deepEqual(again.recipe, made.recipe);
  }
});

Deno.test("the form complains about a number exactly when the schema does", () => {
  const numbers = options.filter(({ kind }) => kind === "number");
  const typed = fc.oneof(
    fc.integer({ min: -10, max: 2_000_000 }).map(String),
    fc.double({ min: -1, max: 5000, noNaN: true }).map(String),
    fc.constantFrom("abc", "1e3", "0.5", "-0", "NaN"),
  );
  fc.assert(fc.property(fc.constantFrom(...numbers), typed, (option, text) => {
    const parsed = parseRecipe({ [option.name]: text });
    const refused = !parsed.ok && parsed.errors.some((error) => error.field === option.name);
    assert.equal(complaint(option, text) !== null, refused, `${option.name} = ${text}`);
  }));
});
