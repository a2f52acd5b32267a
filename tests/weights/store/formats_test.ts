/** What the store makes of weight files: the same bytes whichever way a model came, the values that were in it, and f16 near them. */
import assert from "node:assert/strict";
import { openGpu, openRuntime } from "../../../src/engine/mod.ts";
import { extractFeatures } from "../../../src/splice/instruments/features.ts";
import { sha256Of } from "../../../src/weights/store/keep.ts";
import { copyAt } from "../../../src/weights/store/record.ts";
import { describeEntry } from "../../../src/weights/store/manifest.ts";
import { loadVit, MODELS } from "../../../src/weights/store/store.ts";
import { verifyModel } from "../../../src/weights/store/verify.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { files, published, serveFiles, withStore } from "../../support/weights/models_folder.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { fileAnswer, serveRaw } from "../../support/weights/raw_server.ts";
import { tinyPicture } from "../../support/splice/tiny.ts";
import { asHuggingFace, madeUpVit, safetensorsFile, torchFile } from "../../support/weights/vit_files.ts";

Deno.test("models: pulled or imported, of any format and naming, a model is the same bytes", () =>
  withStore(async ({ pull, take, read, names }) => {
    await using server = serveFiles();
    for (const format of ["pth", "bin", "safetensors"] as const) {
      const { did, copy } = await pull(`pulled-${format}`, `${server.address}/vit.${format}`);
      assert.equal(did, "fetched");
      assert.equal(copy!.source.sha256, sha256Of(files[format]));
      await take(`taken-${format}`, files[format]);
    }
    const first = await read("pulled-pth.safetensors");
    for (const name of (await names()).filter((name) => name.endsWith(".safetensors"))) {
      assert.deepEqual(await read(name), first, name);
    }
    await take("again", first);
    assert.deepEqual(await read("again.safetensors"), first);
    assert.deepEqual((await names()).filter((name) => !/\.(safetensors|record\.json)$/.test(name)), []);
  }));

Deno.test("models: what is stored loads to the values that were fetched, f16 to values near them", () =>
  withStore(async ({ folder, take }) => {
    await take("full", files.bin, { licence: "CC0" });
    const full = await loadVit(`${folder}/full.safetensors`);
    assert.deepEqual([...full.tensors.keys()], [...published.keys()]);
    for (const [name, { shape, data }] of published) {
      assert.deepEqual(full.tensors.get(name)!.shape, shape);
      assert.deepEqual(full.tensors.get(name)!.data.slice(), data, name);
    }
    const copy = await take("half", files.pth, { half: true });
    assert.ok(copy.bytes < 0.55 * (await copyAt(`${folder}/full.safetensors`))!.bytes);
    const half = await loadVit(`${folder}/half.safetensors`);
    for (const [name, { shape, data }] of published) {
      const bound = shape.length > 1 && name.endsWith(".weight") ? 2 ** -11 : 0;
      const found = half.tensors.get(name)!.data;
      assert.ok(data.every((value, i) => Math.abs(found[i] - value) <= bound * Math.abs(value) + 2 ** -25), name);
      if (bound === 0) assert.deepEqual(found.slice(), data, name);
    }
  }));

gpuTest(
  "models: features of an extractor stored as f16 are within 1e-3 of f32",
  () =>
    withStore(async ({ folder, take }) => {
      const bytes = safetensorsFile(madeUpVit({ dim: 128, depth: 2, patch: 8, native: 32 }));
      const features = async (name: string, half: boolean) => {
        await take(name, bytes, { half });
        const extractor = await loadVit(`${folder}/${name}.safetensors`);
        const runtime = openRuntime(await openGpu());
        try {
          const picture = tinyPicture(60, 44, 1);
          const seen = {
            picture,
            layers: [0, 1],
            side: 64,
            longest: 96,
            resize: "bilinear" as const,
            memoryLimit: undefined,
          };
          return (await extractFeatures(runtime, { extractor, ...seen })).tensors;
        } finally {
          runtime.close();
        }
      };
      const [full, half] = [await features("full", false), await features("half", true)];
      for (const [name, { data }] of full) {
        const error = relativeError(half.get(name)!.data, data);
        assert.ok(error > 0 && error < 1e-3, `${name}: ${error}`);
      }
    }),
);

Deno.test("models: DINO ViT-S/16 at its full size, by .pth and by Hugging Face's file", () =>
  withStore(async ({ folder, pull, read }) => {
    const entry = MODELS.find(({ name }) => name === "dino-vits16")!;
    const tensors = madeUpVit(describeEntry(entry));
    const sources: Record<string, Uint8Array> = {
      "dino_deitsmall16_pretrain.pth": torchFile(tensors),
      "pytorch_model.bin": torchFile(asHuggingFace(tensors)),
    };
    await using server = serveRaw((asked) =>
      fileAnswer(asked, sources[asked.path.split("/").at(-1)!], asked.number === 0 ? { cut: 5e7 } : {})
    );
    const urls = entry.sources.map(({ url }) => server.address + new URL(url).pathname);
    assert.equal((await pull("dino-vits16", urls)).did, "fetched");
    assert.equal(server.asked[1].headers.get("range"), "bytes=50000000-");
    assert.equal((await verifyModel("dino-vits16", { folders: [folder] })).vit.native, 224);
    const sum = sha256Of(await read("dino-vits16.safetensors"));
    assert.equal((await pull("dino-vits16", urls[1], { chosen: true })).did, "fetched");
    assert.equal((await copyAt(`${folder}/dino-vits16.safetensors`))!.licence, "Apache-2.0");
    assert.equal(sha256Of(await read("dino-vits16.safetensors")), sum);
  }));
