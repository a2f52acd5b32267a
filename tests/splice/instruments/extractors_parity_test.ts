/**
 * Extractors of every family against PyTorch in float64: features, and the gradient that flows back to the picture. On all sets of kernels; a software driver takes minutes
 * to compile those of GPUs for whole networks, so there it tries them only when asked to:
 *
 *   deno task test tests/splice/instruments/extractors_parity_test.ts -- --all-kernels
 */
import assert from "node:assert/strict";
import { openRuntime, type Runtime } from "../../../src/engine/mod.ts";
import { extractFeatures } from "../../../src/splice/instruments/features.ts";
import type { Extractor } from "../../../src/splice/transfer/extractor.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { profileNames } from "../../support/engine/profiles.ts";
import { extractorCases, type Looked } from "../../support/splice/extractor_cases.ts";
import { imageGradient } from "../../support/splice/image_gradient.ts";

const all = Deno.args.includes("--all-kernels");
if (!all) {
  console.log("skipped: the kernels of GPUs for whole extractors, where the adapter is none; see --all-kernels");
}

for (const one of extractorCases()) {
  gpuTest(`parity: ${one.name}`, async (gpu) => {
    const { extractor, looks } = await one.open();
    const usual = profileNames.filter((name) => all || name !== "workgroup" || gpu.own === name);
    const profiles = one.name.includes("/") ? usual.slice(0, 1) : usual; // the small ones try them all
    for (const name of profiles) {
      const profile = gpu.profile(name);
      if (profile === null) continue;
      const runtime = openRuntime({ ...gpu.runtime.gpu, profile });
      try {
        for (const [n, look] of looks.entries()) {
          const worst = Math.min(...await errorsOf(runtime, extractor, look));
          assert.ok(worst <= 1, `picture ${n} is off by ${worst} times what is allowed, ${name}`);
        }
      } finally {
        runtime.release();
      }
    }
  });
}

/** The worst error for each of the answers that will do, over what is allowed of it: 1e-4 of features, 1e-3 of gradients. */
async function errorsOf(runtime: Runtime, extractor: Extractor, { picture, wants }: Looked): Promise<number[]> {
  const side = Math.min(picture.width, picture.height);
  const longest = Math.max(picture.width, picture.height);
  const layers = Array.from({ length: extractor.vit.depth }, (_, i) => i);
  const seen = { extractor, picture, side, longest };
  const { tensors } = await extractFeatures(runtime, { ...seen, layers, resize: "bilinear" });
  const gradient = await imageGradient(runtime, seen);
  return wants.map((want) =>
    Math.max(...Array.from(want, ([name, { data, shape }]) => {
      if (name === "grad") return relativeError(gradient, data) / 1e-3;
      assert.deepEqual(tensors.get(name)?.shape, shape, name);
      return relativeError(tensors.get(name)!.data, data) / 1e-4;
    }))
  );
}
