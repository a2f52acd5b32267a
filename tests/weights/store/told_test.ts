// What tensors do not tell: from the options, the record, the files beside them, or assumed with a remark.

import assert from "node:assert/strict";
import { importModel } from "../../../src/weights/store/keep.ts";
import { readRecord } from "../../../src/weights/store/record.ts";
import { loadVit } from "../../../src/weights/store/store.ts";
import { HALF, IMAGENET, normalisationText } from "../../../src/weights/formats/vit_family.ts";
import { madeUpVit, safetensorsFile } from "../../support/weights/vit_files.ts";
import { isClear } from "../../fixtures/weights/files.ts";

const sizes = { dim: 192, depth: 2, patch: 8, native: 32 };
const huggingFace = { hidden_size: 192, num_hidden_layers: 2, patch_size: 8, num_attention_heads: 4 };
const preprocessor = { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };
const signal = new AbortController().signal;

/** Loads a model with these files beside it. */
async function told(
  neighbours: Readonly<Record<string, unknown>>,
  options: { made?: typeof sizes; heads?: number; use?: (path: string) => Promise<void> } = {},
): Promise<{ heads: number; seen: string; remarks: string[] }> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/vit.safetensors`;
    await Deno.writeFile(path, safetensorsFile(madeUpVit(options.made ?? sizes)));
    for (const [name, content] of Object.entries(neighbours)) {
      await Deno.writeTextFile(`${folder}/${name}`, typeof content === "string" ? content : JSON.stringify(content));
    }
    const { vit, remarks } = await loadVit(path, { told: { heads: options.heads } });
    await options.use?.(path);
    return {
      heads: vit.heads,
      seen: normalisationText(vit),
      remarks: remarks.map((text) => text.replace(folder, "")),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("told: nobody knows, so it is assumed and said", async () => {
  const { heads, seen, remarks } = await told({});
  assert.deepEqual([heads, seen], [3, "ImageNet's"]);
  assert.deepEqual(remarks, [
    "/vit.safetensors: 3 heads of 64 and ImageNet's normalisation are assumed, because its tensors do not tell. " +
    "--heads N and --normalise imagenet|half|r,g,b,r,g,b say otherwise",
  ]);
  assert.match((await told({}, { heads: 6 })).remarks[0], /: ImageNet's normalisation is assumed, because/);
  await assert.rejects(told({}, { heads: 5 }), isClear("vit.safetensors", /width 192 cannot be divided among 5 heads/));
  const odd = { ...sizes, dim: 96 };
  await assert.rejects(told({}, { made: odd }), isClear("vit.safetensors", /96 is not a multiple of 64.*--heads N/));
  assert.equal((await told({}, { made: odd, heads: 32 })).heads, 32);
});

Deno.test("told: config.json is believed where it describes the network, and an option more than it", async () => {
  const all = { "config.json": huggingFace, "preprocessor_config.json": preprocessor };
  assert.deepEqual(await told(all), { heads: 4, seen: "0.5 and 0.5", remarks: [] });
  assert.equal((await told(all, { heads: 12 })).heads, 12);
  const other = { ...huggingFace, hidden_size: 384 };
  assert.equal((await told({ ...all, "config.json": other })).heads, 3, "it is of another network");
  assert.equal((await told({ ...all, "config.json": "{" })).heads, 3, "it cannot be read");
  const timm = { architecture: "vit_huge_patch8_32", pretrained_cfg: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } };
  assert.deepEqual(await told({ "config.json": timm }), { heads: 16, seen: "0.5 and 0.5", remarks: [] });
  assert.equal((await told({ "config.json": { ...timm, architecture: "vit_giant_patch14_dinov2" } })).heads, 3);
});

Deno.test("told: of a model that is named by its folder, what lies in the folder is believed", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${folder}/model.safetensors`, safetensorsFile(madeUpVit(sizes)));
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(huggingFace));
    await Deno.writeTextFile(`${folder}/preprocessor_config.json`, JSON.stringify(preprocessor));
    const { vit, remarks } = await loadVit(folder);
    assert.deepEqual([vit.heads, normalisationText(vit), remarks], [4, "0.5 and 0.5", []]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("told: the colours beside a network of DINO's very sizes are not believed blindly", async () => {
  const made = { dim: 384, depth: 12, patch: 16, native: 224 };
  const config = { hidden_size: 384, num_hidden_layers: 12, patch_size: 16, num_attention_heads: 6 };
  const { heads, seen, remarks } = await told(
    { "config.json": config, "preprocessor_config.json": preprocessor },
    { made },
  );
  assert.deepEqual([heads, seen], [6, "ImageNet's"]);
  assert.match(
    remarks[0],
    /ImageNet's normalisation is assumed, because preprocessor_config\.json says 0\.5 and 0\.5, but/,
  );
});

Deno.test("told: what was said when a model was imported holds from then on", async () => {
  await told({}, {
    async use(path) {
      const folder = `${path}.store`;
      const normalisation = { mean: [0.1, 0.2, 0.3], deviation: [0.4, 0.5, 0.6] };
      const keep = { folder, half: false, licence: null, signal, onWait() {} };
      const { vit } = await importModel("mine", path, { ...keep, told: { heads: 6, normalisation } });
      assert.deepEqual([vit.heads, vit.mean], [6, normalisation.mean]);
      assert.deepEqual((await readRecord(folder, "mine"))!.copies[0].network, { heads: 6, normalisation });
      const again = await loadVit(`${folder}/mine.safetensors`);
      assert.deepEqual([again.vit.heads, again.vit.deviation, again.remarks], [6, normalisation.deviation, []]);
      const other = await loadVit(`${folder}/mine.safetensors`, { told: { heads: 2, normalisation: HALF } });
      assert.deepEqual([other.vit.heads, other.vit.mean], [2, HALF.mean], "an option wins");
    },
  });
  assert.equal(normalisationText(IMAGENET), "ImageNet's");
});
