/**
 * Feature inversion against what PyTorch computes from the same start and the same noise: loss and gradient of step 0 number by number, later losses within what
 * PyTorch's own runs, disturbed by one part in ten million, are apart: step by step where that is little, else their mean.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { openGpu, openRuntime } from "../../../src/engine/mod.ts";
import { freshSlab, openInversion } from "../../../src/splice/instruments/inversion.ts";
import { parseInversion } from "../../../src/splice/instruments/inversion_options.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { openInversionCases } from "../../support/splice/inversion_cases.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { tinyExtractor, trainTo } from "../../support/splice/tiny.ts";

const { cases, picture, want } = await openInversionCases();

for (const [index, said] of cases.entries()) {
  gpuTest(
    `parity: inversion of ${said.feature} of block ${said.layer}, prior ${said.prior}, at ${said.side} px`,
    async () => {
      const { feature, layer, prior, seed, steps, side, longest } = said;
      const parsed = parseInversion({ feature, layer, prior, seed, steps, vit_side: side, vit_longest: longest });
      assert.ok(parsed.ok);
      const runtime = openRuntime(await openGpu());
      try {
        const inversion = await openInversion({
          runtime,
          extractor: tinyExtractor,
          recipe: parsed.recipe,
          picture,
          fingerprint: "",
        });
        const slab = freshSlab(parsed.recipe, inversion.seen);
        const digest = createHash("sha256").update(new Uint8Array(slab.buffer)).digest("hex");
        assert.equal(digest, said.slab_sha256, "the start that a seed gives has changed: make the cases again");
        const [first] = await trainTo(inversion, 1);
        const error = Math.abs(first.losses.total! / said.step0 - 1);
        assert.ok(error <= 1e-4, `the loss of step 0 is off by ${error}`);
        const moment = (await inversion.checkpoint()).first; // after one step (1 - 0.9) times the gradient
        const kept = moment.filter((_, i) => i % said.gradient_stride === 0).map((value) => 10 * value);
        const off = relativeError(kept, want.get(`gradient.${index}`)!.data);
        assert.ok(off <= 1e-2, `the gradient of step 0 is off by ${off}`);
        const losses = [first, ...await trainTo(inversion, steps)].map(({ losses }) => losses.total!);
        for (const [t, loss] of losses.entries()) {
          const [mean, spread] = [said.losses_mean[t], said.losses_spread[t]];
          if (spread > 0.02 * mean) continue; // from here on rounding decides: only the mean says something
          assert.ok(Math.abs(loss - mean) <= 3 * spread + 1e-4 * mean, `the loss of step ${t} is ${loss}, not ${mean}`);
        }
        const mean = losses.reduce((a, b) => a + b) / losses.length;
        const room = 3 * said.spread_of_means + 1e-4 * said.mean_of_losses;
        assert.ok(
          Math.abs(mean - said.mean_of_losses) <= room,
          `losses are ${mean} in the mean, and ${said.mean_of_losses} +- ${room} is expected`,
        );
      } finally {
        runtime.close();
      }
    },
  );
}
