/** A step of training on a device that binds little at once: its tensors are cut into parts, and the numbers stay. */
import assert from "node:assert/strict";
import { type Gpu, openGpu, openRuntime } from "../../../src/engine/mod.ts";
import { openTrainer } from "../../../src/splice/transfer/trainer.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { recipe, tinyExtractor, tinyPicture } from "../../support/splice/tiny.ts";

const [structure, appearance] = [tinyPicture(57, 44, 1), tinyPicture(40, 48, 2)];

/** Losses of step 0 and the gradient of all parameters, where a binding holds so much. */
async function firstStep(gpu: Gpu, maxBindingBytes: number) {
  const runtime = openRuntime({ ...gpu, profile: { ...gpu.profile, maxBindingBytes } });
  try {
    const trainer = await openTrainer({
      runtime,
      extractor: tinyExtractor,
      recipe: recipe(),
      structure,
      appearance,
      fingerprint: "",
    });
    const losses = new Map<string, number>();
    await trainer.train({
      until: 1,
      onSteps: ([report]) => Object.entries(report.losses).forEach(([term, loss]) => losses.set(term, loss!)),
    });
    return { losses, gradient: (await trainer.checkpoint()).first }; // with beta 0 Adam's first moment is the gradient
  } finally {
    runtime.release();
  }
}

gpuTest("parts: a step of training gives what it gives whole", async ({ profile }) => {
  for (const name of ["subgroup8", "portable"] as const) {
    if (!profile(name)) continue;
    const gpu = await openGpu({ profile: name });
    try {
      const want = await firstStep(gpu, gpu.profile.maxBindingBytes);
      // 9 of the 36 channels of the widest tensor.
      const got = await firstStep(gpu, 9 * structure.width * structure.height * 4);
      for (const [term, loss] of want.losses) {
        const error = Math.abs(got.losses.get(term)! / loss - 1);
        assert.ok(error <= 1e-6, `${name}: ${term} is off by ${error}`);
      }
      // Backwards through twenty normalisations roundings grow.
      const error = relativeError(got.gradient, want.gradient);
      assert.ok(error <= 5e-6, `${name}: the gradient is off by ${error}`);
    } finally {
      gpu.close();
    }
  }
});
