/**
 * The frozen extractor: a vision transformer of the DINO family as a graph, up to the features that are asked for and no further.
 *
 * T = 1 + R + rows * cols tokens ([CLS] first, then R registers, if any, then patches row by row), D channels. Nothing here is trained; gradients flow to the image
 * alone. (Caron et al. 2021, arXiv:2104.14294; Oquab et al. 2023, arXiv:2304.07193; Darcet et al. 2023, arXiv:2309.16588; Simeoni et al. 2025, arXiv:2508.10104.)
 */
import {
  add,
  attention,
  concat,
  div,
  expand,
  gelu,
  type Interpolation,
  layerNorm,
  matmul,
  max,
  mul,
  permute,
  resample,
  reshape,
  sigmoid,
  slice,
  sqrt,
  sum,
  transpose,
  type Value,
  withScope,
} from "../engine/mod.ts";
import { patchPositions } from "./positions.ts";
import { rotation } from "./rotary.ts";
import { openVit, type Vit, type VitShape } from "./vit_weights.ts";

export { openVit, type Vit, type VitShape };

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
    const row = (k: number) => reshape(slice(net.constant("normalisation", [2, 3]), 0, k, 1), [3, 1, 1]);
    return add(mul(small, row(0)), row(1));
  });
}

/** x [T, I] by weight [O, I] and bias [O] -> [T, O]. */
const linear = (x: Value, weight: Value, bias: Value) => add(matmul(x, transpose(weight)), bias);

/** Rows `part` * D ... of the joint q, k, v projection, for a block of which not all three are needed. */
function project(net: Vit, block: number, part: 0 | 1 | 2, x: Value): Value {
  const { dim } = net.shape;
  const rows = (name: string) => slice(net.weight(`blocks.${block}.attn.qkv.${name}`), 0, part * dim, dim);
  return linear(x, rows("weight"), rows("bias"));
}

/** All three, each [T, D], by one product. */
function projections(net: Vit, block: number, x: Value): Value[] {
  const { dim } = net.shape;
  const joint = named(net, block, "attn.qkv", x); // [T, 3 * D]
  return [0, 1, 2].map((part) => slice(joint, 1, part * dim, dim));
}

const norm = (net: Vit, block: number, which: 1 | 2, x: Value) =>
  layerNorm(
    x,
    net.weight(`blocks.${block}.norm${which}.weight`),
    net.weight(`blocks.${block}.norm${which}.bias`),
    net.shape.epsilon,
  );

function named(net: Vit, block: number, name: string, x: Value): Value {
  return linear(x, net.weight(`blocks.${block}.${name}.weight`), net.weight(`blocks.${block}.${name}.bias`));
}

/** What enters the first block, and what turns queries and keys in all of them. */
interface Beginning {
  readonly tokens: Value;
  readonly turn: (x: Value) => Value;
}

/** Patches, [CLS], registers and positions: image [3, h, w] -> [T, D]. What does not fill a patch is dropped. */
function begin(net: Vit, image: Value): Beginning {
  return withScope("embed", () => {
    const { patch, positions, clsPosition, registers } = net.shape;
    const rotary = positions === "rotary";
    const [, height, width] = image.type.shape;
    const [rows, cols] = [Math.floor(height / patch), Math.floor(width / patch)];
    const cut = slice(slice(image, 1, 0, rows * patch), 2, 0, cols * patch);
    const tiles = permute(reshape(cut, [3, rows, patch, cols, patch]), [1, 3, 0, 2, 4]); // [rows, cols, 3, patch, patch]
    const flat = reshape(tiles, [rows * cols, 3 * patch * patch]);
    const bare = linear(flat, net.weight("patch_embed.proj.weight"), net.weight("patch_embed.proj.bias"));
    const patches = rotary ? bare : add(bare, patchPositions(net, { rows, cols, square: height === width }));
    const cls = net.weight("cls_token");
    return {
      tokens: concat([
        clsPosition ? add(cls, slice(net.weight("pos_embed"), 0, 0, 1)) : cls,
        ...(registers > 0 ? [net.weight("register_tokens")] : []),
        patches,
      ]),
      turn: rotary ? rotation(net, { rows, cols }) : (x) => x,
    };
  });
}

/** What attention or the MLP adds, by LayerScale's factors where there are some. */
function scaled(net: Vit, block: number, which: 1 | 2, x: Value): Value {
  return net.shape.layerScale ? mul(x, net.weight(`blocks.${block}.ls${which}.gamma`)) : x;
}

/** GELU, or SwiGLU: w3(silu(gate) * up), both from one product, gate first. */
function mlp(net: Vit, block: number, x: Value): Value {
  const { gated, hidden } = net.shape;
  if (!gated) return named(net, block, "mlp.fc2", gelu(named(net, block, "mlp.fc1", x)));
  const both = named(net, block, "mlp.w12", x); // [T, 2 * hidden]
  const gate = slice(both, 1, 0, hidden);
  return named(net, block, "mlp.w3", mul(mul(gate, sigmoid(gate)), slice(both, 1, hidden, hidden)));
}

/** Everything of a block after attention: x [T, D] and what was attended to -> the block's output. */
function finish(net: Vit, block: number, x: Value, attended: Value): Value {
  const between = add(scaled(net, block, 1, named(net, block, "attn.proj", attended)), x);
  return add(scaled(net, block, 2, mlp(net, block, norm(net, block, 2, between))), between);
}

/** One block's tokens and projections, each [T, D]. */
export interface BlockFeatures {
  readonly tokens: Value;
  readonly queries: Value;
  readonly keys: Value;
  readonly values: Value;
}

function runBlock(net: Vit, block: number, { tokens: x, turn }: Beginning): BlockFeatures {
  return withScope(`block${block}`, () => {
    const seen = norm(net, block, 1, x);
    const [queries, keys, values] = projections(net, block, seen);
    const attended = attention(turn(queries), turn(keys), values, net.shape);
    return { tokens: finish(net, block, x, attended), queries, keys, values };
  });
}

/** All blocks up to `last`, for looking at: image as the network sees it. */
export function vitBlocks(net: Vit, image: Value, last: number = net.shape.depth - 1): BlockFeatures[] {
  const { tokens, turn } = begin(net, image);
  const blocks: BlockFeatures[] = [];
  for (let block = 0; block <= last; block++) {
    blocks.push(runBlock(net, block, { tokens: blocks.at(-1)?.tokens ?? tokens, turn }));
  }
  return blocks;
}

export interface Features {
  /** [1, D]: [CLS] of the block's output; of the last block, before the final norm. */
  readonly cls: () => Value;
  /** [1 + P, D]: keys of the block, before any turning, heads concatenated, of [CLS] and the P patches: registers show no place of the image, and are left out. */
  readonly keys: () => Value;
}

/**
 * The features of one block, the last unless told otherwise: those of the objective. Of that block only what is asked for is built: keys
 * need its first norm and one projection; [CLS] needs keys and values of all rows, but query, attention and MLP of one.
 */
export function vitFeatures(net: Vit, image: Value, last: number = net.shape.depth - 1): Features {
  const { tokens, turn } = begin(net, image);
  let x = tokens;
  for (let block = 0; block < last; block++) x = runBlock(net, block, { tokens: x, turn }).tokens;
  const scope = `block${last}`;
  const seen = withScope(scope, () => norm(net, last, 1, x));
  const keys = once(() => withScope(scope, () => project(net, last, 1, seen)));
  return {
    keys: once(() => withScope(scope, () => withoutRegisters(net.shape, keys()))),
    cls: once(() =>
      withScope(scope, () => {
        const query = project(net, last, 0, slice(seen, 0, 0, 1)); // [CLS] is not turned
        const attended = attention(query, turn(keys()), project(net, last, 2, seen), net.shape);
        return finish(net, last, slice(x, 0, 0, 1), attended);
      })
    ),
  };
}

/** Rows of [CLS] and patches alone: [T, D] -> [T - R, D]. */
export function withoutRegisters({ registers }: Pick<VitShape, "registers">, x: Value): Value {
  if (registers === 0) return x;
  const patches = x.type.shape[0] - 1 - registers;
  return concat([slice(x, 0, 0, 1), slice(x, 0, 1 + registers, patches)]);
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
