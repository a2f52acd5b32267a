/**
 * Convolution bodies for software adapters, with subgroups of 8 or without: windows for the forward direction, single taps
 * for adjoints (formula and names: conv_gather.ts; those of 3 x 3 taps: conv_pairs.ts).
 *
 * What costs there is a load, about ten multiply-adds of a vector, and what is free is to broadcast within a subgroup. So a
 * group of 8 lanes holds many sums in registers, loads little, and uses neither workgroup memory nor barriers. Loops over
 * channels stay rolled: longer texts were slower to run and much slower to compile.
 */
import { type Apply, firstTaps, type Gather, LANES, reflect, store, type Taps } from "./conv_gather.ts";
import { each, range } from "../unroll.ts";
import { windowLoads } from "../window.ts";

/** What one invocation owns: output channels, and units of pixels (quads in a window, else single ones). */
export interface Share {
  readonly channels: number;
  readonly units: number;
}

/**
 * A lane owns quads of four pixels in a row. For each channel and row of taps it reads the 3 * stride + k source pixels under
 * them by aligned vec4 loads (a load costs about the same for one word and for four) and shifts them into place, so that any
 * row length will do; then it walks the k taps of the row. The border costs a select. Weights: lane = output channel, one
 * load a tap, then a broadcast.
 *
 * Folding (3 x 3, stride 1): the last tap of pixel 1 also sees pixel 0, which lies under it by reflection, and the first tap of
 * the last pixel but one sees the last. Along a row that is an fma; other rows are read only by groups that hold such pixels.
 */
export function windowBody(g: Gather, share: Share, subgroups: boolean, apply: Apply): string {
  const { size, stride } = g;
  const channels = range(share.channels);
  const quads = range(share.units);
  const four = range(4);
  const p = (size - 1) / 2;
  const length = 3 * stride + size;
  const folds = g.padding === "fold";

  const load = (v: number) => `
    ${sourceRow(g, v, `row${v}`, "ky")}
    ${windowLoads("source", `${v}`, `plane_at + from${v} * p.source_width + column${v}`, length)}
    ${borderColumns(g, v, length)}
    ${folds ? foldedRow(v, length, { row: `row${v}`, top: 2, bottom: 0 }) + foldedColumns(v) : ""}`;
  /** What tap t of quad v's pixel j sees. */
  const under = (v: number, j: number, t: number) =>
    folds && t === 0 ? `first_tap${v}_${j}` : folds && t === 2 && j === 1 ? `last_tap${v}` : `v${v}_${j * stride + t}`;

  return `
  ${
    each(quads, (v) => `
  let unit${v} = tile * ${share.units * LANES} + ${v * LANES} + lane;
  let row${v} = unit${v} / p.row_units;
  let first${v} = unit${v} % p.row_units * 4;
  let column${v} = first${v} * ${stride} - ${p};
  ${folds ? foldedPixels(v) : ""}
  ${each(four, (j) => `let y${4 * v + j} = row${v}; let x${4 * v + j} = first${v} + ${j};`)}`)
  }
  ${each(range(share.units * 4), (i) => `let inside${i} = real && y${i} < p.height && x${i} < p.width;`)}
  ${each(channels, (c) => each(range(share.units * 4), (i) => `var a${c}_${i} = 0.0;`))}
  ${weightAddresses(channels, subgroups)}
  var plane_at = p.source_offset + b * p.inner * plane;
  var w_step = 0;
  var ky = 0;
  ${folds ? foldedRows(g, share.units) : ""}
  let steps = p.inner * ${size};
  for (var s = 0; s < steps; s++) {
    ${each(quads, load)}
    ${each(range(size), (t) => weightLoads(channels, subgroups, `_${t}`, `w_step + ${t} * p.weight_tap`))}
    ${
    each(channels, (c) => {
      const factors = range(size).map((t) => `let f${t} = ${weightFactor(c, subgroups, `_${t}`)};`);
      // All taps of a sum at once: sums do not fit in registers, so each is fetched and put back once a row of taps.
      const sums = quads.flatMap((v) =>
        four.map((j) => {
          const chain = range(size).reduce(
            (sum, t) => `fma(f${t}, ${under(v, j, t)}, ${sum})`,
            `a${c}_${4 * v + j}`,
          );
          return `a${c}_${4 * v + j} = ${chain};`;
        })
      );
      return `{ ${factors.join(" ")} ${sums.join(" ")} }`;
    })
  }
    ky++;
    w_step += ${size} * p.weight_tap;
    if (ky == ${size}) {
      ky = 0;
      plane_at += plane;
      w_step += p.weight_inner - ${size * size} * p.weight_tap;
    }
  }
  ${store("c0", share.channels, share.units * 4, (c, i) => `a${c}_${i}`, apply)}`;
}

/** `top`, `bottom`: whether a group has pixels of row 1, and of the last row but one. */
export function foldedRows({ adjoint, stride }: Gather, units: number): string {
  // The adjoint's rows are every stride-th, from its phase on.
  const row = (unit: string) => `(${unit}) / p.row_units${adjoint ? ` * ${stride} + phase_y` : ""}`;
  return `
  let first_row = ${row(`tile * ${units * LANES}`)};
  let last_row = ${row(`tile * ${units * LANES} + ${units * LANES - 1}`)};
  let top = first_row <= 1 && last_row >= 1;
  let bottom = first_row <= p.height - 2 && last_row >= p.height - 2;`;
}

/** What the rows of pixels need to know of their mirror images: the pixel row, and the taps that see those above the first row and below the last. */
interface Mirrored {
  readonly row: string;
  readonly top: number;
  readonly bottom: number;
}

/** Adds to the words of a source row those of the row that its pixels' mirror images lie in. */
export function foldedRow(v: number, length: number, { row, top, bottom }: Mirrored): string {
  return `
    if ((top && ky == ${top}) || (bottom && ky == ${bottom})) {
      let line = select(p.source_height - 1, 0, ky == ${top});
      let end = select(0u, u32(p.source_width), ${row} == select(p.height - 2, 1, ky == ${top}));
      ${windowLoads("source", `${v}`, `plane_at + line * p.source_width + column${v}`, length)}
      ${each(range(length), (i) => `v${v}_${i} += select(0.0, raw${v}_${i}, u32(column${v} + ${i}) < end);`)}
    }`;
}

/** 1 for pixels that are the last but one of their row, and for a second one; else 0. */
function foldedPixels(v: number): string {
  return `
  let left${v} = select(0.0, 1.0, first${v} == 0);
  ${each(range(4), (j) => `let right${v}_${j} = select(0.0, 1.0, first${v} + ${j} == p.width - 2);`)}`;
}

/** What the outer taps of a row see: the pixel under them, and that of which it is the mirror image. */
function foldedColumns(v: number): string {
  return `
    let last_tap${v} = fma(v${v}_1, left${v}, v${v}_3);
    ${each(range(4), (j) => `let first_tap${v}_${j} = fma(v${v}_${j + 2}, right${v}_${j}, v${v}_${j});`)}`;
}

/** `from{v}`: the source row under tap row `tap` of output row `row`; `end{v}`: how many of its columns count, all or none. */
export function sourceRow(g: Taps, v: number, row: string, tap: string): string {
  const p = (g.size - 1) / 2;
  const from = g.padding === "reflect"
    ? reflect(`over${v}`, "source_height")
    : `clamp(over${v}, 0, p.source_height - 1)`;
  return `
    let over${v} = ${row} * ${g.stride} + ${tap} - ${p};
    let from${v} = ${from};
    let end${v} = select(0u, u32(p.source_width), over${v} == from${v});`;
}

/** `v{v}_i`: the words `raw{v}_i` of a source row from `column{v}` on, with what lies outside it set to zero or reflected. */
export function borderColumns(g: Taps, v: number, length: number): string {
  const p = (g.size - 1) / 2;
  if (g.padding !== "reflect") {
    const kind = g.padding === "fold" ? "var" : "let"; // rows that mirror images lie in are added
    return each(
      range(length),
      (i) => `${kind} v${v}_${i} = select(0.0, raw${v}_${i}, u32(column${v} + ${i}) < end${v});`,
    );
  }
  return each(range(length), (i) => {
    // A window that begins with the first output pixel is the only one to see columns left of the source.
    const left = i < p ? `select(raw${v}_${i}, raw${v}_${2 * p - i}, column${v} == ${-p})` : `raw${v}_${i}`;
    const value = range(p).map((d) => d + 1).filter((d) => i >= 2 * d).reduce(
      (text, d) => `select(${text}, raw${v}_${i - 2 * d}, column${v} + ${i} == p.source_width - 1 + ${d})`,
      left,
    );
    return `let v${v}_${i} = ${value};`;
  });
}

export function weightAddresses(channels: readonly number[], subgroups: boolean): string {
  const at = (name: number, channel: string) =>
    `let w_at${name} = p.weight_offset + min(c0 + ${channel}, p.outer - 1) * p.weight_outer;`;
  return subgroups
    ? each(range(channels.length / LANES), (v) => at(v, `${v * LANES} + lane`))
    : each(channels, (c) => at(c, `${c}`));
}

export function weightLoads(channels: readonly number[], subgroups: boolean, suffix: string, step: string): string {
  const names = subgroups ? range(channels.length / LANES) : channels;
  return each(names, (v) => `let w${v}${suffix} = weight[w_at${v} + ${step}];`);
}

export function weightFactor(c: number, subgroups: boolean, suffix: string): string {
  return subgroups ? `subgroupBroadcast(w${Math.floor(c / LANES)}${suffix}, ${c % LANES}u)` : `w${c}${suffix}`;
}

/**
 * A lane owns single pixels of one phase, 8 apart, and walks all taps of all channels in one flat loop; the lanes of a group
 * follow each other in memory, whatever the row length.
 */
export function tapBody(g: Gather, share: Share, subgroups: boolean, apply: Apply): string {
  const channels = range(share.channels);
  const pixels = range(share.units);
  const p = (g.size - 1) / 2;
  const inRange = (value: string, side: string) => `${value} >= 0 && ${value} < p.${side}`;
  const load = (i: number) => `
    let row${i} = (y${i} + ${p} - ky) / ${g.stride};
    let column${i} = (x${i} + ${p} - kx) / ${g.stride};
    let load${i} = source[plane_at + clamp(row${i}, 0, p.source_height - 1) * p.source_width + clamp(column${i}, 0, p.source_width - 1)];
    let v${i} = select(0.0, load${i}, ${inRange(`row${i}`, "source_height")} && ${
    inRange(`column${i}`, "source_width")
  });`;
  return `
  ${
    each(pixels, (i) => `
  let q${i} = tile * ${share.units * LANES} + ${i * LANES} + lane;
  let y${i} = q${i} / p.row_units * ${g.stride} + phase_y;
  let x${i} = q${i} % p.row_units * ${g.stride} + phase_x;
  let inside${i} = real && y${i} < p.height && x${i} < p.width;`)
  }
  ${weightAddresses(channels, subgroups)}
  ${each(channels, (c) => each(pixels, (i) => `var a${c}_${i} = 0.0;`))}
  ${firstTaps(g)}
  let steps = p.inner * taps_y * taps_x;
  var ky = first_y;
  var kx = first_x;
  var plane_at = p.source_offset + b * p.inner * plane;
  var w_plane = 0;
  for (var s = 0; s < steps; s++) {
    ${weightLoads(channels, subgroups, "", `w_plane + (ky * ${g.size} + kx) * p.weight_tap`)}
    ${each(pixels, load)}
    ${
    each(channels, (c) => {
      const sums = pixels.map((i) => `a${c}_${i} = fma(f, v${i}, a${c}_${i});`);
      return `{ let f = ${weightFactor(c, subgroups, "")}; ${sums.join(" ")} }`;
    })
  }
    kx += ${g.stride};
    if (kx >= ${g.size}) {
      kx = first_x;
      ky += ${g.stride};
      if (ky >= ${g.size}) {
        ky = first_y;
        plane_at += plane;
        w_plane += p.weight_inner;
      }
    }
  }
  ${store("c0", share.channels, share.units, (c, i) => `a${c}_${i}`, apply)}`;
}
