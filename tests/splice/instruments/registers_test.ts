/** Registers have no place: what shows patches, compares them or trains by them leaves them out, and rotary positions are turned alike on the host and on the GPU. */
import assert from "node:assert/strict";
import { compile, f32, input, openRuntime } from "../../../src/engine/mod.ts";
import { rotaryTables, rotatedOnHost, rotation } from "../../../src/nets/rotary.ts";
import { openVit, vitFeatures } from "../../../src/nets/vit.ts";
import { openEvaluator } from "../../../src/splice/evaluation/evaluation.ts";
import { clsAttention, similarityTo } from "../../../src/splice/instruments/attention_maps.ts";
import { type ExtractedFeatures, extractFeatures } from "../../../src/splice/instruments/features.ts";
import { pcaColours } from "../../../src/splice/instruments/pca.ts";
import { type Extractor, uploadExtractor } from "../../../src/splice/transfer/extractor.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { extractorCases } from "../../support/splice/extractor_cases.ts";
import { tinyPicture } from "../../support/splice/tiny.ts";

const picture = tinyPicture(28, 20, 1);

async function opened(name: string): Promise<Extractor> {
  return (await extractorCases().find((one) => one.name === name)!.open()).extractor;
}

for (const name of ["dinov2_registers", "dinov3"]) {
  gpuTest(`registers: ${name} shows and compares patches alone`, async (gpu) => {
    const extractor = await opened(name);
    const { dim, registers } = extractor.vit;
    const runtime = openRuntime(gpu.runtime.gpu);
    try {
      const seen = { extractor, picture, side: 20, longest: 28, resize: "bilinear" } as const;
      const features = await extractFeatures(runtime, { ...seen, layers: [1] });
      const { tensors, grid } = features;
      const [tokens, patches] = [1 + registers + 35, 35];
      assert.deepEqual([grid, tensors.get("block.1.keys")!.shape], [{ rows: 5, cols: 7 }, [tokens, dim]]);
      const place = { row: 2, col: 3 };
      const alike = similarityTo(features, 1, place);
      assert.deepEqual([alike.length, Math.abs(alike[2 * 7 + 3] - 1) < 1e-5], [patches, true]);
      const [queries, keys] = ["queries", "keys"].map((part) => tensors.get(`block.1.${part}`)!.data);
      for (const shares of clsAttention({ ...features, queries, keys })) {
        const all = shares.reduce((a, b) => a + b);
        assert.ok(shares.length === patches && all > 0 && all < 1, "[CLS] and registers have the rest");
      }
      assert.equal(pcaColours(features, 1).length, 3 * patches);
      assert.deepEqual(pcaColours(features, 1), pcaColours(spoilt(features), 1), "registers count for nothing");

      const net = openVit(extractor.vit);
      const image = input("image", f32(3, 20, 28));
      const trained = vitFeatures(net, image).keys();
      assert.deepEqual(trained.type.shape, [1 + patches, dim], "losses see [CLS] and patches");
    } finally {
      runtime.release();
    }
    const evaluator = openEvaluator(gpu.runtime.gpu, { extractor, side: 20, longest: 28, resize: "bilinear" });
    const { numbers, masks } = await evaluator.evaluate({ structure: picture, appearance: picture, result: picture });
    evaluator.release();
    assert.deepEqual([numbers.structure_distance, numbers.layout_iou, masks.result.mask.length], [0, 1, 35]);
  });
}

/** With other numbers where registers stand in the self-similarity. */
function spoilt(features: ExtractedFeatures): ExtractedFeatures {
  const { shape, data } = features.tensors.get("self_similarity.1")!;
  const register = (i: number) => i >= 1 && i <= features.vit.registers;
  const [tokens] = shape;
  const changed = data.map((value, i) => register(Math.floor(i / tokens)) || register(i % tokens) ? 9 : value);
  return { ...features, tensors: new Map([["self_similarity.1", { shape, data: changed }]]) };
}

gpuTest("rotary: what is turned on the host is what the GPU turns, by a file's own periods too", async (gpu) => {
  const extractor = await opened("dinov3");
  const { vit, tensors } = extractor;
  const grid = { rows: 3, cols: 5 };
  const tokens = 1 + vit.registers + 15;
  for (const periods of [undefined, Float32Array.of(1, 3, 9)]) {
    const own = periods === undefined ? [] : [["rope_embed.periods", { shape: [3], data: periods }] as const];
    const runtime = openRuntime(gpu.runtime.gpu);
    const turned = rotation(openVit(vit), grid)(input("x", f32(tokens, vit.dim)));
    const { step } = compile("turn", { roots: new Map([["turned", turned]]) }, { profile: gpu.runtime.gpu.profile });
    uploadExtractor(runtime, { vit, tensors: new Map([...tensors, ...own]) }, [step]);
    const [program] = await runtime.load([step]);
    const x = Float32Array.from({ length: tokens * vit.dim }, (_, i) => Math.sin(i));
    runtime.run(program, new Map([["x", x]]));
    const got = await runtime.readOutput(program, "turned");
    runtime.release();
    assert.ok(relativeError(got, rotatedOnHost(x, vit, rotaryTables(vit, grid, periods))) < 1e-6);
    assert.deepEqual(got.subarray(0, (1 + vit.registers) * vit.dim), x.subarray(0, (1 + vit.registers) * vit.dim));
  }
});
