/**
 * The gradient of a convolution with respect to its weight, as partial sums over chunks of output rows:
 *
 *   out[s, c, a, ky, kx] = sum over rows (b, y) of chunk s and x of
 *                          gradient[b, c, y, x] * source[b, a, y * stride + ky - padding, x * stride + kx - padding]
 *
 * c counts output channels, a input channels, n = (a, ky, kx) the columns of the weight seen as a matrix. A product of
 * matrices whose inner dimension is the pixels: few results, long sums. So the pixels are split into `splits` chunks that
 * run beside each other, and each row is summed by itself before it joins the total, which keeps the error of f32 small.
 */
import type { Kernel, Profile } from "../../ir/program.ts";
import { contiguous, type Layout, type Shape, sizeOf } from "../../ir/type.ts";
import { checkConv, LANES, type Padding, type Taps } from "./conv_gather.ts";
import { shareOf, windowBody } from "./conv_gradient_software.ts";
import { SHARED_LANES, sharedBody, sharedPrelude, sharedRows, sharedTileFor } from "./conv_gradient_shared.ts";
import { INVOCATIONS, type Tile, tileFor, tileOwner, tilePrelude, tileProduct, underFunction } from "./conv_tile.ts";
import { BUSY, ceilDiv, foldGrid, kernel } from "../template.ts";
import { each, range } from "../unroll.ts";

export interface ConvWeightGradientShape {
  /** [B, Cin, H, W], in a buffer whose size is a multiple of 16 bytes */
  readonly x: Layout;
  /** [B, Cout, Ho, Wo], likewise */
  readonly gradient: Layout;
  /** [splits, Cout, Cin, k, k] */
  readonly out: Layout;
  readonly splits: number;
  readonly stride: number;
  readonly padding: Padding;
  readonly profile: Profile;
}

interface Weight {
  readonly outer: number;
  readonly inner: number;
  readonly size: number;
  readonly profile: Profile;
}

/** Which of the kernels serves a weight, and into how many tiles it cuts it. */
function tilingOf({ outer, inner, size, profile }: Weight) {
  const shared = profile.name === "workgroup" && size === 3;
  const tiled = profile.name === "workgroup" && !shared;
  const subgroups = profile.name === "subgroup8";
  const tile = tileFor(outer);
  const sharedTile = sharedTileFor(outer);
  const share = shareOf(size, subgroups);
  const columnTiles = shared
    ? ceilDiv(inner, sharedTile.inner)
    : tiled
    ? ceilDiv(inner * size * size, tile.columns)
    : ceilDiv(inner * size, share.units * LANES);
  const channels = shared ? sharedRows(sharedTile) : tiled ? tile.rows : share.channels;
  return {
    shared,
    tiled,
    subgroups,
    tile,
    sharedTile,
    share,
    channels,
    columnTiles,
    channelTiles: ceilDiv(outer, channels),
  };
}

/**
 * In how many parts the gradient of a weight [O, I, k, k] is summed, the result's being [B, O, H, W]: parts keep every core busy and sums short, but each costs a copy of
 * the weight. So small planes get few, on a GPU as many as it needs to have enough to do.
 */
export function partsOf(
  { gradient: [batch, , rows, columns], weight: [outer, inner, size], profile }: {
    readonly gradient: Shape;
    readonly weight: Shape;
    readonly profile: Profile;
  },
): number {
  const { columnTiles, channelTiles } = tilingOf({ outer, inner, size, profile });
  const least = profile.name === "workgroup" ? ceilDiv(BUSY, columnTiles * channelTiles) : 1;
  return Math.max(1, Math.min(batch * rows, Math.max(least, Math.min(32, ceilDiv(batch * rows * columns, 2048)))));
}

/** Partial sums of the weight's gradient; their sum over axis 0 is the gradient. Bindings in order: x, gradient, out. */
export function convWeightGradientKernel(shape: ConvWeightGradientShape): Kernel {
  const [splits, outer, inner, size] = shape.out.shape;
  checkConv(shape.x, contiguous([outer, inner, size, size]), shape.gradient, shape.stride, shape.padding);
  if (splits !== shape.splits) throw new Error(`Bug: ${splits} partial sums for ${shape.splits} splits`);
  const taps: Taps = { size, stride: shape.stride, padding: shape.padding };
  const tiling = tilingOf({ outer, inner, size, profile: shape.profile });
  const { shared, tiled, subgroups, tile, sharedTile, share, channels, columnTiles, channelTiles } = tiling;
  const [batch, , sourceHeight, sourceWidth] = shape.x.shape;
  const [, , height, width] = shape.gradient.shape;
  const columns = inner * size * size;
  const element = tiled || shared ? "f32" : "vec4f";
  const quads = width % 4 === 0 && shape.gradient.offset % 4 === 0;
  return kernel({
    name: "conv_weight_gradient",
    bindings: [
      { name: "source", access: "read", element },
      { name: "gradient", access: "read", element },
      { name: "result", access: "write" },
    ],
    params: {
      rows: batch * height,
      rows_per_split: ceilDiv(batch * height, splits),
      inner,
      source_offset: shape.x.offset,
      source_height: sourceHeight,
      source_width: sourceWidth,
      outer,
      gradient_offset: shape.gradient.offset,
      height,
      width,
      columns,
      column_tiles: columnTiles,
      channel_tiles: channelTiles,
      splits,
      out_offset: shape.out.offset,
    },
    workgroup: [shared ? SHARED_LANES : tiled ? INVOCATIONS : LANES, 1, 1],
    grid: foldGrid(columnTiles * channelTiles * splits),
    subgroups,
    prelude: shared
      ? sharedPrelude(sharedTile, taps)
      : tiled
      ? tilePrelude(tile) + underFunction({ ...taps, adjoint: false })
      : "",
    body: `
  let id = group.x + group.y * groups.x;
  let column_tile = id % p.column_tiles;
  let c0 = id / p.column_tiles % p.channel_tiles * ${channels};
  let split = id / (p.column_tiles * p.channel_tiles);
  let first = split * p.rows_per_split;
  let last = min(first + p.rows_per_split, p.rows);
  ${shared ? sharedBody(sharedTile, taps, quads) : tiled ? tiledBody(taps, tile) : windowBody(taps, share, subgroups)}`,
    cost: {
      flops: 2 * outer * columns * batch * height * width,
      bytes: 4 * (sizeOf(shape.x.shape) + sizeOf(shape.gradient.shape) + sizeOf(shape.out.shape)),
    },
  });
}

/** Workgroup tiles, on GPUs: rows are output channels, columns (a, ky, kx), k the pixels of the chunk. */
function tiledBody({ size }: Taps, tile: Tile): string {
  const four = range(4);
  const pixel = `
        let b = (first + k / p.width) / p.height;
        let y = (first + k / p.width) % p.height;
        let x = k % p.width;`;
  return `
  ${tileOwner(tile)}
  ${
    each(four, (j) => `
  let n${j} = column_tile * ${tile.columns} + column4 * 4 + ${j};
  let a${j} = min(n${j} / ${size * size}, p.inner - 1);
  let ky${j} = n${j} / ${size} % ${size};
  let kx${j} = n${j} % ${size};`)
  }
  let depth = max(last - first, 0) * p.width;
  let plane = p.source_height * p.source_width;
  ${
    tileProduct(tile, {
      depth: "depth",
      block: 64,
      fillLeft: `${pixel}
        let c = c0 + quad * 4;
        let at = p.gradient_offset + y * p.width + x;
        value = vec4f(${
        four.map((j) => `gradient[at + (b * p.outer + min(c + ${j}, p.outer - 1)) * p.height * p.width]`).join(", ")
      });`,
      fillRight: `${pixel}
        value = vec4f(${
        four.map((j) => `under(p.source_offset + (b * p.inner + a${j}) * plane, y, x, ky${j}, kx${j})`).join(", ")
      });`,
    })
  }
  ${
    each(four, (i) =>
      each(four, (j) => `
  if (split < p.splits && c0 + row4 * 4 + ${i} < p.outer && n${j} < p.columns) {
    result[p.out_offset + (split * p.outer + c0 + row4 * 4 + ${i}) * p.columns + n${j}] = t${i}[${j}];
  }`))
  }`;
}
