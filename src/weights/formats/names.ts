// The vocabulary of the two networks: which tensors a DINO-ViT and the generator consist of, under which names and in which shapes, and how
// Hugging Face's ViTModel names translate. No file format and no arithmetic here, only names, shapes, and the concatenation of q, k, v.
// Invariant: what passes `publishedVit` and `describeVit`, or `checkGenerator`, has every tensor its network asks for, in the right shape.

import { isLeftover, plainName } from "./networks.ts";
import { type HostTensor, listNames, quote, shapeText, type StateDict, WeightsError } from "./tensor.ts";

/** Width, blocks, heads of 64, patch side, native image side (position grid times patch), and the MLP's hidden width over `dim`. */
export type VitDescription = {
  readonly dim: number;
  readonly depth: number;
  readonly heads: number;
  readonly patch: number;
  readonly native: number;
  readonly mlpRatio: number;
};

/** Channels of a head: of every DINO-ViT, whatever its width. */
export const HEAD = 64;
const DEPTH_LIMIT = 256;
const EXPECTED =
  "A DINO-ViT under the published names (cls_token, pos_embed, patch_embed.proj, blocks.0.attn.qkv, ...) " +
  "or Hugging Face's ViTModel names is needed: `splice models list` shows the models that are here.";

/** Names outside the blocks, Hugging Face's and ours. */
const OUTER: ReadonlyMap<string, string> = new Map([
  ["embeddings.cls_token", "cls_token"],
  ["embeddings.position_embeddings", "pos_embed"],
  ["embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight"],
  ["embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias"],
  ["layernorm.weight", "norm.weight"],
  ["layernorm.bias", "norm.bias"],
]);

/** Modules inside `encoder.layer.{i}.`, and ours inside `blocks.{i}.`; q, k and v come one by one and are joined. */
const INNER: ReadonlyMap<string, string> = new Map([
  ["layernorm_before", "norm1"],
  ["attention.output.dense", "attn.proj"],
  ["layernorm_after", "norm2"],
  ["intermediate.dense", "mlp.fc1"],
  ["output.dense", "mlp.fc2"],
]);
const PARTS = ["query", "key", "value"] as const;

/**
 * The same tensors under the published DINO names, prefixes (`module.`, `backbone.`, `vit.`) and unneeded heads dropped. Published names pass
 * through without a copy; of Hugging Face's, query, key and value [d, d] become one qkv [3d, d]. Unknown names are kept, for `describeVit` to refuse.
 * @throws WeightsError naming `label` if query, key and value do not fit together, or two tensors get the same name.
 */
export function publishedVit(tensors: StateDict, label: string): StateDict {
  const out = new Map<string, HostTensor>();
  const parts = new Map<string, Map<string, HostTensor>>(); // "blocks.0.attn.qkv.weight" -> query | key | value -> tensor
  const put = (name: string, tensor: HostTensor): void => {
    if (out.has(name)) throw unfit(label, `two of its tensors are both ${quote(name)}`);
    out.set(name, tensor);
  };
  for (const [key, tensor] of tensors) {
    const name = plainName(key);
    if (isLeftover(name)) continue;
    const layer = /^encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$/.exec(name);
    const part = layer === null ? undefined : PARTS.find((part) => layer[2] === `attention.attention.${part}`);
    if (layer === null) put(OUTER.get(name) ?? name, tensor);
    else if (part === undefined) {
      put(INNER.has(layer[2]) ? `blocks.${layer[1]}.${INNER.get(layer[2])}.${layer[3]}` : name, tensor);
    } else {
      const joined = `blocks.${layer[1]}.attn.qkv.${layer[3]}`;
      const found = parts.get(joined) ?? new Map<string, HostTensor>();
      if (found.has(part)) throw unfit(label, `two of its tensors are both the ${part} of ${quote(joined)}`);
      parts.set(joined, found.set(part, tensor));
    }
  }
  for (const [name, found] of parts) put(name, joinQkv(name, found, label));
  return out;
}

/**
 * What the tensors (published names) say of their network, after a check of every one of them.
 * @throws WeightsError naming `label`: not a ViT at all, a tensor missing, of the wrong shape or unknown, a width that is no multiple of 64,
 * a position grid that is not square.
 */
export function describeVit(tensors: StateDict, label: string): VitDescription {
  const [patch, positions, fc1] = ["patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight"].map((name) =>
    tensors.get(name)?.shape
  );
  if (patch === undefined || positions === undefined || fc1 === undefined) {
    const found = tensors.size === 0 ? "no tensors" : listNames([...tensors.keys()]);
    throw new WeightsError(`Cannot use ${label}: it is not a DINO-ViT checkpoint, it holds ${found}. ${EXPECTED}`);
  }
  const [dim, channels, side] = patch;
  if (patch.length !== 4 || channels !== 3 || patch[3] !== side || !(side > 0) || !(dim > 0)) {
    throw unfit(
      label,
      `patch_embed.proj.weight has the shape ${shapeText(patch)}, and [width,3,patch,patch] is needed`,
    );
  }
  if (dim % HEAD !== 0) throw unfit(label, `its width ${dim} is not a multiple of ${HEAD}, the size of a head`);
  const grid = Math.sqrt(positions[1] - 1);
  if (positions.length !== 3 || !Number.isInteger(grid) || grid < 1) {
    throw unfit(
      label,
      `pos_embed has the shape ${shapeText(positions)}, and [1,1+n*n,${dim}], [CLS] and a square grid, is needed`,
    );
  }
  const depth = countBlocks(tensors, label);
  const hidden = fc1[0];
  checkShapes(tensors, vitShapes({ dim, depth, patch: side, grid, hidden }), label);
  return { dim, depth, heads: dim / HEAD, patch: side, native: grid * side, mlpRatio: hidden / dim };
}

/** `publishedVit`, then `describeVit` of the result. @throws WeightsError as they do. */
export function prepareVit(
  tensors: StateDict,
  label: string,
): { readonly tensors: StateDict; readonly vit: VitDescription } {
  const published = publishedVit(tensors, label);
  return { tensors: published, vit: describeVit(published, label) };
}

/** The tensors that `describeVit` has found good, in the published order, whatever the order of their file. */
export function inPublishedOrder(tensors: StateDict, vit: VitDescription): StateDict {
  const { dim, depth, patch, native, mlpRatio } = vit;
  const shapes = vitShapes({ dim, depth, patch, grid: native / patch, hidden: mlpRatio * dim });
  return new Map(Array.from(shapes.keys(), (name) => [name, tensors.get(name)!]));
}

/** Every tensor of a ViT with `grid` x `grid` position embeddings, in the published order. */
function vitShapes(
  vit: { dim: number; depth: number; patch: number; grid: number; hidden: number },
): Map<string, readonly number[]> {
  const { dim, depth, patch, grid, hidden } = vit;
  const shapes = new Map<string, readonly number[]>([
    ["cls_token", [1, 1, dim]],
    ["pos_embed", [1, 1 + grid * grid, dim]],
  ]);
  const affine = (name: string, ...weight: number[]): void => {
    shapes.set(`${name}.weight`, weight).set(`${name}.bias`, [weight[0]]);
  };
  affine("patch_embed.proj", dim, 3, patch, patch);
  for (let i = 0; i < depth; i++) {
    affine(`blocks.${i}.norm1`, dim);
    affine(`blocks.${i}.attn.qkv`, 3 * dim, dim);
    affine(`blocks.${i}.attn.proj`, dim, dim);
    affine(`blocks.${i}.norm2`, dim);
    affine(`blocks.${i}.mlp.fc1`, hidden, dim);
    affine(`blocks.${i}.mlp.fc2`, dim, hidden);
  }
  affine("norm", dim);
  return shapes;
}

function countBlocks(tensors: StateDict, label: string): number {
  const indices = [...tensors.keys()].flatMap((name) => /^blocks\.(\d+)\./.exec(name)?.[1] ?? []).map(Number);
  const depth = 1 + indices.reduce((a, b) => Math.max(a, b), 0);
  if (depth > DEPTH_LIMIT) {
    throw unfit(label, `it has a block ${depth - 1}, and at most ${DEPTH_LIMIT} blocks are read`);
  }
  return depth;
}

function joinQkv(name: string, found: ReadonlyMap<string, HostTensor>, label: string): HostTensor {
  const three = PARTS.map((part) => {
    const tensor = found.get(part);
    if (tensor === undefined) throw unfit(label, `the ${part} of ${quote(name)} is missing`);
    return tensor;
  });
  const shape = three[0].shape;
  for (const [i, other] of three.entries()) {
    if (shape.length === 0 || shapeText(other.shape) !== shapeText(shape)) {
      throw unfit(
        label,
        `query and ${PARTS[i]} of ${quote(name)} have the shapes ${shapeText(shape)} and ${
          shapeText(other.shape)
        }, and equal ones are needed`,
      );
    }
  }
  const length = three[0].data.length;
  const data = new Float32Array(3 * length);
  three.forEach((tensor, i) => data.set(tensor.data, i * length));
  return { shape: [3 * shape[0], ...shape.slice(1)], data };
}

/** The generator's level widths, and the channels of each skip (method, "Generator"). */
const LEVELS = [16, 32, 64, 128, 128] as const;
const SKIP = 4;

/** Every tensor of the generator, 1,037,523 parameters in all, in the order of a checkpoint. */
export function generatorShapes(): ReadonlyMap<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const conv = (name: string, from: number, to: number, side: number): void => {
    shapes.set(`${name}.conv.weight`, [to, from, side, side]).set(`${name}.conv.bias`, [to]);
  };
  const norm = (name: string, channels: number): void => {
    shapes.set(`${name}.bn.weight`, [channels]).set(`${name}.bn.bias`, [channels]);
  };
  const block = (name: string, from: number, to: number, side: number): void => {
    conv(name, from, to, side);
    norm(name, to);
  };
  LEVELS.forEach((width, i) => {
    const above = i === 0 ? 3 : LEVELS[i - 1];
    const joined = SKIP + (LEVELS[i + 1] ?? width);
    block(`skip.${i}`, above, SKIP, 1);
    block(`down.${i}.a`, above, width, 3);
    block(`down.${i}.b`, width, width, 3);
    norm(`up.${i}.cat`, joined);
    block(`up.${i}.a`, joined, width, 3);
    block(`up.${i}.b`, width, width, 1);
  });
  conv("out", LEVELS[0], 3, 1);
  return shapes;
}

/**
 * Passes if `tensors` are exactly the generator's.
 * @throws WeightsError naming `label` and the tensors that are missing, misshapen or unknown.
 */
export function checkGenerator(tensors: StateDict, label: string): void {
  const shapes = generatorShapes();
  if (![...shapes.keys()].some((name) => tensors.has(name))) {
    const found = tensors.size === 0 ? "no tensors" : listNames([...tensors.keys()]);
    throw new WeightsError(
      `Cannot use ${label}: it is not a generator, it holds ${found}. A file made with \`splice run --save-generator\` is needed.`,
    );
  }
  checkShapes(tensors, shapes, label);
}

function checkShapes(tensors: StateDict, shapes: ReadonlyMap<string, readonly number[]>, label: string): void {
  const missing = [...shapes.keys()].filter((name) => !tensors.has(name));
  if (missing.length > 0) throw unfit(label, `it lacks ${listNames(missing)}`);
  for (const [name, shape] of shapes) {
    const found = tensors.get(name)?.shape ?? [];
    if (shapeText(found) !== shapeText(shape)) {
      throw unfit(label, `${quote(name)} has the shape ${shapeText(found)}, and ${shapeText(shape)} is needed`);
    }
  }
  const unknown = [...tensors.keys()].filter((name) => !shapes.has(name));
  if (unknown.length > 0) throw unfit(label, `it also holds ${listNames(unknown)}, so it is of another architecture`);
}

function unfit(label: string, problem: string): WeightsError {
  return new WeightsError(
    `Cannot use ${label}: ${problem}. Use a file made for this program, or a published one: \`splice models list\` names them.`,
  );
}
