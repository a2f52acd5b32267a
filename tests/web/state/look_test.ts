/** The pure parts of the place "Look": addresses, keys, fields, the newest question, and what the page says of jobs of either kind. No browser, no server. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { z } from "zod";
import {
  inversionOptionNames,
  inversionSchema,
  parseInversion,
} from "../../../src/splice/instruments/inversion_options.ts";
import {
  featureHelp,
  fieldsOfLook,
  instruments,
  middle,
  moved,
  queryOf,
  type Setting,
  settingOf,
  within,
} from "../../../src/web/state/instruments.ts";
import { inputsOf, isInversion, kindWords, optionOf } from "../../../src/web/state/job_kind.ts";
import { openLatest } from "../../../src/web/talk/latest.ts";
import { complaintsOf, openForm, spread } from "../../../src/web/state/option_form.ts";
import { fieldsOf, type OptionSource } from "../../../src/web/state/option_list.ts";

const source = JSON.parse(
  JSON.stringify({ schema: z.toJSONSchema(inversionSchema, { io: "input" }), presets: {} }),
) as OptionSource;

Deno.test("an address says the whole setting, and nonsense in it does no harm", () => {
  const name = fc.constantFrom("model", "layer", "head", "vit_side");
  const setting = fc.record({
    instrument: fc.constantFrom("similarity", "pca", "attention"),
    options: fc.dictionary(name, fc.stringMatching(/^[\w.-]{1,12}$/)),
    point: fc.record({ x: fc.double({ min: 0, max: 1, noNaN: true }), y: fc.constant(0.25) }).map(within),
    overlay: fc.boolean(),
    example: fc.option(fc.constantFrom("sunset.jpg", "a b&c.jpg")),
  }) as fc.Arbitrary<Setting>;
  fc.assert(fc.property(setting, (one) => {
    const read = settingOf(queryOf(one));
    const expected = {
      ...one,
      point: one.instrument === "similarity" ? one.point : middle,
      overlay: one.instrument === "attention" ? one.overlay : true,
    };
    assert.deepEqual({ ...read, options: { ...read.options } }, { ...expected, options: { ...expected.options } });
  }));
  const odd = settingOf("?look=teapot&at=9,-2&layer=&overlay=maybe");
  assert.deepEqual(odd, { instrument: "similarity", options: {}, point: middle, overlay: true, example: null });
  assert.deepEqual(settingOf("?look=similarity&at=7,0.5").point, { x: 0.999, y: 0.5 });
  assert.equal(queryOf({ ...odd, instrument: "invert", options: { layer: "3" } }), "?look=invert");
});

Deno.test("arrow keys go a patch, as far down as across, and never leave the photograph", () => {
  const key = { shift: false, aspect: 2 };
  assert.deepEqual(moved(middle, { ...key, key: "ArrowRight" }), { x: 0.518, y: 0.5 });
  assert.deepEqual(moved(middle, { ...key, key: "ArrowDown" }), { x: 0.5, y: 0.536 });
  assert.deepEqual(moved(middle, { ...key, key: "ArrowUp", shift: true }), { x: 0.5, y: 0.357 });
  assert.deepEqual(moved({ x: 0, y: 0 }, { ...key, key: "ArrowLeft" }), { x: 0, y: 0 });
  assert.equal(moved(middle, { ...key, key: "Enter" }), null);
});

Deno.test("each look sends what it takes, and no more", () => {
  const setting: Setting = {
    instrument: "pca",
    options: { layer: "5", head: "2" },
    point: { x: 0.1, y: 0.2 },
    overlay: true,
    example: "x",
  };
  assert.deepEqual(fieldsOfLook("pca", setting), { layer: "5" });
  assert.deepEqual(fieldsOfLook("similarity", setting), { layer: "5", x: "0.1", y: "0.2", overlay: "true" });
  assert.deepEqual(fieldsOfLook("attention", setting), { layer: "5", head: "2", overlay: "true" });
  assert.deepEqual(fieldsOfLook("attention", { ...setting, options: {}, overlay: false }), {});
  assert.equal(instruments.length, 4);
});

Deno.test("the newest question counts: those before it are ended and forgotten, even when they fail", async () => {
  const latest = openLatest();
  const signals: AbortSignal[] = [];
  const ask = (answer: Promise<string>) =>
    latest((signal) => {
      signals.push(signal);
      return answer;
    });
  const slow = Promise.withResolvers<string>();
  const failing = Promise.withResolvers<string>();
  const asked = [ask(slow.promise), ask(failing.promise), ask(Promise.resolve("c"))];
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, true, false]);
  failing.reject(new Error("too late to matter"));
  slow.resolve("a");
  assert.deepEqual(await Promise.all(asked), [null, null, { value: "c" }]);
  await assert.rejects(ask(Promise.reject(new Error("it counts"))), /it counts/);
});

Deno.test("the inversion's form has every option, sends what the schema takes, and keeps faults until something changes", () => {
  let changes = 0;
  const form = openForm(source, {
    id: "inversion",
    first: { preset: null, values: { feature: "keys" } },
    onChange: () => changes++,
  });
  assert.deepEqual(form.options.map(({ name }) => name), inversionOptionNames);
  assert.deepEqual(
    form.options.find(({ name }) => name === "feature")?.choices.toSorted(),
    Object.keys(featureHelp).toSorted(),
  );
  const fields = fieldsOf(form.options, { choice: form.choice.value, source });
  assert.deepEqual(fields, { feature: "keys" });
  assert.ok(parseInversion(fields).ok);
  form.setChoice({ preset: null, values: { feature: "cls", steps: "0" } });
  assert.deepEqual(Object.keys(form.faults.value), ["steps"]);
  form.faults.value = { layer: "too deep" };
  form.setChoice({ preset: null, values: { feature: "cls", layer: "3" } });
  assert.deepEqual(form.faults.value, {});
  assert.deepEqual([changes, complaintsOf(form.options, form.choice.value)], [2, {}]);
});

Deno.test("errors go to their fields; what has no field is said as a whole", () => {
  const errors = [{ field: "layer", message: "0 to 11" }, { field: "webhook_url", message: "no" }];
  assert.deepEqual(spread(errors, { known: ["layer"], whole: "All." }), { layer: "0 to 11", form: "All." });
  assert.deepEqual(spread(errors.slice(0, 1), { known: ["layer"], whole: "All." }), { layer: "0 to 11" });
  assert.deepEqual(spread([], { known: [], whole: "All." }), { form: "All." });
});

Deno.test("jobs of both kinds have their inputs and words", () => {
  const urls = { structure: "/s", appearance: "/a", image: null };
  const transfer = { kind: "splice", options: { preset: "quick" }, urls } as never;
  const inversion = {
    kind: "invert",
    options: { feature: "cls" },
    urls: { structure: null, appearance: null, image: "/i" },
  } as never;
  assert.deepEqual([isInversion(transfer), isInversion(inversion)], [false, true]);
  assert.deepEqual(inputsOf(transfer).map(({ url }) => url), ["/s", "/a"]);
  assert.deepEqual(inputsOf(inversion), [{ name: "image", title: "Photograph", url: "/i" }]);
  assert.deepEqual([kindWords(transfer), kindWords(inversion)], ["Transfer", "Inversion, appearance"]);
  assert.deepEqual([optionOf(transfer, "preset"), optionOf(transfer, "size")], ["quick", null]);
});
