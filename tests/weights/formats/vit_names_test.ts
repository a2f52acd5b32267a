// The extractors' vocabulary: the names of all programs mean the same network, and whatever is no such network is told why.

import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import {
  completeVit,
  IMAGENET,
  recogniseVit,
  type Told,
  type VitDescription,
} from "../../../src/weights/formats/vit_family.ts";
import { publishedVit } from "../../../src/weights/formats/vit_names.ts";
import { readTensors } from "../../../src/weights/formats/contents.ts";
import { takeNetwork } from "../../../src/weights/formats/networks.ts";
import { readSafetensors } from "../../../src/weights/formats/safetensors.ts";
import type { HostTensor, StateDict } from "../../../src/weights/formats/tensor.ts";
import { fixture, isClear, readPth } from "../../fixtures/weights/files.ts";
import { changed, generator, renamed, zeros } from "../../support/weights/tensors.ts";

const published = (await readPth(fixture("vit.pth"))).tensors;
const huggingFace = (await readPth(fixture("vit_hugging_face.bin"))).tensors;

/** What a network is that only its sizes tell from others. */
const plain = {
  ...IMAGENET,
  family: "dino",
  positions: "dino",
  clsPosition: true,
  registers: 0,
  gated: false,
  layerScale: false,
  epsilon: 1e-6,
} as const;
/** The network among a file's tensors, as it comes to those who know names. */
function taken(tensors: StateDict, label = "some.pth"): StateDict {
  const stored = new Map(Array.from(tensors, ([name, tensor]) => [name, () => tensor]));
  return readTensors(takeNetwork({ tensors: stored, metadata: {}, remarks: [] }, label).tensors);
}
function prepareVit(
  given: StateDict,
  label: string,
  told: Told = {},
): { tensors: StateDict; vit: VitDescription } {
  const { published: tensors, sizes } = recogniseVit(taken(given, label), label);
  return { tensors, vit: completeVit(sizes, { told, tensors, label }) };
}
const refuses = (tensors: StateDict, expected: RegExp) =>
  assert.throws(() => prepareVit(tensors, "some.pth"), isClear("some.pth", expected));

Deno.test("names: published names describe themselves and pass without a copy", () => {
  const { tensors, vit } = prepareVit(published, "vit.pth");
  assert.deepEqual(vit, { ...plain, dim: 64, depth: 1, heads: 1, patch: 4, grid: 2, native: 8, hidden: 64 });
  assert.deepEqual([...tensors.keys()], [...published.keys()]);
  for (const [name, tensor] of published) assert.equal(tensors.get(name), tensor);
});

Deno.test("names: Hugging Face's names, with and without their prefix, become the published ones", () => {
  const sorted = (tensors: StateDict) => [...tensors].toSorted(([a], [b]) => a < b ? -1 : 1);
  for (const tensors of [huggingFace, renamed(huggingFace, (name) => name.replace(/^vit\./, ""))]) {
    assert.deepEqual(sorted(publishedVit(taken(tensors), "vit.bin")), sorted(published));
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
  assert.deepEqual(new Set(publishedVit(taken(dressed), "vit.pth").keys()), new Set(published.keys()));
});

Deno.test("names: what does not fit is named, with what was found and what is needed", () => {
  refuses(new Map(), /not a ViT that features are known of, it holds no tensors/);
  refuses(
    new Map([["conv1.weight", zeros(64, 3, 7, 7)]]),
    /not a ViT that features are known of, it holds "conv1\.weight"/,
  );
  refuses(generator(), /not a ViT that features are known of, it holds "skip\.0\.conv\.weight".* more/);
  refuses(changed(published, { "blocks.0.attn.proj.bias": null }), /lacks "blocks\.0\.attn\.proj\.bias"/);
  refuses(
    changed(published, { "blocks.0.attn.qkv.bias": null, "blocks.1.attn.qkv.bias": zeros(192) }),
    /lacks "blocks\.0\.attn\.qkv\.bias"/,
  );
  refuses(changed(published, { cls_token: null, "norm.bias": null }), /lacks "cls_token", "norm\.bias"/);
  refuses(changed(published, { "blocks.2.norm1.bias": zeros(64) }), /lacks "blocks\.1\.norm1\.weight".* and 19 more/);
  refuses(changed(published, { "blocks.999999999.norm1.bias": zeros(64) }), /has a block 999999999/);
  refuses(
    changed(published, { "blocks.0.norm1.bias": zeros(65) }),
    /"blocks\.0\.norm1\.bias" has the shape \[65\], and \[64\] is needed/,
  );
  refuses(
    changed(published, { "patch_embed.proj.weight": zeros(96, 3, 4, 4) }),
    /"cls_token" has the shape \[1,1,64\], and \[1,1,96\]/,
  );
  refuses(
    changed(published, { "patch_embed.proj.weight": zeros(64, 1, 4, 4) }),
    /\[64,1,4,4\], and \[width,3,patch,patch\] is needed/,
  );
  refuses(changed(published, { "patch_embed.proj.weight": zeros(64, 48) }), /\[64,48\], and \[width,3,patch,patch\]/);
  refuses(changed(published, { pos_embed: zeros(1, 6, 64) }), /pos_embed has the shape \[1,6,64\].*square grid/);
  refuses(changed(published, { pos_embed: zeros(1, 1, 64) }), /square grid/);
  refuses(changed(published, { pos_embed: zeros() }), /square grid/);
  refuses(
    changed(published, { "blocks.0.attn.relative": zeros(64), "norm_pre.weight": zeros(64) }),
    /also holds "blocks\.0\.attn\.relative", "norm_pre\.weight"/,
  );
  refuses(changed(published, { "module.norm.bias": zeros(64) }), /two of its tensors are both "norm\.bias"/);
  const key = "vit.encoder.layer.0.attention.attention.key.weight";
  refuses(changed(huggingFace, { [key]: null }), /the k of "blocks\.0\.attn\.qkv\.weight" is missing/);
  refuses(changed(huggingFace, { [key]: zeros(32, 64) }), /q and k of .* \[64,64\] and \[32,64\]/);
  refuses(
    changed(huggingFace, { "vit.layers.0.attention.k_proj.weight": zeros(64, 64) }),
    /both "blocks\.0\.k\.weight"/,
  );
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
    assert.deepEqual(prepareVit(state, "made").vit, {
      ...plain,
      dim,
      depth,
      heads: dim / 64,
      patch,
      grid,
      native: grid * patch,
      hidden,
    });
  }
});

Deno.test("names: the bundled extractor is what its card says", async () => {
  const path = fileURLToPath(new URL("../../../models/splice-tiny8.safetensors", import.meta.url));
  const { tensors, vit } = prepareVit((await readSafetensors(path)).tensors, path);
  assert.deepEqual(vit, { ...plain, dim: 192, depth: 6, heads: 3, patch: 8, grid: 8, native: 64, hidden: 768 });
  assert.equal([...tensors.values()].reduce((sum, { data }) => sum + data.length, 0), 2_719_296);
  for (const [name, { data }] of tensors) assert.ok(data.every(Number.isFinite), name);
});
