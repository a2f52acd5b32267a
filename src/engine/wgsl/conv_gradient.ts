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
import type { Kernel, Profile } from "../ir/program.ts";
import { contiguous, type Layout, sizeOf } from "../ir/type.ts";
import { checkConv, each, type Padding, range } from "./conv_gather.ts";
import { ceilDiv, foldGrid, kernel } from "./template.ts";

export interface ConvWeightGradientShape {
  /** [B, Cin, H, W] */
  readonly x: Layout;
  /** [B, Cout, Ho, Wo] */
  readonly gradient: Layout;
  /** [splits, Cout, Cin, k, k] */
  readonly out: Layout;
  readonly splits: number;
  readonly stride: number;
  readonly padding: Padding;
  readonly profile: Profile;
}

const TILE_CHANNELS = 16;
const VECTORS = 4;
const LANES = 8;

/** Partial sums of the weight's gradient; their sum over axis 0 is the gradient. */
export function convWeightGradientKernel(shape: ConvWeightGradientShape): Kernel {
  const [splits, outer, inner, size] = shape.out.shape;
  checkConv(shape.x, contiguous([outer, inner, size, size]), shape.gradient, shape.stride, shape.padding);
  if (splits !== shape.splits) throw new Error(`Bug: ${splits} partial sums for ${shape.splits} splits`);
  const subgroups = shape.profile.name === "subgroup8";
  const [batch, , sourceHeight, sourceWidth] = shape.x.shape;
  const [, , height, width] = shape.gradient.shape;
  const columns = inner * size * size;
  const columnTiles = ceilDiv(columns, VECTORS * LANES);
  const channelTiles = ceilDiv(outer, TILE_CHANNELS);
  return kernel({
    name: "conv_weight_gradient",
    bindings: [
      { name: "source", access: "read" },
      { name: "gradient", access: "read" },
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
    workgroup: [LANES, 1, 1],
    grid: foldGrid(columnTiles * channelTiles * splits),
    subgroups,
    body: body(shape, size, subgroups),
    cost: {
      flops: 2 * outer * columns * batch * height * width,
      bytes: 4 * (sizeOf(shape.x.shape) + sizeOf(shape.gradient.shape) + sizeOf(shape.out.shape)),
    },
  });
}

/** A tile of 16 output channels x 32 columns; a pixel costs two loads of the gradient and four of the source. */
function body(shape: ConvWeightGradientShape, size: number, subgroups: boolean): string {
  const channels = range(TILE_CHANNELS);
  const vectors = range(VECTORS);
  const p = (size - 1) / 2;
  const loads = subgroups ? range(TILE_CHANNELS / LANES) : channels;
  const inRange = (value: string, side: string) => `${value} >= 0 && ${value} < p.${side}`;
  const reflected = (value: string, side: string) => `max(p.${side} - 1 - abs(p.${side} - 1 - abs(${value})), 0)`;
  const row = (i: number) =>
    shape.padding === "reflect"
      ? `
    let row${i} = ${reflected(`y * ${shape.stride} + ky${i} - ${p}`, "source_height")};
    let in_row${i} = true;`
      : `
    let raw${i} = y * ${shape.stride} + ky${i} - ${p};
    let row${i} = clamp(raw${i}, 0, p.source_height - 1);
    let in_row${i} = ${inRange(`raw${i}`, "source_height")};`;
  const pixel = (i: number) =>
    shape.padding === "reflect"
      ? `
      let v${i} = source[base${i} + ${reflected(`x * ${shape.stride} + kx${i} - ${p}`, "source_width")}];`
      : `
      let column${i} = x * ${shape.stride} + kx${i} - ${p};
      let load${i} = source[base${i} + clamp(column${i}, 0, p.source_width - 1)];
      let v${i} = select(0.0, load${i}, in_row${i} && ${inRange(`column${i}`, "source_width")});`;
  return `
  ${subgroups ? "" : "let lane = local_index;"}
  let id = group.x + group.y * groups.x;
  let n_first = id % p.column_tiles * ${VECTORS * LANES};
  let c0 = id / p.column_tiles % p.channel_tiles * ${TILE_CHANNELS};
  let split = id / (p.column_tiles * p.channel_tiles);
  ${
    each(vectors, (i) => `
  let n${i} = n_first + ${i * LANES} + lane;
  let a${i} = min(n${i} / ${size * size}, p.inner - 1);
  let ky${i} = n${i} / ${size} % ${size};
  let kx${i} = n${i} % ${size};`)
  }
  ${each(channels, (c) => each(vectors, (i) => `var t${c}_${i} = 0.0;`))}
  let first = split * p.rows_per_split;
  let last = min(first + p.rows_per_split, p.rows);
  for (var r = first; r < last; r++) {
    let b = r / p.height;
    let y = r % p.height;
    ${each(vectors, row)}
    ${
    each(vectors, (i) =>
      `let base${i} = p.source_offset + ((b * p.inner + a${i}) * p.source_height + row${i}) * p.source_width;`)
  }
    ${
    each(loads, (v) => {
      const channel = subgroups ? `${v * LANES} + lane` : `${v}`;
      return `let g_at${v} = p.gradient_offset + ((b * p.outer + min(c0 + ${channel}, p.outer - 1)) * p.height + y) * p.width;`;
    })
  }
    ${each(channels, (c) => each(vectors, (i) => `var s${c}_${i} = 0.0;`))}
    for (var x = 0; x < p.width; x++) {
      ${each(loads, (v) => `let g${v} = gradient[g_at${v} + x];`)}
      ${each(vectors, pixel)}
      ${
    each(channels, (c) => {
      const factor = subgroups ? `subgroupBroadcast(g${Math.floor(c / LANES)}, ${c % LANES}u)` : `g${c}`;
      return `{ let f = ${factor}; ${vectors.map((i) => `s${c}_${i} = fma(f, v${i}, s${c}_${i});`).join(" ")} }`;
    })
  }
    }
    ${each(channels, (c) => each(vectors, (i) => `t${c}_${i} += s${c}_${i};`))}
  }
  ${
    each(channels, (c) =>
      each(vectors, (i) => `
  if (split < p.splits && c0 + ${c} < p.outer && n${i} < p.columns) {
    result[p.out_offset + (split * p.outer + c0 + ${c}) * p.columns + n${i}] = t${c}_${i};
  }`))
  }`;
}
