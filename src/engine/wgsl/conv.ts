/**
 * Two-dimensional convolution and its adjoint with respect to the image, as one gather over output pixels:
 *
 *   out[b, c, y, x] = sum over a, ky, kx of source[b, a, row(y, ky), column(x, kx)] * weight[c, a, ky, kx]
 *
 * c counts output channels, a the channels summed over, (ky, kx) the taps. Forward, row = y * stride + ky - padding, read
 * as zero or reflected outside. The adjoint reads row = (y + padding - ky) / stride where that is a whole number: its
 * pixels are visited by parity class ("phase"), each of which is a convolution of stride 1 with every stride-th tap. Under
 * reflection a pixel near the border also stands for its mirror images outside: those are further passes ("folds").
 *
 * Sizes, channel counts and the strides of the weight are parameters, so that all layers share a few texts; the adjoint of
 * stride 1 with zero padding has the very text of the forward kernel, with the taps in reverse.
 */
import type { Chain, Kernel, Profile } from "../ir/program.ts";
import { EngineError, type Layout, sizeOf } from "../ir/type.ts";
import { type Binding, ceilDiv, foldGrid, kernel, renderChain } from "./template.ts";

export type Padding = "zero" | "reflect";

export interface ConvShape {
  /** [B, Cin, H, W] */
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
  /** [B, Cout, Ho, Wo] */
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

/** out = conv(x, weight). */
export function convKernel(shape: ConvShape): Kernel {
  checkConv(shape.x, shape.weight, shape.out, shape.stride, shape.padding);
  const [, inner, size] = shape.weight.shape;
  return gather({
    ...shape,
    name: "conv",
    source: shape.x,
    size,
    weightOffset: shape.weight.offset,
    weightStrides: [inner * size * size, size * size, 1],
    adjoint: false,
  });
}

/** out = the adjoint of x -> conv(x, weight), applied to `gradient`. */
export function convInputGradientKernel(shape: ConvInputGradientShape): Kernel {
  checkConv(shape.out, shape.weight, shape.gradient, shape.stride, shape.padding);
  const [, inner, size] = shape.weight.shape;
  const taps = size * size;
  const plain = shape.stride === 1 && shape.padding === "zero";
  return gather({
    ...shape,
    name: "conv_input_gradient",
    source: shape.gradient,
    size,
    weightOffset: shape.weight.offset + (plain ? taps - 1 : 0),
    weightStrides: [taps, inner * taps, plain ? -1 : 1],
    adjoint: !plain,
  });
}

/** Refuses shapes that are not one convolution's. */
export function checkConv(x: Layout, weight: Layout, out: Layout, stride: number, padding: Padding): void {
  const [batch, inner, height, width] = x.shape;
  const [outer, expected, size] = weight.shape;
  const p = (size - 1) / 2;
  const text = `Cannot conv2d [${x.shape}] with [${weight.shape}], stride ${stride}, to [${out.shape}]`;
  const side = (length: number) => Math.floor((length + 2 * p - size) / stride) + 1;
  const wanted = [batch, outer, side(height), side(width)];
  if (inner !== expected) throw new EngineError(`${text}: input has ${inner} channels, weight expects ${expected}`);
  if (size % 2 !== 1 || weight.shape[3] !== size) throw new EngineError(`${text}: kernel must be square and odd`);
  if (stride !== 1 && stride !== 2) throw new EngineError(`${text}: stride must be 1 or 2`);
  if (wanted.some((length, axis) => length !== out.shape[axis])) {
    throw new EngineError(`${text}: output must be [${wanted}]`);
  }
  if (padding === "reflect" && p >= Math.min(height, width)) {
    throw new EngineError(`${text}: reflection by ${p} needs sides above ${p}`);
  }
}

interface Gather {
  readonly name: string;
  readonly source: Layout;
  readonly out: Layout;
  readonly size: number;
  readonly stride: number;
  readonly padding: Padding;
  readonly adjoint: boolean;
  readonly weightOffset: number;
  /** Of the output channel, the summed channel, and the tap. */
  readonly weightStrides: readonly [number, number, number];
  readonly epilogue: Chain | null;
  readonly profile: Profile;
}

const TILE_CHANNELS = 16;
const VECTORS = 4;
const LANES = 8;

/**
 * One 8-lane subgroup owns 16 output channels of 32 pixels that follow each other in memory (any row length is fine), and
 * walks all taps of all channels in one flat loop: a tap costs two loads of weights (lane = output channel, then broadcast)
 * and four of pixels (lane = pixel). Without subgroups every lane loads its 16 weights itself.
 */
function gather(g: Gather): Kernel {
  const subgroups = g.profile.name === "subgroup8";
  const [batch, inner, sourceHeight, sourceWidth] = g.source.shape;
  const [, outer, height, width] = g.out.shape;
  const chain = renderChain(g.epilogue, "e");
  const phases = g.adjoint ? g.stride : 1;
  const phaseWidth = ceilDiv(width, phases);
  const pixels = ceilDiv(height, phases) * phaseWidth;
  const tiles = ceilDiv(pixels, VECTORS * LANES);
  const channelTiles = ceilDiv(outer, TILE_CHANNELS);
  const bindings: Binding[] = [
    { name: "source", access: "read" },
    { name: "weight", access: "read" },
    ...chain.bindings,
    { name: "result", access: "write" },
  ];
  const flops = 2 * sizeOf(g.out.shape) * inner * g.size ** 2 / phases ** 2;
  return kernel({
    name: g.name,
    bindings,
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
      phase_width: phaseWidth,
      tiles,
      channel_tiles: channelTiles,
      weight_offset: g.weightOffset,
      weight_outer: g.weightStrides[0],
      weight_inner: g.weightStrides[1],
      weight_tap: g.weightStrides[2],
      ...chain.params,
    },
    workgroup: [LANES, 1, 1],
    grid: foldGrid(tiles * channelTiles * phases ** 2 * batch),
    subgroups,
    body: gatherBody(g, subgroups, chain.apply),
    cost: { flops, bytes: 4 * (sizeOf(g.source.shape) + sizeOf(g.out.shape) + outer * inner * g.size ** 2) },
  });
}

type Apply = ReturnType<typeof renderChain>["apply"];

function gatherBody(g: Gather, subgroups: boolean, apply: Apply): string {
  const channels = range(TILE_CHANNELS);
  const vectors = range(VECTORS);
  const p = (g.size - 1) / 2;
  const phases = g.adjoint ? g.stride : 1;
  const folds = g.adjoint && g.padding === "reflect";
  return `
  ${subgroups ? "" : "let lane = local_index;"}
  let id = group.x + group.y * groups.x;
  let tile = id % p.tiles;
  let c0 = (id / p.tiles) % p.channel_tiles * ${TILE_CHANNELS};
  let rest = id / (p.tiles * p.channel_tiles);
  let b = min(rest / ${phases * phases}, p.batch - 1);
  let phase_y = rest / ${phases} % ${phases};
  let phase_x = rest % ${phases};
  ${
    each(vectors, (i) => `
  let q${i} = tile * ${VECTORS * LANES} + ${i * LANES} + lane;
  let y${i} = q${i} / p.phase_width * ${phases} + phase_y;
  let x${i} = q${i} % p.phase_width * ${phases} + phase_x;
  let inside${i} = y${i} < p.height && x${i} < p.width && rest < p.batch * ${phases * phases};`)
  }
  let plane = p.source_height * p.source_width;
  ${each(channels, (c) => each(vectors, (i) => `var a${c}_${i} = 0.0;`))}
  ${
    folds
      ? foldLoop(vectors, p, subgroups, tapLoop(g, channels, vectors, subgroups))
      : tapLoop(g, channels, vectors, subgroups)
  }
  ${each(channels, (c) => each(vectors, (i) => store(c, i, apply)))}`;
}

/** The nine ways in which a pixel, or a mirror image of it outside the border, is the centre of taps. */
function foldLoop(vectors: readonly number[], p: number, subgroups: boolean, body: string): string {
  const mirrored = (axis: "y" | "x", side: string) => (i: number) => `
    var f${axis}${i} = ${axis}${i};
    if (fold_${axis} == 1) { f${axis}${i} = -${axis}${i}; }
    if (fold_${axis} == 2) { f${axis}${i} = 2 * (p.${side} - 1) - ${axis}${i}; }
    let on_${axis}${i} = fold_${axis} == 0 || (fold_${axis} == 1 && ${axis}${i} >= 1 && ${axis}${i} <= ${p}) ||
      (fold_${axis} == 2 && ${axis}${i} >= p.${side} - 1 - ${p} && ${axis}${i} <= p.${side} - 2);`;
  const on = vectors.map((i) => `on${i}`).join(" || ");
  return `
  for (var fold = 0; fold < 9; fold++) {
    let fold_y = fold / 3;
    let fold_x = fold % 3;
    ${each(vectors, mirrored("y", "height"))}
    ${each(vectors, mirrored("x", "width"))}
    ${each(vectors, (i) => `let on${i} = inside${i} && on_y${i} && on_x${i};`)}
    if (${subgroups ? `subgroupAny(${on})` : on}) {
      ${body}
    }
  }`;
}

function tapLoop(g: Gather, channels: readonly number[], vectors: readonly number[], subgroups: boolean): string {
  const { size, stride, adjoint } = g;
  const step = adjoint ? stride : 1;
  const p = (size - 1) / 2;
  const weightVectors = range(TILE_CHANNELS / LANES);
  const weight = subgroups
    ? each(weightVectors, (v) => `let w${v} = weight[w_at${v} + w_step];`)
    : each(channels, (c) => `let w${c} = weight[w_at${c} + w_step];`);
  const weightAt = (name: string, channel: string) =>
    `let w_at${name} = p.weight_offset + min(c0 + ${channel}, p.outer - 1) * p.weight_outer;`;
  return `
  let first_y = ${adjoint ? `(phase_y + ${p}) % ${stride}` : "0"};
  let first_x = ${adjoint ? `(phase_x + ${p}) % ${stride}` : "0"};
  ${
    subgroups
      ? each(weightVectors, (v) => weightAt(`${v}`, `${v * LANES} + lane`))
      : each(channels, (c) => weightAt(`${c}`, `${c}`))
  }
  let taps_y = (${size - 1 + step} - first_y) / ${step};
  let taps_x = (${size - 1 + step} - first_x) / ${step};
  let steps = p.inner * taps_y * taps_x;
  var ky = first_y;
  var kx = first_x;
  var plane_at = p.source_offset + b * p.inner * plane;
  var w_plane = 0;
  for (var s = 0; s < steps; s++) {
    let w_step = w_plane + (ky * ${size} + kx) * p.weight_tap;
    ${weight}
    ${each(vectors, (i) => loadPixel(g, i))}
    ${
    each(channels, (c) => {
      const factor = subgroups ? `subgroupBroadcast(w${Math.floor(c / LANES)}, ${c % LANES}u)` : `w${c}`;
      return `{ let f = ${factor}; ${vectors.map((i) => `a${c}_${i} = fma(f, v${i}, a${c}_${i});`).join(" ")} }`;
    })
  }
    kx += ${step};
    if (kx >= ${size}) {
      kx = first_x;
      ky += ${step};
      if (ky >= ${size}) {
        ky = first_y;
        plane_at += plane;
        w_plane += p.weight_inner;
      }
    }
  }`;
}

/** v_i: the source under tap (ky, kx) of pixel i, zero outside. */
function loadPixel(g: Gather, i: number): string {
  const p = (g.size - 1) / 2;
  const at = (row: string, column: string) => `source[plane_at + ${row} * p.source_width + ${column}]`;
  const inRange = (value: string, side: string) => `${value} >= 0 && ${value} < p.${side}`;
  const clamped = (value: string, side: string) => `clamp(${value}, 0, p.${side} - 1)`;
  if (!g.adjoint && g.padding === "reflect") {
    const reflected = (value: string, side: string) => `max(p.${side} - 1 - abs(p.${side} - 1 - abs(${value})), 0)`;
    return `
    let row${i} = ${reflected(`y${i} * ${g.stride} + ky - ${p}`, "source_height")};
    let column${i} = ${reflected(`x${i} * ${g.stride} + kx - ${p}`, "source_width")};
    let v${i} = ${at(`row${i}`, `column${i}`)};`;
  }
  const prefix = g.padding === "reflect" ? "f" : "";
  const position = (axis: "y" | "x") =>
    g.adjoint
      ? `(${prefix}${axis}${i} + ${p} - k${axis}) / ${g.stride}`
      : `${axis}${i} * ${g.stride} + k${axis} - ${p}`;
  const active = g.adjoint ? (g.padding === "reflect" ? `on${i} && ` : "") : "";
  return `
    let row${i} = ${position("y")};
    let column${i} = ${position("x")};
    let load${i} = ${at(clamped(`row${i}`, "source_height"), clamped(`column${i}`, "source_width"))};
    let v${i} = select(0.0, load${i}, ${active}${inRange(`row${i}`, "source_height")} && ${
    inRange(`column${i}`, "source_width")
  });`;
}

/** The epilogue reads at clamped indices outside any branch, so that loads shared by pixels or channels are merged. */
function store(c: number, i: number, apply: Apply): string {
  const chained = apply([`a${c}_${i}`], ["b", `c${c}_${i}`, `ey${c}_${i}`, `ex${c}_${i}`], `e${c}_${i}`);
  return `
  let c${c}_${i} = min(c0 + ${c}, p.outer - 1);
  let ey${c}_${i} = min(y${i}, p.height - 1);
  let ex${c}_${i} = min(x${i}, p.width - 1);
  ${chained.statements}
  if (inside${i} && c0 + ${c} < p.outer) {
    result[p.out_offset + ((b * p.outer + c0 + ${c}) * p.height + y${i}) * p.width + x${i}] = ${chained.result};
  }`;
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function each(items: readonly number[], text: (item: number) => string): string {
  return items.map(text).join("\n  ");
}
