// The two networks' vocabularies: published and Hugging Face names mean the same network, and whatever is not that network is told why.

import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import {
  checkGenerator,
  describeVit,
  generatorShapes,
  prepareVit,
  publishedVit,
} from "../../../src/weights/formats/names.ts";
import { readSafetensors } from "../../../src/weights/formats/safetensors.ts";
import type { HostTensor, StateDict } from "../../../src/weights/formats/tensor.ts";
import { fixture, isClear, readPth } from "../../fixtures/weights/files.ts";

const published = (await readPth(fixture("vit.pth"))).tensors;
const huggingFace = (await readPth(fixture("vit_hugging_face.bin"))).tensors;

const zeros = (...shape: readonly number[]): HostTensor => ({
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
});
const renamed = (tensors: StateDict, name: (name: string) => string): StateDict =>
  new Map(Array.from(tensors, ([key, value]) => [name(key), value]));
const changed = (tensors: StateDict, changes: Readonly<Record<string, HostTensor | null>>): StateDict =>
  new Map(
    [...tensors, ...Object.entries(changes)].filter((item): item is [string, HostTensor] =>
      changes[item[0]] !== null && item[1] !== null
    ),
  );
const refuses = (tensors: StateDict, expected: RegExp) =>
  assert.throws(() => prepareVit(tensors, "some.pth"), isClear("some.pth", expected));

Deno.test("names: published names describe themselves and pass without a copy", () => {
  const { tensors, vit } = prepareVit(published, "vit.pth");
  assert.deepEqual(vit, { dim: 64, depth: 1, heads: 1, patch: 4, native: 8, mlpRatio: 1 });
  assert.deepEqual([...tensors.keys()], [...published.keys()]);
  for (const [name, tensor] of published) assert.equal(tensors.get(name), tensor);
});

Deno.test("names: Hugging Face's names, with and without their prefix, become the published ones", () => {
  const sorted = (tensors: StateDict) => [...tensors].toSorted(([a], [b]) => a < b ? -1 : 1);
  for (const tensors of [huggingFace, renamed(huggingFace, (name) => name.replace(/^vit\./, ""))]) {
    assert.deepEqual(sorted(publishedVit(tensors, "vit.bin")), sorted(published));
  }
});

Deno.test("names: prefixes and unneeded heads are dropped", () => {
  const extra = {
    "head.mlp.0.weight": zeros(2),
    "fc.bias": zeros(1),
    "mask_token": zeros(1),
    "pooler.dense.weight": zeros(1),
    "classifier.bias": zeros(1),
  };
  const dressed = renamed(changed(published, extra), (name) => `module.backbone.${name}`);
  assert.deepEqual([...publishedVit(dressed, "vit.pth").keys()], [...published.keys()]);
});

Deno.test("names: what does not fit is named, with what was found and what is needed", () => {
  refuses(new Map(), /not a DINO-ViT checkpoint, it holds no tensors/);
  refuses(new Map([["conv1.weight", zeros(64, 3, 7, 7)]]), /not a DINO-ViT checkpoint, it holds "conv1\.weight"/);
  refuses(generator(), /not a DINO-ViT checkpoint, it holds "skip\.0\.conv\.weight".* more/);
  refuses(changed(published, { "blocks.0.attn.qkv.bias": null }), /lacks "blocks\.0\.attn\.qkv\.bias"/);
  refuses(changed(published, { cls_token: null, "norm.bias": null }), /lacks "cls_token", "norm\.bias"/);
  refuses(changed(published, { "blocks.2.norm1.bias": zeros(64) }), /lacks "blocks\.1\.norm1\.weight".* and 19 more/);
  refuses(changed(published, { "blocks.999999999.norm1.bias": zeros(64) }), /has a block 999999999/);
  refuses(
    changed(published, { "blocks.0.norm1.bias": zeros(65) }),
    /"blocks\.0\.norm1\.bias" has the shape \[65\], and \[64\] is needed/,
  );
  refuses(changed(published, { "patch_embed.proj.weight": zeros(96, 3, 4, 4) }), /width 96 is not a multiple of 64/);
  refuses(
    changed(published, { "patch_embed.proj.weight": zeros(64, 1, 4, 4) }),
    /\[64,1,4,4\], and \[width,3,patch,patch\] is needed/,
  );
  refuses(changed(published, { "patch_embed.proj.weight": zeros(64, 48) }), /\[64,48\], and \[width,3,patch,patch\]/);
  refuses(changed(published, { pos_embed: zeros(1, 6, 64) }), /pos_embed has the shape \[1,6,64\].*square grid/);
  refuses(changed(published, { pos_embed: zeros(1, 1, 64) }), /square grid/);
  refuses(changed(published, { pos_embed: zeros() }), /square grid/);
  refuses(
    changed(published, { "blocks.0.ls1.gamma": zeros(64), register_tokens: zeros(1) }),
    /also holds "blocks\.0\.ls1\.gamma", "register_tokens"/,
  );
  refuses(changed(published, { "module.norm.bias": zeros(64) }), /two of its tensors are both "norm\.bias"/);
  const key = "vit.encoder.layer.0.attention.attention.key.weight";
  refuses(changed(huggingFace, { [key]: null }), /key of "blocks\.0\.attn\.qkv\.weight" is missing/);
  refuses(changed(huggingFace, { [key]: zeros(32, 64) }), /query and key of .* \[64,64\] and \[32,64\]/);
  refuses(changed(huggingFace, { [key.slice(4)]: zeros(64, 64) }), /both the key of/);
});

Deno.test("names: any patch, depth and MLP ratio", () => {
  for (const [dim, depth, patch, grid, hidden] of [[64, 3, 14, 2, 256], [128, 2, 16, 1, 192]]) {
    const state = new Map<string, HostTensor>([["cls_token", zeros(1, 1, dim)], [
      "pos_embed",
      zeros(1, 1 + grid * grid, dim),
    ]]);
    const affine = (name: string, ...shape: number[]) =>
      state.set(`${name}.weight`, zeros(...shape)).set(`${name}.bias`, zeros(shape[0]));
    affine("patch_embed.proj", dim, 3, patch, patch);
    for (let i = 0; i < depth; i++) {
      for (const name of ["norm1", "norm2"]) affine(`blocks.${i}.${name}`, dim);
      affine(`blocks.${i}.attn.qkv`, 3 * dim, dim);
      affine(`blocks.${i}.attn.proj`, dim, dim);
      affine(`blocks.${i}.mlp.fc1`, hidden, dim);
      affine(`blocks.${i}.mlp.fc2`, dim, hidden);
    }
    affine("norm", dim);
    assert.deepEqual(describeVit(state, "made"), {
      dim,
      depth,
      heads: dim / 64,
      patch,
      native: grid * patch,
      mlpRatio: hidden / dim,
    });
  }
});

Deno.test("names: the bundled extractor is what its card says", async () => {
  const path = fileURLToPath(new URL("../../../models/splice-tiny8.safetensors", import.meta.url));
  const { tensors, vit } = prepareVit((await readSafetensors(path)).tensors, path);
  assert.deepEqual(vit, { dim: 192, depth: 6, heads: 3, patch: 8, native: 64, mlpRatio: 4 });
  assert.equal([...tensors.values()].reduce((sum, { data }) => sum + data.length, 0), 2_719_296);
  for (const [name, { data }] of tensors) assert.ok(data.every(Number.isFinite), name);
});

function generator(): StateDict {
  return new Map(Array.from(generatorShapes(), ([name, shape]) => [name, zeros(...shape)]));
}

Deno.test("names: the generator has 1,037,523 parameters in the checkpoint's order", () => {
  const shapes = generatorShapes();
  assert.equal([...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0), 1_037_523);
  assert.deepEqual([...shapes.keys()].slice(0, 16), [
    ...["skip.0.conv.weight", "skip.0.conv.bias", "skip.0.bn.weight", "skip.0.bn.bias"],
    ...["down.0.a.conv.weight", "down.0.a.conv.bias", "down.0.a.bn.weight", "down.0.a.bn.bias"],
    ...["down.0.b.conv.weight", "down.0.b.conv.bias", "down.0.b.bn.weight", "down.0.b.bn.bias"],
    ...["up.0.cat.bn.weight", "up.0.cat.bn.bias", "up.0.a.conv.weight", "up.0.a.conv.bias"],
  ]);
  assert.deepEqual(shapes.get("up.0.a.conv.weight"), [16, 36, 3, 3]);
  assert.deepEqual(shapes.get("up.4.a.conv.weight"), [128, 132, 3, 3]);
  assert.deepEqual([...shapes.keys()].slice(-2), ["out.conv.weight", "out.conv.bias"]);
});

Deno.test("names: a generator's checkpoint is checked whole", () => {
  const refuses = (tensors: StateDict, expected: RegExp) =>
    assert.throws(() => checkGenerator(tensors, "g.safetensors"), isClear("g.safetensors", expected));
  checkGenerator(generator(), "g.safetensors");
  refuses(new Map(), /not a generator, it holds no tensors/);
  refuses(published, /not a generator, it holds "cls_token".*--save-generator/);
  refuses(changed(generator(), { "out.conv.bias": null }), /lacks "out\.conv\.bias"/);
  refuses(
    changed(generator(), { "out.conv.bias": zeros(4) }),
    /"out\.conv\.bias" has the shape \[4\], and \[3\] is needed/,
  );
  refuses(changed(generator(), { more: zeros(4) }), /also holds "more"/);
});
