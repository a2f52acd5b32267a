/**
 * The frozen extractor: a DINO vision transformer as a graph, up to the features that are asked for and no further.
 *
 * T = 1 + rows * cols tokens ([CLS] first), D channels, heads of 64. Weights are frozen states under the published names, prefixed
 * `vit.`. Nothing here is trained; gradients flow to the image alone. (Caron et al. 2021, arXiv:2104.14294; the published model.)
 */
import {
  add,
  attention,
  concat,
  div,
  expand,
  f32,
  gelu,
  type Interpolation,
  layerNorm,
  matmul,
  max,
  mul,
  permute,
  resample,
  reshape,
  slice,
  sqrt,
  state,
  sum,
  transpose,
  type Value,
  withScope,
} from "../engine/mod.ts";

export interface VitShape {
  readonly dim: number;
  readonly depth: number;
  /** Side of a patch, and of the square image whose position embedding was published, in pixels. */
  readonly patch: number;
  readonly native: number;
  readonly mlpRatio: number;
}

/** The network's weights as graph values. */
export interface Vit {
  readonly shape: VitShape;
  readonly weight: (name: string) => Value;
}

const EPSILON = 1e-6;
const MEAN = [0.485, 0.456, 0.406];
const DEVIATION = [0.229, 0.224, 0.225];

/** The state that turns [0, 1] into what the network was trained on: x * row 0 + row 1, [2, 3]. */
const NORMALISATION = "vit.normalisation";

export function openVit(shape: VitShape): Vit {
  const { dim, patch, native, mlpRatio } = shape;
  const tokens = (native / patch) ** 2;
  const inBlock: Record<string, number[]> = {
    "norm1.weight": [dim],
    "norm1.bias": [dim],
    "attn.qkv.weight": [3 * dim, dim],
    "attn.qkv.bias": [3 * dim],
    "attn.proj.weight": [dim, dim],
    "attn.proj.bias": [dim],
    "norm2.weight": [dim],
    "norm2.bias": [dim],
    "mlp.fc1.weight": [mlpRatio * dim, dim],
    "mlp.fc1.bias": [mlpRatio * dim],
    "mlp.fc2.weight": [dim, mlpRatio * dim],
    "mlp.fc2.bias": [dim],
  };
  const outside: Record<string, number[]> = {
    "cls_token": [1, dim],
    "pos_embed": [1 + tokens, dim],
    "patch_embed.proj.weight": [dim, 3 * patch * patch],
    "patch_embed.proj.bias": [dim],
    "normalisation": [2, 3],
  };
  const known = new Map<string, Value>();
  return {
    shape,
    weight(name) {
      const sides = outside[name] ?? inBlock[name.replace(/^blocks\.\d+\./, "")];
      if (!sides) throw new Error(`Bug: the extractor has no weight ${name}`);
      if (!known.has(name)) known.set(name, state(`vit.${name}`, f32(...sides), { trained: false }));
      return known.get(name)!;
    },
  };
}

/** What to load besides the published weights. */
export function vitConstants(): Map<string, Float32Array> {
  const scale = DEVIATION.map((deviation) => 1 / deviation);
  return new Map([[NORMALISATION, Float32Array.of(...scale, ...MEAN.map((mean, c) => -mean * scale[c]))]]);
}

/**
 * The size at which an image is seen: short side `side`, aspect kept, long side at most `longest`; truncated to integers. An
 * image whose short side is right already keeps its size, but for that limit.
 */
export function seenSize(
  height: number,
  width: number,
  side: number,
  longest: number,
): { height: number; width: number } {
  let [h, w] = [height, width];
  if (Math.min(h, w) !== side) [h, w] = h <= w ? [side, Math.trunc(side * w / h)] : [Math.trunc(side * h / w), side];
  if (Math.max(h, w) > longest) {
    [h, w] = w >= h ? [Math.trunc(longest * h / w), longest] : [longest, Math.trunc(longest * w / h)];
  }
  return { height: h, width: w };
}

/** Image [3, H, W] in [0, 1] -> what the network sees, [3, h, w], resized and normalised. */
export function prepareImage(
  net: Vit,
  image: Value,
  seen: { height: number; width: number; resize: Interpolation },
): Value {
  return withScope("prepare", () => {
    const small = resample(image, { height: seen.height, width: seen.width, mode: seen.resize });
    const row = (k: number) => reshape(slice(net.weight("normalisation"), 0, k, 1), [3, 1, 1]);
    return add(mul(small, row(0)), row(1));
  });
}

/**
 * The published position embedding on another grid: bicubic, by scale factors (rows + 0.1) / n, which move the sample points. As published it is taken as it is only
 * where the picture is square in pixels, too: one of 224 x 230 has the grid of the embedding, and is interpolated to it all the same.
 */
function positions(net: Vit, { rows, cols, square }: { rows: number; cols: number; square: boolean }): Value {
  const { native, patch, dim } = net.shape;
  const n = native / patch;
  const pos = net.weight("pos_embed");
  const grid = slice(pos, 0, 1, n * n);
  if (rows === n && cols === n && square) return grid;
  const planes = permute(reshape(grid, [n, n, dim]), [2, 0, 1]); // [D, n, n]
  const moved = resample(planes, {
    height: rows,
    width: cols,
    mode: "bicubic",
    scaleY: n / (rows + 0.1),
    scaleX: n / (cols + 0.1),
  });
  return transpose(reshape(moved, [dim, rows * cols])); // [rows * cols, D]
}

/** x [T, I] by weight [O, I] and bias [O] -> [T, O]. */
const linear = (x: Value, weight: Value, bias: Value) => add(matmul(x, transpose(weight)), bias);

/** Rows `part` * D ... of the joint q, k, v projection. */
function project(net: Vit, block: number, part: 0 | 1 | 2, x: Value): Value {
  const { dim } = net.shape;
  const rows = (name: string) => slice(net.weight(`blocks.${block}.attn.qkv.${name}`), 0, part * dim, dim);
  return linear(x, rows("weight"), rows("bias"));
}

const norm = (net: Vit, block: number, which: 1 | 2, x: Value) =>
  layerNorm(
    x,
    net.weight(`blocks.${block}.norm${which}.weight`),
    net.weight(`blocks.${block}.norm${which}.bias`),
    EPSILON,
  );

function named(net: Vit, block: number, name: string, x: Value): Value {
  return linear(x, net.weight(`blocks.${block}.${name}.weight`), net.weight(`blocks.${block}.${name}.bias`));
}

/** Patches, [CLS] and positions: image [3, h, w] -> [T, D]. What does not fill a patch is dropped. */
function embed(net: Vit, image: Value): Value {
  return withScope("embed", () => {
    const { patch } = net.shape;
    const [, height, width] = image.type.shape;
    const [rows, cols] = [Math.floor(height / patch), Math.floor(width / patch)];
    const cut = slice(slice(image, 1, 0, rows * patch), 2, 0, cols * patch);
    const tiles = permute(reshape(cut, [3, rows, patch, cols, patch]), [1, 3, 0, 2, 4]); // [rows, cols, 3, patch, patch]
    const flat = reshape(tiles, [rows * cols, 3 * patch * patch]);
    const patches = add(
      linear(flat, net.weight("patch_embed.proj.weight"), net.weight("patch_embed.proj.bias")),
      positions(net, { rows, cols, square: height === width }),
    );
    const cls = add(net.weight("cls_token"), slice(net.weight("pos_embed"), 0, 0, 1));
    return concat([cls, patches]);
  });
}

/** Everything of a block after attention: x [T, D] and what was attended to -> the block's output. */
function finish(net: Vit, block: number, x: Value, attended: Value): Value {
  const between = add(named(net, block, "attn.proj", attended), x);
  const hidden = gelu(named(net, block, "mlp.fc1", norm(net, block, 2, between)));
  return add(named(net, block, "mlp.fc2", hidden), between);
}

/** One block's tokens and projections, each [T, D]. */
export interface BlockFeatures {
  readonly tokens: Value;
  readonly queries: Value;
  readonly keys: Value;
  readonly values: Value;
}

function runBlock(net: Vit, block: number, x: Value): BlockFeatures {
  return withScope(`block${block}`, () => {
    const seen = norm(net, block, 1, x);
    const [queries, keys, values] = ([0, 1, 2] as const).map((part) => project(net, block, part, seen));
    return { tokens: finish(net, block, x, attention(queries, keys, values)), queries, keys, values };
  });
}

/** All blocks up to `last`, for looking at: image as the network sees it. */
export function vitBlocks(net: Vit, image: Value, last: number = net.shape.depth - 1): BlockFeatures[] {
  const blocks: BlockFeatures[] = [];
  let x = embed(net, image);
  for (let block = 0; block <= last; block++) {
    blocks.push(runBlock(net, block, x));
    x = blocks[block].tokens;
  }
  return blocks;
}

export interface Features {
  /** [1, D]: [CLS] of the block's output; of the last block, before the final norm. */
  readonly cls: () => Value;
  /** [T, D]: keys of the block, heads concatenated, [CLS] row included. */
  readonly keys: () => Value;
}

/**
 * The features of one block, the last unless told otherwise: those of the objective. Of that block only what is asked for is built: keys
 * need its first norm and one projection; [CLS] needs keys and values of all rows, but query, attention and MLP of one.
 */
export function vitFeatures(net: Vit, image: Value, last: number = net.shape.depth - 1): Features {
  let x = embed(net, image);
  for (let block = 0; block < last; block++) x = runBlock(net, block, x).tokens;
  const scope = `block${last}`;
  const seen = withScope(scope, () => norm(net, last, 1, x));
  const keys = once(() => withScope(scope, () => project(net, last, 1, seen)));
  return {
    keys,
    cls: once(() =>
      withScope(scope, () => {
        const query = project(net, last, 0, slice(seen, 0, 0, 1));
        return finish(net, last, slice(x, 0, 0, 1), attention(query, keys(), project(net, last, 2, seen)));
      })
    ),
  };
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}

/** Cosine similarity of all pairs of keys: [T, D] -> [T, T], k_i.k_j / max(|k_i| |k_j|, 1e-8). */
export function selfSimilarity(keys: Value): Value {
  return withScope("self_similarity", () => {
    const tokens = keys.type.shape[0];
    const length = sqrt(sum(mul(keys, keys), 1));
    const product = mul(expand(reshape(length, [tokens, 1]), [tokens, tokens]), reshape(length, [1, tokens]));
    return div(matmul(keys, transpose(keys)), max(product, 1e-8));
  });
}
