/**
 * Two-dimensional convolution, and its adjoint with respect to the image:
 *
 *   out[b, o, y, x] = sum over i, ky, kx of x[b, i, y * stride + ky - p, x * stride + kx - p] * weight[o, i, ky, kx]
 *
 * o counts output channels, i input channels, (ky, kx) the taps of a k x k kernel, p = (k - 1) / 2; outside, x is zero or
 * reflected without repeating the edge. Sizes, channel counts and the strides of the weight are parameters, so that all
 * layers share a few texts: the adjoint of stride 1 with zero padding is itself a convolution, with the two channel axes of
 * the weight exchanged and its taps in reverse, and has the very text of the forward kernel. Adjoints of reflection are there
 * for kernels of 3 x 3: then a tap has at most one pixel of each row and column outside to look after ("fold").
 */
import type { Chain, Kernel, Profile } from "../../ir/program.ts";
import { type Layout, sizeOf } from "../../ir/type.ts";
import { checkConv, type Gather, LANES, type Padding } from "./conv_gather.ts";
import { isPaired, PAIRED, pairsBody } from "./conv_pairs.ts";
import { tapBody, windowBody } from "./conv_software.ts";
import { DIRECT_LANES, directBody, directChannels, directPrelude, isDirect } from "./conv_direct.ts";
import { INVOCATIONS, tiledBody, tileFor, tilePrelude, underFunction } from "./conv_tile.ts";
import { ceilDiv, foldGrid, kernel, renderChain } from "../template.ts";

export type { Padding } from "./conv_gather.ts";

export interface ConvShape {
  /** [B, Cin, H, W], in a buffer whose size is a multiple of 16 bytes */
  readonly x: Layout;
  /** [Cout, Cin, k, k] */
  readonly weight: Layout;
  /** [B, Cout, Ho, Wo], Ho = floor((H + 2p - k) / stride) + 1 with p = (k - 1) / 2 */
  readonly out: Layout;
  readonly stride: number;
  readonly padding: Padding;
  /** Operands have layouts of the shape of `out`. */
  readonly epilogue: Chain | null;
  readonly profile: Profile;
}

export interface ConvInputGradientShape {
  /** [B, Cout, Ho, Wo], in a buffer whose size is a multiple of 16 bytes */
  readonly gradient: Layout;
  /** [Cout, Cin, k, k] */
  readonly weight: Layout;
  /** [B, Cin, H, W] */
  readonly out: Layout;
  readonly stride: number;
  readonly padding: Padding;
  /** Operands have layouts of the shape of `out`. */
  readonly epilogue: Chain | null;
  readonly profile: Profile;
}

/** out = conv(x, weight). Bindings in order: x, weight, the epilogue's operands, out. */
export function convKernel(shape: ConvShape): Kernel {
  checkConv(shape.x, shape.weight, shape.out, shape.stride, shape.padding);
  const [, inner, size] = shape.weight.shape;
  return gatherKernel({
    ...shape,
    name: "conv",
    source: shape.x,
    size,
    weightOffset: shape.weight.offset,
    weightStrides: [inner * size * size, size * size, 1],
    adjoint: false,
  });
}

/** out = the adjoint of x -> conv(x, weight), applied to `gradient`; reflected, of 3 x 3 taps at most. Bindings: gradient, weight, the epilogue's, out. */
export function convInputGradientKernel(shape: ConvInputGradientShape): Kernel {
  checkConv(shape.out, shape.weight, shape.gradient, shape.stride, shape.padding);
  const [, inner, size] = shape.weight.shape;
  const taps = size * size;
  const reflected = shape.padding === "reflect" && size > 1;
  if (reflected && size > 3) throw new Error(`Bug: an adjoint of reflection with ${size} x ${size} taps`);
  const plain = shape.stride === 1;
  return gatherKernel({
    ...shape,
    padding: reflected ? "fold" : "zero",
    name: "conv_input_gradient",
    source: shape.gradient,
    size,
    weightOffset: shape.weight.offset + (plain ? taps - 1 : 0),
    weightStrides: [taps, inner * taps, plain ? -1 : 1],
    adjoint: !plain,
  });
}

function gatherKernel(g: Gather): Kernel {
  const [batch, inner, sourceHeight, sourceWidth] = g.source.shape;
  const [, outer, height, width] = g.out.shape;
  const direct = g.profile.name === "workgroup" && isDirect(g);
  const tiled = g.profile.name === "workgroup" && !direct;
  const subgroups = g.profile.name === "subgroup8";
  const software = !tiled && !direct;
  const windowed = software && !g.adjoint;
  const paired = software && isPaired(g);
  const tile = tileFor(outer);
  // With subgroups a weight is loaded once for 8 lanes, so many channels pay; without, every lane loads all of its own.
  // 128 sums a lane are a tenth faster than 64 at stride 1 and no faster elsewhere; more are slower.
  const share = paired
    ? { channels: subgroups ? 16 : 8, units: 1 }
    : windowed
    ? (subgroups ? { channels: 16, units: g.size === 3 && g.stride === 1 ? 2 : 1 } : { channels: 8, units: 2 })
    : (subgroups ? { channels: 16, units: 4 } : { channels: 8, units: 8 });
  const phases = g.adjoint ? g.stride : 1;
  const columnPhases = paired ? 1 : phases;
  const rowUnits = ceilDiv(width, paired ? PAIRED : windowed || direct ? 4 : phases);
  const units = ceilDiv(height, phases) * rowUnits;
  const channels = direct ? directChannels(outer, units) : tiled ? tile.rows : share.channels;
  const tiles = ceilDiv(units, direct ? DIRECT_LANES : tiled ? tile.columns : share.units * LANES);
  const channelTiles = ceilDiv(outer, channels);
  const chain = renderChain(g.epilogue, "e");
  const head = `
  let id = group.x + group.y * groups.x;
  let tile = id % p.tiles;
  let c0 = (id / p.tiles) % p.channel_tiles * ${channels};
  let rest = id / (p.tiles * p.channel_tiles);
  let b = min(rest / ${phases * columnPhases}, p.batch - 1);
  let phase_y = rest / ${columnPhases} % ${phases};
  let phase_x = rest % ${columnPhases};
  let real = rest < p.batch * ${phases * columnPhases};
  let plane = p.source_height * p.source_width;
  ${subgroups || tiled || direct ? "" : "let lane = local_index;"}`;
  const body = direct
    ? directBody(g, channels, chain.apply)
    : tiled
    ? tiledBody(g, chain.apply)
    : paired
    ? pairsBody(g, channels, subgroups, chain.apply)
    : windowed
    ? windowBody(g, share, subgroups, chain.apply)
    : tapBody(g, share, subgroups, chain.apply);
  return kernel({
    name: g.name,
    bindings: [
      { name: "source", access: "read", ...(windowed || paired ? { element: "vec4f" } : {}) },
      { name: "weight", access: "read" },
      ...chain.bindings,
      { name: "result", access: "write" },
    ],
    params: {
      batch,
      inner,
      source_offset: g.source.offset,
      source_height: sourceHeight,
      source_width: sourceWidth,
      outer,
      out_offset: g.out.offset,
      height,
      width,
      row_units: rowUnits,
      tiles,
      channel_tiles: channelTiles,
      weight_offset: g.weightOffset,
      weight_outer: g.weightStrides[0],
      weight_inner: g.weightStrides[1],
      weight_tap: g.weightStrides[2],
      ...chain.params,
    },
    workgroup: [direct ? DIRECT_LANES : tiled ? INVOCATIONS : LANES, 1, 1],
    grid: foldGrid(tiles * channelTiles * phases * columnPhases * batch),
    subgroups,
    prelude: direct ? directPrelude(channels) : tiled ? tilePrelude(tile) + underFunction(g) : "",
    body: head + body,
    cost: {
      flops: 2 * sizeOf(g.out.shape) * inner * g.size ** 2 / phases ** 2,
      bytes: 4 * (sizeOf(g.source.shape) + sizeOf(g.out.shape) + outer * inner * g.size ** 2),
    },
  });
}
