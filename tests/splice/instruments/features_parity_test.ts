/** The extractor against what PyTorch computes in float64: features, and the gradient that flows back to the picture. */
import assert from "node:assert/strict";
import {
  add,
  compile,
  div,
  f32,
  gradients,
  input,
  mul,
  openGpu,
  openRuntime,
  type Runtime,
  sizeOf,
  slice,
  sumAll,
  type Value,
} from "../../../src/engine/mod.ts";
import type { Picture } from "../../../src/images/picture.ts";
import { openVit, prepareImage, seenSize, selfSimilarity, vitBlocks } from "../../../src/nets/vit.ts";
import { type Extractor, uploadExtractor } from "../../../src/splice/transfer/extractor.ts";
import { extractFeatures } from "../../../src/splice/instruments/features.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { type Case, cases, type FeaturesCase } from "../../support/splice/parity.ts";

for (const one of await cases<FeaturesCase>("features")) {
  gpuTest(`parity: features of ${one.name}`, async () => {
    const { side, longest, depth, sizes } = one.said;
    const extractor = await one.extractor();
    const runtime = openRuntime(await openGpu());
    try {
      for (const n of sizes.keys()) {
        const picture = await one.picture(`image${n}`);
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
        const gradient = await imageGradient(runtime, extractor, picture, one.said);
        const error = relativeError(gradient, one.want.get(`image${n}.grad`)!.data);
        assert.ok(error <= 1e-3, `the gradient to image${n} is off by ${error}`);
      }
    } finally {
      runtime.close();
    }
  });
}

function wanted(one: Case<FeaturesCase>, n: number) {
  return [...one.want].filter(([name]) => name.startsWith(`image${n}.`) && !name.endsWith(".grad")).map(
    ([name, want]) => [name.replace(`image${n}.`, ""), want] as const,
  );
}

/** Of sum(cls^2) + mean(keys^2) + sum(S^2), all of the last block, to the picture. */
async function imageGradient(
  runtime: Runtime,
  extractor: Extractor,
  { width, height, data }: Picture,
  { side, longest }: FeaturesCase,
): Promise<Float32Array> {
  const net = openVit(extractor.vit);
  const image = input("image", f32(3, height, width));
  const seen = prepareImage(net, image, { ...seenSize(height, width, side, longest), resize: "bilinear" });
  const { tokens, keys } = vitBlocks(net, seen).at(-1)!;
  const squares = (x: Value) => sumAll(mul(x, x));
  const meanKeys = div(squares(keys), sizeOf(keys.type.shape));
  const scalar = add(add(squares(slice(tokens, 0, 0, 1)), meanKeys), squares(selfSimilarity(keys)));
  const graph = { roots: new Map([["gradient", gradients(scalar, [image])[0]]]) };
  const { prelude, step } = compile("gradient", graph, { profile: runtime.gpu.profile });
  uploadExtractor(runtime, extractor, [prelude, step]);
  if (prelude) runtime.run((await runtime.load([prelude]))[0]);
  const [program] = await runtime.load([step]);
  runtime.run(program, new Map([["image", data]]));
  return await runtime.readOutput(program, "gradient");
}
