/**
 * Training against what PyTorch computes. Step 0 number by number: its losses, its gradient (Adam's first moment, with beta 0) and
 * the direction of its update. Later steps in the mean alone: where a gradient is nearly zero, rounding decides which way Adam
 * goes, and two correct programs drift apart.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { openGpu, openRuntime } from "../../../src/engine/mod.ts";
import { unpackGenerator } from "../../../src/splice/transfer/checkpoint.ts";
import { parseRecipe } from "../../../src/splice/transfer/recipe.ts";
import { openTrainer } from "../../../src/splice/transfer/trainer.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { type Case, cases, type TrainingCase } from "../../support/splice/parity.ts";

for (const one of await cases<TrainingCase>("training")) {
  gpuTest(`parity: training of ${one.name}`, async () => {
    const { said } = one;
    const parsed = parseRecipe({
      augment: false,
      steps: said.steps,
      entire_every: said.entire_every,
      vit_side: said.side,
      vit_longest: said.longest,
      padding: said.padding ?? "zero",
    });
    assert.ok(parsed.ok);
    const initial = await one.generator();
    if (said.generator_sha256 !== undefined) checkGenerator(initial, said.generator_sha256);
    const runtime = openRuntime(await openGpu());
    try {
      const trainer = await openTrainer({
        runtime,
        extractor: await one.extractor(),
        recipe: parsed.recipe,
        structure: await one.picture("structure"),
        appearance: await one.picture("appearance"),
        initial,
        fingerprint: "",
      });
      const totals: number[] = [];
      await trainer.train({
        until: 1,
        onSteps([{ losses }]) {
          assert.deepEqual(Object.keys(losses).sort(), Object.keys(said.step0).sort());
          for (const [term, want] of Object.entries(said.step0)) {
            const error = Math.abs(losses[term as keyof typeof losses]! / want - 1);
            assert.ok(error <= 1e-4, `${term} of step 0 is off by ${error}`);
          }
          totals.push(losses.total!);
        },
      });
      const { first, slab } = await trainer.checkpoint();
      compareStep(one, { gradient: first, update: slab.map((value, i) => value - initial[i]) });
      await trainer.train({
        until: said.steps,
        onSteps: (reports) => void totals.push(...reports.map(({ losses }) => losses.total!)),
      });
      assert.equal(totals.length, said.steps);
      const mean = totals.slice(-10).reduce((a, b) => a + b) / 10;
      const room = 3 * said.spread_of_last_10 + 0.05 * said.mean_of_last_10;
      assert.ok(
        Math.abs(mean - said.mean_of_last_10) <= room,
        `the last ten totals are ${mean} in the mean, and ${said.mean_of_last_10} +- ${room} is expected`,
      );
    } finally {
      runtime.close();
    }
  });
}

/** All tensors as one vector; biases that a normalisation follows have no gradient and are left out. */
function compareStep(one: Case<TrainingCase>, got: { gradient: Float32Array; update: Float32Array }): void {
  const stride = one.said.gradient_stride ?? 1;
  const [gradients, updates] = [got.gradient, got.update].map((slab) => unpackGenerator(slab));
  let [difference, size, against, all] = [0, 0, 0, 0];
  for (const [name, { data }] of gradients) {
    if (name.endsWith(".conv.bias") && name !== "out.conv.bias") continue;
    const want = one.want.get(`step0.grad.${name}`)!.data;
    assert.equal(want.length, Math.ceil(data.length / stride), name);
    const update = updates.get(name)!.data;
    for (const [i, expected] of want.entries()) {
      difference += (data[i * stride] - expected) ** 2;
      size += expected ** 2;
      all += Math.abs(expected);
      if (update[i * stride] * expected >= 0) against += Math.abs(expected); // Adam goes down
    }
  }
  const error = Math.sqrt(difference / size);
  assert.ok(error <= 1e-2, `the gradient of step 0 is off by ${error}`);
  assert.ok(1 - against / all >= 0.999, `only ${1 - against / all} of the first update goes the right way`);
}

/** A case that names a seed instead of holding a generator is only good for the generator that it was made with. */
function checkGenerator(slab: Float32Array, expected: string): void {
  const hash = createHash("sha256");
  for (const { data } of unpackGenerator(slab).values()) {
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  assert.equal(hash.digest("hex"), expected, "the generator that a seed gives has changed: make the case again");
}
