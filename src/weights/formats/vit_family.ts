// Which vision transformer a file of weights is: family, sizes and rules, told from its tensors; and the check of every one of them. What tensors do not tell, the number of
// heads and the normalisation, comes from whoever calls, or is assumed, and the description says so. No file format and no arithmetic here.
// Invariant: what passes `measureVit` has every tensor its network asks for, in the right shape.

import { checkShapes, type Shapes, unfit } from "./fit.ts";
import { listNames, shapeText, type StateDict, WeightsError } from "./tensor.ts";
import { publishedVit } from "./vit_names.ts";

/** `dino`: DINO, or another plain ViT, which its tensors do not tell apart (MAE, MoCo, supervised ones); `deit3`: timm's without a position of [CLS]. */
export type VitFamily = "dino" | "dinov2" | "dinov3" | "deit3";

/** Of red, green and blue in [0, 1]: networks see (x - mean) / deviation. */
export type Normalisation = { readonly mean: readonly number[]; readonly deviation: readonly number[] };

/** What tensors tell. */
export type VitSizes = {
  readonly family: VitFamily;
  readonly dim: number;
  readonly depth: number;
  /** Side of a patch, in pixels. */
  readonly patch: number;
  /** How positions are found on the grid of a picture; src/nets/positions.ts and rotary.ts have the rules. */
  readonly positions: "dino" | "dinov2" | "antialias" | "rotary";
  /** Patches along a side of the position embedding; 0 where there is none. */
  readonly grid: number;
  /** Whether the embedding has a row for [CLS]. */
  readonly clsPosition: boolean;
  readonly registers: number;
  /** Width of the MLP between its layers, and whether it is a SwiGLU. */
  readonly hidden: number;
  readonly gated: boolean;
  readonly layerScale: boolean;
};

/** A network, complete. `native`: the short side of what it sees unless told otherwise, in pixels. */
export type VitDescription = VitSizes & Normalisation & {
  readonly heads: number;
  readonly epsilon: number;
  readonly native: number;
};

/** What a user, a record, or a file beside the weights says of what tensors do not tell. */
export type Told = { readonly heads?: number | undefined; readonly normalisation?: Normalisation | undefined };

export const IMAGENET: Normalisation = { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };
/** Google's and augreg's. */
export const HALF: Normalisation = { mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] };

/** Channels of a head, where nobody says how many there are: of every published DINO but DINOv3's 7B. */
export const HEAD = 64;
const DEPTH_LIMIT = 256;
/** DINOv2 and v3 look at as many patches a side as ViT-B/8 does, so that what is seen is as fine. */
const SEEN_PATCHES = 28;
const EXPECTED =
  "A vision transformer of the DINO family (DINO, DINOv2, DINOv3) or a plain ViT is needed, under its published names (cls_token, patch_embed.proj, " +
  "blocks.0.attn.qkv, ...), timm's or Hugging Face's: `splice models list` shows the models that are here.";

/**
 * What the tensors (published names) say of their network, after a check of every one of them.
 * @throws WeightsError naming `label`: not a ViT at all, a tensor missing, of the wrong shape or unknown, a position grid that is not square.
 */
function measureVit(tensors: StateDict, label: string): VitSizes {
  const shapeOf = (name: string) => tensors.get(name)?.shape;
  const [weight, embedding, registerTokens] = ["patch_embed.proj.weight", "pos_embed", "register_tokens"].map(shapeOf);
  const gated = shapeOf("blocks.0.mlp.w12.weight") !== undefined;
  const rows = shapeOf(gated ? "blocks.0.mlp.w12.weight" : "blocks.0.mlp.fc1.weight")?.[0];
  if (weight === undefined || rows === undefined || (embedding === undefined && registerTokens === undefined)) {
    const found = tensors.size === 0 ? "no tensors" : listNames([...tensors.keys()]);
    throw new WeightsError(
      `Cannot use ${label}: it is not a ViT that features are known of, it holds ${found}. ${EXPECTED}`,
    );
  }
  const [dim, channels, patch] = weight;
  if (weight.length !== 4 || channels !== 3 || weight[3] !== patch || !(patch > 0) || !(dim > 0)) {
    throw unfit(
      label,
      `patch_embed.proj.weight has the shape ${shapeText(weight)}, and [width,3,patch,patch] is needed`,
    );
  }
  const { grid, clsPosition } = embedding === undefined
    ? { grid: 0, clsPosition: false }
    : gridOf(embedding, dim, label);
  const registers = registerTokens?.[1] ?? 0;
  const layerScale = tensors.has("blocks.0.ls1.gamma");
  const timm = embedding !== undefined && !clsPosition;
  const sizes: VitSizes = {
    family: embedding === undefined
      ? "dinov3"
      : layerScale && timm && registers === 0
      ? "deit3"
      : layerScale
      ? "dinov2"
      : "dino",
    dim,
    depth: countBlocks(tensors, label),
    patch,
    positions: embedding === undefined
      ? "rotary"
      : timm || registers > 0
      ? "antialias"
      : layerScale
      ? "dinov2"
      : "dino",
    grid,
    clsPosition,
    registers,
    hidden: gated ? rows / 2 : rows,
    gated,
    layerScale,
  };
  const shapes = new Map(vitShapes(sizes, shapeOf("rope_embed.periods")?.[0]));
  for (const group of OPTIONAL) {
    if (!group.some((name) => tensors.has(name))) group.forEach((name) => shapes.delete(name));
  }
  checkShapes(tensors, shapes, label);
  return sizes;
}

/** The final norm, which no feature needs, and periods, which can be computed. */
const OPTIONAL = [["norm.weight", "norm.bias"], ["rope_embed.periods"]] as const;

/** [1, 1 + n * n, d], or timm's [1, n * n, d]: positions of registers' networks, where [CLS] has its own in it. */
function gridOf(shape: readonly number[], dim: number, label: string): { grid: number; clsPosition: boolean } {
  const [withCls, without] = [Math.sqrt(shape[1] - 1), Math.sqrt(shape[1])];
  if (shape.length === 3 && Number.isInteger(withCls) && withCls >= 1) return { grid: withCls, clsPosition: true };
  if (shape.length === 3 && Number.isInteger(without) && without >= 2) return { grid: without, clsPosition: false };
  throw unfit(
    label,
    `pos_embed has the shape ${shapeText(shape)}, and [1,1+n*n,${dim}] or [1,n*n,${dim}], a square grid, is needed`,
  );
}

/**
 * The whole description. `told` wins; else heads have 64 channels, or what the file's own rotary periods say, and the normalisation is ImageNet's.
 * @throws WeightsError naming `label` if the number of heads cannot be.
 */
export function completeVit(
  sizes: VitSizes,
  { told, tensors, label }: { readonly told: Told; readonly tensors: StateDict; readonly label: string },
): VitDescription {
  const { family, dim, patch, grid } = sizes;
  const periods = tensors.get("rope_embed.periods")?.shape[0];
  const heads = told.heads ?? (periods === undefined ? dim / HEAD : dim / (4 * periods));
  const width = dim / heads;
  if (!Number.isInteger(heads) || heads < 1) {
    throw unfit(
      label,
      `its width ${dim} is not a multiple of ${HEAD}, the usual size of a head; say how many heads it has with --heads N`,
    );
  }
  if (!Number.isInteger(width)) {
    throw unfit(label, `its width ${dim} cannot be divided among ${heads} heads; --heads must divide it`);
  }
  if (family === "dinov3" && (width % 4 !== 0 || (periods !== undefined && periods * 4 !== width))) {
    const need = periods === undefined ? "a multiple of 4" : `${4 * periods}, as rope_embed.periods says,`;
    throw unfit(label, `with ${heads} heads each has ${width} channels, and ${need} is needed for rotary positions`);
  }
  const known = family === "dinov2" || family === "dinov3";
  return {
    ...sizes,
    ...(told.normalisation ?? IMAGENET),
    heads,
    epsilon: family === "dinov3" ? 1e-5 : 1e-6,
    native: known ? SEEN_PATCHES * patch : grid * patch,
  };
}

/** Which of what tensors do not tell nobody told either. */
export function assumedOf(
  told: Told,
  tensors: StateDict,
): { readonly heads: boolean; readonly normalisation: boolean } {
  const periods = tensors.has("rope_embed.periods");
  return { heads: told.heads === undefined && !periods, normalisation: told.normalisation === undefined };
}

/** Tensors of any program's names under the published ones and in their order, whatever the order of their file, and what they tell. @throws WeightsError as `publishedVit` and `measureVit`. */
export function recogniseVit(
  tensors: StateDict,
  label: string,
): { readonly published: StateDict; readonly sizes: VitSizes } {
  const published = publishedVit(tensors, label);
  const sizes = measureVit(published, label);
  const order = vitShapes(sizes, 0).keys().filter((name) => published.has(name));
  return { published: new Map(order.map((name) => [name, published.get(name)!] as const)), sizes };
}

/** Numbers in all tensors of a network, the final norm included. */
export function parametersOf(sizes: VitSizes): number {
  return vitShapes(sizes, 0).values().reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/** Every tensor that a ViT may have, in the published order. */
function vitShapes(sizes: VitSizes, periods: number | undefined): Shapes {
  const { dim, depth, patch, grid, registers, hidden, gated, layerScale } = sizes;
  const shapes = new Map<string, readonly number[]>([["cls_token", [1, 1, dim]]]);
  const affine = (name: string, ...weight: number[]): void => {
    shapes.set(`${name}.weight`, weight).set(`${name}.bias`, [weight[0]]);
  };
  if (grid > 0) shapes.set("pos_embed", [1, (sizes.clsPosition ? 1 : 0) + grid * grid, dim]);
  if (registers > 0) shapes.set("register_tokens", [1, registers, dim]);
  if (grid === 0) shapes.set("rope_embed.periods", [periods ?? 0]);
  affine("patch_embed.proj", dim, 3, patch, patch);
  for (let i = 0; i < depth; i++) {
    affine(`blocks.${i}.norm1`, dim);
    affine(`blocks.${i}.attn.qkv`, 3 * dim, dim);
    affine(`blocks.${i}.attn.proj`, dim, dim);
    if (layerScale) shapes.set(`blocks.${i}.ls1.gamma`, [dim]);
    affine(`blocks.${i}.norm2`, dim);
    affine(`blocks.${i}.mlp.${gated ? "w12" : "fc1"}`, gated ? 2 * hidden : hidden, dim);
    affine(`blocks.${i}.mlp.${gated ? "w3" : "fc2"}`, dim, hidden);
    if (layerScale) shapes.set(`blocks.${i}.ls2.gamma`, [dim]);
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

const FAMILY_NAMES: Readonly<Record<VitFamily, string>> = {
  dino: "DINO or another plain ViT",
  dinov2: "DINOv2",
  dinov3: "DINOv3",
  deit3: "a ViT with LayerScale under timm's names",
};

/** What was recognised, for people: `DINOv2, 4 registers: width 384, 12 blocks, 6 heads of 64, patches of 14, positions of 37 x 37`. */
export function vitText(vit: VitDescription): string {
  const { family, registers, dim, depth, patch, grid } = vit;
  const positions = grid === 0 ? "rotary positions" : `positions of ${grid} x ${grid}`;
  return `${FAMILY_NAMES[family]}${registers > 0 ? `, ${registers} registers` : ""}: width ${dim}, ${depth} blocks, ` +
    `${headsText(vit)}, patches of ${patch}, ${positions}${vit.gated ? ", SwiGLU" : ""}`;
}

/** `12 heads of 64` */
export const headsText = ({ heads, dim }: Pick<VitDescription, "heads" | "dim">) =>
  `${heads} ${heads === 1 ? "head" : "heads"} of ${dim / heads}`;

/** `ImageNet's`, `0.5 and 0.5`, or the numbers. */
export function normalisationText({ mean, deviation }: Normalisation): string {
  const same = (other: Normalisation) => `${other.mean};${other.deviation}` === `${mean};${deviation}`;
  return same(IMAGENET)
    ? "ImageNet's"
    : same(HALF)
    ? "0.5 and 0.5"
    : `mean ${mean.join(", ")}, deviation ${deviation.join(", ")}`;
}
