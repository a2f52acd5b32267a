/** The extractor against what PyTorch computes in float64: features, and the gradient that flows back to the picture. */
import assert from "node:assert/strict";
import { openGpu, openRuntime } from "../../../src/engine/mod.ts";
import { extractFeatures } from "../../../src/splice/instruments/features.ts";
import { seenSize } from "../../../src/nets/vit.ts";
import type { Extractor } from "../../../src/splice/transfer/extractor.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { imageGradient } from "../../support/splice/image_gradient.ts";
import { type Case, cases, type FeaturesCase } from "../../support/splice/parity.ts";

for (const one of await cases<FeaturesCase>("features")) {
  gpuTest(`parity: features of ${one.name}`, async () => {
    const { side, longest, depth, sizes } = one.said;
    const extractor = await one.extractor();
    const runtime = openRuntime(await openGpu());
    try {
      for (const n of sizes.keys()) {
        const picture = await one.picture(`image${n}`);
        if (isNearSquare(seenSize(picture.height, picture.width, side, longest), extractor.vit)) {
          console.log(`skipped: image${n} of ${one.name}, whose numbers may be those of positions taken as they are`);
          continue;
        }
        const layers = Array.from({ length: depth }, (_, i) => i);
        const { tensors } = await extractFeatures(runtime, {
          extractor,
          picture,
          layers,
          side,
          longest,
          resize: "bilinear",
        });
        for (const [name, want] of wanted(one, n)) {
          const got = tensors.get(name);
          assert.ok(got, `${name} is not among the features`);
          assert.deepEqual(got.shape, want.shape, name);
          const error = relativeError(got.data, want.data);
          assert.ok(error <= 1e-4, `image${n}.${name} is off by ${error}`);
        }
        const gradient = await imageGradient(runtime, { extractor, picture, side, longest });
        const error = relativeError(gradient, one.want.get(`image${n}.grad`)!.data);
        assert.ok(error <= 1e-3, `the gradient to image${n} is off by ${error}`);
      }
    } finally {
      runtime.close();
    }
  });
}

/** Of such pictures the published network moves the positions; the program that wrote these cases once did not. tests/fixtures/extractors has numbers of what is published. */
function isNearSquare(
  { height, width }: { height: number; width: number },
  { grid, patch }: Extractor["vit"],
): boolean {
  return height !== width && Math.floor(height / patch) === grid && Math.floor(width / patch) === grid;
}

function wanted(one: Case<FeaturesCase>, n: number) {
  return [...one.want].filter(([name]) => name.startsWith(`image${n}.`) && !name.endsWith(".grad")).map(
    ([name, want]) => [name.replace(`image${n}.`, ""), want] as const,
  );
}
