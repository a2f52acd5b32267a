/** Compiled steps kept between trainings: one is used again where, and only where, it would be compiled to the same. */
import assert from "node:assert/strict";
import type { Profile } from "../../../src/engine/mod.ts";
import { parseInversion } from "../../../src/splice/instruments/inversion_options.ts";
import { planInversion } from "../../../src/splice/instruments/inversion_program.ts";
import { compileOnce, type StepCache } from "../../../src/splice/transfer/step_cache.ts";
import { planTraining } from "../../../src/splice/transfer/step_program.ts";
import { recipe, tinyExtractor } from "../../support/splice/tiny.ts";

const profile: Profile = { name: "portable", maxStorageBuffers: 8, maxWorkgroupBytes: 16384, maxInvocations: 256 };
const [structure, appearance] = [{ width: 52, height: 44 }, { width: 40, height: 48 }];
const cache: StepCache = new Map();
const known = { vit: tinyExtractor.vit, bindingBytes: 2 ** 31, profile, cache };

Deno.test("step cache: transfers share a step unless its program is another", () => {
  const plan = (options = {}, sizes = {}) =>
    planTraining({ ...known, structure, appearance, ...sizes, recipe: recipe(options) }).compiled;
  const first = plan();
  for (const same of [{ seed: 9 }, { steps: 99 }, { learning_rate: 0.1 }, { blur_probability: 0 }, { vit_side: 32 }]) {
    assert.equal(plan(same), first, JSON.stringify(same));
  }
  for (const other of [{ weight_id: 2 }, { augment: false }, { resize: "bicubic" }, { vit_side: 24 }]) {
    assert.notEqual(plan(other), first, JSON.stringify(other));
  }
  assert.notEqual(plan({}, { structure: appearance, appearance: structure }), first);
});

Deno.test("step cache: inversions share a step unless its program is another, and none with a transfer", () => {
  const plan = (options = {}, picture = structure) => {
    const parsed = parseInversion({ feature: "keys", vit_side: 32, ...options });
    assert.ok(parsed.ok, JSON.stringify(parsed));
    return planInversion({ ...known, picture, recipe: parsed.recipe }).compiled;
  };
  const before = [...cache.values()];
  const first = plan();
  assert.ok(!before.includes(first));
  for (const same of [{ seed: 9 }, { steps: 99 }, { learning_rate: 0.1 }, { layer: 1 }, { preview_every: 0 }]) {
    assert.equal(plan(same), first, JSON.stringify(same));
  }
  for (
    const other of [{ feature: "cls" }, { layer: 0 }, { prior: "none" }, { resize: "bicubic" }, { vit_side: 24 }]
  ) {
    assert.notEqual(plan(other), first, JSON.stringify(other));
  }
  assert.notEqual(plan({}, appearance), first);
  assert.equal(plan({}, { width: 104, height: 88 }), first, "it is seen at the same size");
});

Deno.test("step cache: the one longest unused goes first", () => {
  const full: StepCache = new Map();
  const made: number[] = [];
  const use = (part: number) =>
    compileOnce(full, [part], () => {
      made.push(part);
      return { step: {} } as ReturnType<Parameters<typeof compileOnce>[2]>;
    });
  for (let part = 0; part < 64; part++) use(part);
  use(0); // used again: now 1 is the oldest
  use(64);
  use(0);
  assert.deepEqual(made.slice(63), [63, 64]);
  use(1);
  assert.deepEqual(made.at(-1), 1);
});
