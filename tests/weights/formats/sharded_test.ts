// Models in several files with an index: q, k and v apart, shards that are missing or lie, and indexes that point elsewhere.

import assert from "node:assert/strict";
import { dirname } from "node:path";
import { readAll } from "../../../src/weights/formats/contents.ts";
import { openWeights } from "../../../src/weights/formats/opening.ts";
import type { StateDict } from "../../../src/weights/formats/tensor.ts";
import { loadVit, resolveModel } from "../../../src/weights/store/store.ts";
import { bytesOf, isClear } from "../../fixtures/weights/files.ts";
import { asHuggingFace, madeUpVit, safetensorsFile, small, torchFile } from "../../support/weights/vit_files.ts";

const published = madeUpVit(small);
const whole = asHuggingFace(published);
const COUNT = 3;

/** Writes `tensors` into shards, in turn, with their index; resolves to the index's path. */
async function shard(folder: string, kind: "safetensors" | "bin", tensors: StateDict = whole): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  const stem = kind === "bin" ? "pytorch_model" : "model";
  const file = (i: number) => `${stem}-0000${i + 1}-of-0000${COUNT}.${kind}`;
  const all = [...tensors];
  for (let i = 0; i < COUNT; i++) {
    const part = new Map(all.filter((_, at) => at % COUNT === i));
    await Deno.writeFile(`${folder}/${file(i)}`, kind === "bin" ? torchFile(part) : safetensorsFile(part));
  }
  const weight_map = Object.fromEntries(all.map(([name], at) => [name, file(at % COUNT)]));
  const index = `${folder}/${stem}.${kind}.index.json`;
  await Deno.writeTextFile(index, JSON.stringify({ metadata: { total_size: 1 }, weight_map }));
  return index;
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("sharded: by index, folder or any shard, of either kind, a model is what it is in one file", () =>
  inFolder(async (folder) => {
    await Deno.writeFile(`${folder}/whole.safetensors`, safetensorsFile(whole));
    const { tensors: expected } = await loadVit(`${folder}/whole.safetensors`);
    const stores = { folders: [`${folder}/none`] };
    for (const kind of ["safetensors", "bin"] as const) {
      const index = await shard(`${folder}/${kind}`, kind);
      const second = index.replace(`.${kind}.index.json`, `-00002-of-00003.${kind}`);
      for (const path of [index, dirname(index), `${dirname(index)}/`, second]) {
        assert.equal(await resolveModel(path, stores), path);
        const { tensors, network } = await loadVit(path);
        assert.equal(network, null);
        for (const [name, { shape, data }] of expected) {
          assert.deepEqual(tensors.get(name)!.shape, shape);
          assert.deepEqual(tensors.get(name)!.data.slice(), data.slice(), name);
        }
      }
    }
    await Deno.mkdir(`${folder}/one`);
    await Deno.copyFile(`${folder}/whole.safetensors`, `${folder}/one/model.safetensors`);
    assert.equal((await loadVit(`${folder}/one`)).vit.depth, small.depth);
    await Deno.copyFile(`${folder}/whole.safetensors`, `${folder}/model-00001-of-00001.safetensors`);
    assert.equal((await loadVit(`${folder}/model-00001-of-00001.safetensors`)).vit.depth, small.depth);
  }));

Deno.test("sharded: what is missing or lies is named", () =>
  inFolder(async (folder) => {
    const index = await shard(`${folder}/m`, "safetensors");
    const json = JSON.parse(await Deno.readTextFile(index));
    const shards = [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`);
    const refuses = (expected: RegExp, path = index) => assert.rejects(openWeights(path), isClear(path, expected));
    const lie = async (change: object | string, expected: RegExp) => {
      await Deno.writeTextFile(index, typeof change === "string" ? change : JSON.stringify(change));
      await refuses(expected);
    };
    const places = (change: Readonly<Record<string, unknown>>) => ({ weight_map: { ...json.weight_map, ...change } });
    await lie("{", /it is not JSON/);
    await lie("[]", /no weight_map/);
    await lie({ weight_map: { a: 1 } }, /no weight_map/);
    await lie({ weight_map: {} }, /weight_map is empty/);
    await lie(places({ more: shards[0] }), /"model-00001-of-00003\.safetensors" does not hold "more"/);
    await lie(places({ "layernorm.bias": shards[0], "layernorm.weight": shards[0] }), /does not hold "layernorm\.\w+"/);
    await lie(
      places({ more: "model-00004-of-00003.safetensors" }),
      /"model-00004-of-00003\.safetensors" is missing\. Fetch/,
    );
    for (
      const astray of ["../m/model.safetensors", "/etc/passwd", "a/b.bin", "..", ".bin", "a\\b.bin", "notes.txt", ""]
    ) {
      await lie(places({ more: astray }), /names "[^"]*", which is no weight file of its own folder/);
    }
    await lie(
      { weight_map: Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`${i}`, `${i}.bin`])) },
      /names 1001/,
    );
    await lie(`{"weight_map": {"__proto__": "${shards[0]}"}}`, /is empty|does not hold "__proto__"/);
    await Deno.writeTextFile(index, JSON.stringify(json));
    await openWeights(index);
    await Deno.writeFile(`${folder}/m/${shards[1]}`, bytesOf("<!doctype html>"));
    await assert.rejects(openWeights(index), isClear(shards[1], /a web page/));
    await Deno.remove(`${folder}/m/${shards[1]}`);
    await Deno.remove(`${folder}/m/${shards[2]}`);
    await refuses(/"model-00002-of-00003\.safetensors", "model-00003-of-00003\.safetensors" are missing\. Fetch/);
    await Deno.remove(index);
    await refuses(/one of 3 parts of a model, and model\.safetensors\.index\.json/, `${folder}/m/${shards[0]}`);
    await refuses(/a folder without model\.safetensors\.index\.json/, folder);
    await assert.rejects(
      resolveModel(folder, { folders: [] }),
      isClear(folder, /the folder holds no model\.safetensors and no index of one/),
    );
  }));

Deno.test("sharded: two networks may lie across the same files", () =>
  inFolder(async (folder) => {
    const both = new Map(
      [...whole].flatMap(([name, tensor]) =>
        [
          [`teacher.vit.${name}`, tensor],
          [`student.vit.${name}`, { shape: tensor.shape, data: tensor.data.map((x) => -x) }],
        ] as const
      ),
    );
    const index = await shard(folder, "safetensors", both);
    assert.equal([...readAll((await openWeights(index)).contents).tensors.keys()].length, 2 * whole.size);
    const value = async (network?: string) => {
      const { tensors, ...taken } = await loadVit(index, { network });
      return [tensors.get("norm.bias")!.data[0], taken.network];
    };
    const [expected] = published.get("norm.bias")!.data;
    assert.deepEqual(await value(), [expected, "teacher"]);
    assert.deepEqual(await value("student"), [-expected, "student"]);
  }));
