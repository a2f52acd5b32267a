/** Compiled steps kept between trainings: one is used again where, and only where, it would be compiled to the same. */
import assert from "node:assert/strict";
import type { Compiled, Profile } from "../../../src/engine/mod.ts";
import { parseInversion } from "../../../src/splice/instruments/inversion_options.ts";
import { planInversion } from "../../../src/splice/instruments/inversion_program.ts";
import { compileOnce, openStepCache } from "../../../src/splice/transfer/step_cache.ts";
import { planTraining } from "../../../src/splice/transfer/step_program.ts";
import { recipe, tinyExtractor } from "../../support/splice/tiny.ts";

const profile: Profile = {
  name: "portable",
  maxStorageBuffers: 8,
  maxWorkgroupBytes: 16384,
  maxInvocations: 256,
  maxBindingBytes: 2 ** 27,
};
const [structure, appearance] = [{ width: 52, height: 44 }, { width: 40, height: 48 }];
const cache = openStepCache();
const known = { vit: tinyExtractor.vit, bindingBytes: 2 ** 31, profile, cache };

Deno.test("step cache: transfers share a step unless its program is another", () => {
  const plan = (options = {}, sizes = {}) =>
    planTraining({ ...known, structure, appearance, ...sizes, recipe: recipe(options) }).compiled;
  const first = plan();
  for (const same of [{ seed: 9 }, { steps: 99 }, { learning_rate: 0.1 }, { blur_probability: 0 }, { vit_side: 32 }]) {
    assert.equal(plan(same), first, JSON.stringify(same));
  }
  for (
    const other of [{ weight_id: 2 }, { augment: false }, { resize: "bicubic" }, { vit_side: 24 }, { padding: "zero" }]
  ) {
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
  const before = Array.from(cache.kept.values(), ({ compiled }) => compiled);
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

/** A step of so many dispatches, all of these texts. */
function stepOf(count: number, texts: readonly string[]): Compiled {
  const steps = Array.from({ length: count }, (_, at) => ({
    kind: "dispatch" as const,
    kernel: {
      name: "k",
      wgsl: `${texts[at % texts.length]}`,
      access: [],
      params: [],
      grid: [1, 1, 1] as const,
      cost: { flops: 0, bytes: 0 },
    },
    args: [],
    origin: "",
  }));
  return { prelude: null, step: { name: "s", steps, buffers: new Map(), inputs: new Map(), outputs: new Map() } };
}

Deno.test("step cache: it is bounded by bytes, the one longest unused goes first, and what goes leaves nothing", () => {
  const full = openStepCache(10 * 1200 * 10);
  const made: number[] = [];
  const use = (part: number) =>
    compileOnce(full, [part], () => {
      made.push(part);
      return stepOf(10, ["x".repeat(100), "y".repeat(100)]);
    });
  for (let part = 0; part < 9; part++) use(part);
  assert.equal(full.bytes, 9 * 12_000 + 200, "texts are shared");
  use(0); // used again: now 1 is the oldest
  for (let part = 9; part < 11; part++) use(part);
  assert.ok(full.bytes <= full.mostBytes);
  use(0);
  assert.deepEqual(made.slice(9), [9, 10]);
  use(1);
  assert.deepEqual(made.at(-1), 1);
  const one = compileOnce(full, ["huge"], () => stepOf(1000, ["z"]));
  assert.deepEqual([full.kept.size, full.texts.size, full.bytes], [1, 1, 1_200_001], "what is in use stays");
  assert.equal(compileOnce(full, ["huge"], () => stepOf(1, [])), one);
});
