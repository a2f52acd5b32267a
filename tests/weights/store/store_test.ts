// The store: the content decides how a file is read, a name finds a file in its folders and nowhere else, the manifest is sound.

import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import {
  decodeWeights,
  findModel,
  listModels,
  loadGenerator,
  loadVit,
  loadWeights,
  MODELS,
  parseManifest,
} from "../../../src/weights/store/store.ts";
import { describeEntry, isBundled } from "../../../src/weights/store/manifest.ts";
import { parametersOf } from "../../../src/weights/formats/vit_family.ts";
import { resolveModel, sha256OfFile, verifySha256 } from "../../../src/weights/store/store.ts";
import { encodeSafetensors } from "../../../src/weights/formats/safetensors.ts";
import { madeUpVit, small, torchFile } from "../../support/weights/vit_files.ts";
import { bytesOf, fixture, isClear, zipOf } from "../../fixtures/weights/files.ts";

const bundled = fileURLToPath(new URL("../../../models", import.meta.url));
const manifest = await Deno.readTextFile(`${bundled}/manifest.json`);

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("store: content decides, not the name", () =>
  inFolder(async (folder) => {
    await Deno.copyFile(fixture("vit.pth"), `${folder}/zip.safetensors`);
    await Deno.copyFile(`${bundled}/splice-tiny8.safetensors`, `${folder}/safe.pth`);
    assert.equal((await loadVit(`${folder}/zip.safetensors`)).vit.patch, 4);
    assert.equal((await loadVit(`${folder}/safe.pth`)).vit.patch, 8);
    assert.equal((await loadWeights(`${folder}/safe.pth`)).metadata.name, "splice-tiny8");
    await assert.rejects(loadGenerator(`${folder}/safe.pth`), isClear("safe.pth", /not a generator/));
  }));

Deno.test("store: what is no weight file is recognised for what it is", async () => {
  const cases: readonly [Uint8Array, RegExp][] = [
    [bytesOf(""), /the file is empty\. Fetch/],
    [
      bytesOf(new Uint8Array(257), "ustar\x0000", new Uint8Array(250)),
      /tar archive, as PyTorch 0\.1.*Open it with PyTorch/,
    ],
    [bytesOf("\x1f\x8b\x08\0"), /packed with gzip\. Run `gunzip`/],
    [bytesOf("\x80\x04}."), /bare pickle.*torch\.save/],
    [bytesOf("version https://git-lfs.github.com/spec/v1\noid sha256:"), /Git LFS pointer.*git lfs pull/],
    [bytesOf("\n<!DOCTYPE html><html>"), /a web page/],
    [
      bytesOf("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
      /neither safetensors nor a PyTorch checkpoint \(it begins with 89 50 4e 47/,
    ],
    [await zipOf({ "picture.txt": bytesOf("no") }), /0 entries NAME\/data\.pkl/],
  ];
  for (const [bytes, expected] of cases) {
    assert.throws(() => decodeWeights(bytes, "odd.pth"), isClear("odd.pth", expected));
  }
  // A safetensors header of 0x0280 bytes begins like a pickle of protocol 2.
  const near = encodeSafetensors(new Map([["a", { shape: [], data: Float32Array.of(1) }]]), {
    metadata: { pad: "x".repeat(560) },
  });
  assert.deepEqual([...near.subarray(0, 2)], [0x80, 0x02]);
  assert.equal(decodeWeights(near, "near").tensors.size, 1);
  assert.equal(decodeWeights(await Deno.readFile(fixture("legacy.pth")), "old.pth").tensors.size, 7);
});

Deno.test("store: the manifest lists the published models and the bundled one, best first", async () => {
  assert.deepEqual(MODELS.map(({ name }) => name), [
    ...["dino-vitb8", "dino-vits8", "dino-vitb16", "dino-vits16"],
    ...["dinov2-vits14", "dinov2-vitb14", "dinov2-vitl14", "dinov2-vitg14"],
    ...["dinov2-vits14-reg", "dinov2-vitb14-reg", "dinov2-vitl14-reg", "dinov2-vitg14-reg"],
    ...["dinov3-vits16", "dinov3-vitb16", "dinov3-vitl16"],
    "splice-tiny8",
  ]);
  for (const model of MODELS) {
    const vit = describeEntry(model);
    assert.equal(model.parameters, parametersOf(vit), model.name);
    assert.ok(model.bytes !== undefined || Math.abs(model.megabytes - 4e-6 * model.parameters) < 0.6, model.name);
    assert.deepEqual([vit.heads * 64, vit.native / vit.patch], [
      vit.dim,
      model.name === "splice-tiny8" ? 8 : model.patch === 16 && model.family === "dino" ? 14 : 28,
    ]);
    assert.equal(isBundled(model), model.name === "splice-tiny8");
  }
  const { family, hidden, gated, positions, epsilon } = describeEntry(
    MODELS.find(({ name }) => name === "dinov2-vitg14-reg")!,
  );
  assert.deepEqual([family, hidden, gated, positions, epsilon], ["dinov2", 4096, true, "antialias", 1e-6]);
  const tiny = MODELS.at(-1)!;
  const path = `${bundled}/${tiny.file}`;
  assert.equal((await Deno.stat(path)).size, tiny.bytes);
  await verifySha256(path, tiny.sha256 ?? "");
  const { vit } = await loadVit(path);
  assert.deepEqual([vit.dim, vit.depth, vit.patch, vit.native], [tiny.dim, tiny.depth, tiny.patch, tiny.native]);
});

Deno.test("store: a broken manifest is refused with the place", () => {
  const broken = (change: (text: string) => string, expected: RegExp) =>
    assert.throws(() => parseManifest(change(manifest), "m.json"), isClear("m.json", expected));
  broken(() => "{", /not JSON.*Restore/);
  broken((text) => text.replace('"version": 1', '"version": 2'), /version: .*Restore/);
  broken((text) => text.replace('"dim": 768', '"dim": 700'), /models\.0\.dim/);
  broken((text) => text.replace('"dino-vitb8"', '"../vitb8"'), /models\.0\.name/);
  broken((text) => text.replace("https:", "file:"), /models\.0\.sources\.0\.url/);
  broken((text) => text.replace('"licence"', '"license"'), /models\.0/);
});

Deno.test("store: names are found in folders, the first folder and safetensors win", () =>
  inFolder(async (folder) => {
    const [first, second] = [`${folder}/first`, `${folder}/second`];
    const folders = [first, second, `${folder}/not made yet`];
    await Deno.mkdir(first);
    await Deno.mkdir(second);
    await assert.rejects(
      findModel(undefined, { folders }),
      isClear("first", /any model.*hold none.*Fetch it: `splice models pull dino-vitb8`/),
    );
    for (
      const file of [
        `${second}/splice-tiny8.safetensors`,
        `${second}/mine.bin`,
        `${second}/mine.safetensors`,
        `${first}/notes.txt`,
      ]
    ) {
      await Deno.writeTextFile(file, "");
    }
    assert.equal(await findModel(undefined, { folders }), `${second}/splice-tiny8.safetensors`);
    assert.equal(await findModel("mine", { folders }), `${second}/mine.safetensors`);
    await Deno.writeTextFile(`${second}/dino-vits16.pth`, "");
    assert.equal(await findModel(undefined, { folders }), `${second}/dino-vits16.pth`);
    await Deno.writeTextFile(`${first}/dino-vitb8.pth`, "");
    await Deno.writeTextFile(`${second}/dino-vitb8.safetensors`, "");
    assert.equal(await findModel(undefined, { folders }), `${first}/dino-vitb8.pth`);
    const listed = await listModels({ folders });
    assert.deepEqual(listed.map(({ name, path }) => [name, path !== null]).filter(([, here], i) => here || i < 4), [
      ["dino-vitb8", true],
      ["dino-vits8", false],
      ["dino-vitb16", false],
      ["dino-vits16", true],
      ["splice-tiny8", true],
      ["mine", true],
    ]);
    await assert.rejects(
      findModel("dino-vits8", { folders }),
      isClear("dino-vits8", /Fetch it: `splice models pull dino-vits8`/),
    );
    await assert.rejects(findModel("yours", { folders }), isClear("yours", /hold "dino-vitb8".*splice models list/));
  }));

Deno.test("store: a name is never a path, but on the command line a path may stand for a name", () =>
  inFolder(async (folder) => {
    const folders = [`${folder}/store`];
    await Deno.mkdir(folders[0]);
    const outside = `${folder}/outside.safetensors`;
    await Deno.writeTextFile(outside, "");
    for (const name of [outside, "../outside", "../outside.safetensors", "..", "", "\0"]) {
      await assert.rejects(
        findModel(name, { folders }),
        isClear("Cannot find the model", /Fetch it|splice models list/),
      );
    }
    assert.equal(await resolveModel(outside, { folders }), outside);
    await assert.rejects(
      resolveModel(`${folder}/none.pth`, { folders }),
      isClear("none.pth", /no such file\. Check the path/),
    );
    await assert.rejects(
      resolveModel("dino-vitb8", { folders, named: " --models here" }),
      isClear("dino-vitb8", /Fetch it: `splice models pull dino-vitb8 --models here`/),
    );
    await Deno.writeTextFile(`${folders[0]}/mine.pth`, "");
    assert.equal(await resolveModel("mine", { folders }), `${folders[0]}/mine.pth`);
    await Deno.writeTextFile(`${folders[0]}/splice-tiny8.safetensors`, "");
    assert.equal(await resolveModel(undefined, { folders }), `${folders[0]}/splice-tiny8.safetensors`);
  }));

Deno.test("store: checksums", () =>
  inFolder(async (folder) => {
    const path = `${folder}/abc`;
    await Deno.writeTextFile(path, "abc");
    const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert.equal(await sha256OfFile(path), sum);
    await verifySha256(path, sum.toUpperCase());
    await assert.rejects(
      verifySha256(path, "0".repeat(64)),
      isClear(path, /its SHA-256 is ba78.*remove it and fetch it again/),
    );
    await assert.rejects(sha256OfFile(`${folder}/none`), isClear("none", /Check the path/));
  }));

Deno.test("store: of a training program's checkpoint only the network stays in memory, of a network's own file nothing is copied", () =>
  inFolder(async (folder) => {
    const network = [...madeUpVit(small)];
    const names = ["teacher", "student", "exp_avg", "exp_avg_sq"];
    const all = new Map(
      names.flatMap((prefix) => network.map(([name, tensor]) => [`${prefix}.${name}`, tensor] as const)),
    );
    await Deno.writeFile(`${folder}/training.pth`, torchFile(all));
    await Deno.writeFile(`${folder}/alone.pth`, torchFile(new Map(network)));
    const held = async (file: string) => {
      const { tensors } = await loadVit(`${folder}/${file}`);
      const buffers = new Set(Array.from(tensors.values(), ({ data }) => data.buffer));
      return [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
    };
    const size = network.reduce((sum, [, { data }]) => sum + data.byteLength, 0);
    assert.equal(await held("training.pth"), size);
    assert.ok(await held("alone.pth") < 2.1 * size, "what does not lie aligned is copied");
  }));
