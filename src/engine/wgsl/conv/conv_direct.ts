/**
 * The 3 x 3 convolution of stride 1 on a GPU, and with the weight turned around its adjoint: see conv_gather.ts for the formula and the names.
 *
 * A lane owns a quad of pixels that follow each other in a row, in up to 16 channels. Three quads of the source and their neighbours serve 9 taps of all its channels, so
 * the source needs no workgroup memory; the weights do, which all lanes read alike. Where rows and columns lie is found once, before the loop over the summed channels.
 */
import { BUSY, ceilDiv } from "../template.ts";
import { each, range } from "../unroll.ts";
import { type Apply, type Gather, reflect, store } from "./conv_gather.ts";

/** Lanes of a workgroup, and the summed channels whose weights it holds at a time: a lane fetches one tap of one of them, and 64 lanes have room for 4 of 9 taps. */
export const DIRECT_LANES = 64;
const HELD = 4;
const TAPS = 9;

/** Whether it serves this convolution. */
export function isDirect({ size, stride, adjoint }: Gather): boolean {
  return size === 3 && stride === 1 && !adjoint;
}

/** Channels a lane: as many as leave workgroups enough. */
export function directChannels(outer: number, quads: number): number {
  const enough = [16, 8, 4].find((channels) => ceilDiv(quads, DIRECT_LANES) * ceilDiv(outer, channels) >= BUSY);
  return Math.min(enough ?? 4, outer <= 4 ? 4 : outer <= 8 ? 8 : 16);
}

/** Whether four words of the source can be taken at once. */
const inQuads = ({ source: { offset, shape: [, , , width] } }: Gather) => width % 4 === 0 && offset % 4 === 0;

/** [held channel and tap][quad of output channels]; as long as there are lanes, so that those without a tap need no guard. */
export function directPrelude(channels: number): string {
  return `
var<workgroup> held: array<array<vec4f, ${channels / 4}>, ${DIRECT_LANES}>;
`;
}

export function directBody(g: Gather, channels: number, apply: Apply): string {
  const quads = inQuads(g);
  const folds = g.padding === "fold";
  const zero = g.padding !== "reflect";
  const [rows, columns, sums] = [range(3), range(6), range(channels)];
  const place = (at: string, side: string) => zero ? `clamp(${at}, 0, p.${side} - 1)` : reflect(at, side);
  // Columns x - 1 … x + 4; in quads only the two at the ends can lie outside.
  const edge = (k: number) => !quads || k === 0 || k === 5;
  const word = (row: number, k: number) =>
    quads && k > 0 && k < 5 ? `quad${row}[${k - 1}]` : `source[plane_at + row${row} + column${k}]`;
  const masked = (row: number, k: number) =>
    !zero
      ? word(row, k)
      : edge(k)
      ? `select(0.0, ${word(row, k)}, in_row${row} && in_column${k})`
      : `select(0.0, ${word(row, k)}, in_row${row})`;
  const four = (row: number, first: number) => `vec4f(${range(4).map((i) => `w${row}_${first + i}`).join(", ")})`;
  // Folding: as in conv_software.ts, but rows are added as they are read.
  const under = (row: number, column: number) =>
    folds && column === 0
      ? `fma(${four(row, 2)}, right, ${four(row, 0)})`
      : folds && column === 2
      ? `fma(vec4f(w${row}_1), left, ${four(row, 2)})`
      : four(row, column);
  const mirrored = (row: 0 | 2) => `
      if (y == ${row === 0 ? "p.height - 2" : "1"}) {
        let line = plane_at + ${row === 0 ? "(p.source_height - 1) * p.source_width" : "0"};
        ${each(columns, (k) => `w${row}_${k} += select(0.0, source[line + column${k}], in_column${k});`)}
      }`;
  const tap = (row: number, column: number) => `
      {
        let under = ${under(row, column)};
        let weights = held[a * ${TAPS} + ${row * 3 + column}];
        ${each(sums, (c) => `s${c} = fma(vec4f(weights[${c >> 2}][${c & 3}]), under, s${c});`)}
      }`;
  return `
  let quad = tile * ${DIRECT_LANES} + local_index;
  let y = quad / p.row_units;
  let x = quad % p.row_units * 4;
  ${
    each(range(4), (i) => `
  let y${i} = y;
  let x${i} = x + ${i};
  let inside${i} = real && y < p.height && x${i} < p.width;`)
  }
  ${
    each(rows, (row) => `
  let in_row${row} = y + ${row} >= 1 && y + ${row} <= p.source_height;
  let row${row} = ${place(`y + ${row} - 1`, "source_height")} * p.source_width;`)
  }
  ${
    each(columns.filter((k) => folds || edge(k)), (k) => `
  let in_column${k} = x + ${k} >= 1 && x + ${k} <= p.source_width;
  let column${k} = ${place(`x + ${k} - 1`, "source_width")};`)
  }
  ${quads ? "let column = min(x, p.source_width - 4) / 4;" : ""}
  ${
    folds
      ? `let left = vec4f(0.0, select(0.0, 1.0, x == 0), 0.0, 0.0);
  let right = select(vec4f(), vec4f(1.0), vec4<i32>(x0, x1, x2, x3) == vec4<i32>(p.width - 2));`
      : ""
  }
  ${each(sums, (c) => `var s${c} = vec4f();`)}
  var plane_at = p.source_offset + b * p.inner * plane;
  let own_a = local_index / ${TAPS};
  var weight_at = p.weight_offset + own_a * p.weight_inner + local_index % ${TAPS} * p.weight_tap;
  for (var a0 = 0; a0 < p.inner; a0 += ${HELD}) {
    ${each(range(channels), (c) => `let word${c} = weight[weight_at + min(c0 + ${c}, p.outer - 1) * p.weight_outer];`)}
    ${
    each(range(channels / 4), (q) =>
      `held[local_index][${q}] = vec4f(${
        range(4).map((c) => `word${4 * q + c}`).join(", ")
      });`)
  }
    weight_at = select(weight_at, weight_at + ${HELD} * p.weight_inner, own_a < ${HELD});
    workgroupBarrier();
    for (var a = 0; a < min(${HELD}, p.inner - a0); a++) {
      ${
    quads
      ? each(rows, (row) => `
      let quad_at${row} = (plane_at + row${row}) / 4 + column;
      let quad${row} = vec4f(${range(4).map((i) => `source[quad_at${row} * 4 + ${i}]`).join(", ")});`)
      : ""
  }
      ${each(rows, (row) => each(columns, (k) => `${folds ? "var" : "let"} w${row}_${k} = ${masked(row, k)};`))}
      ${folds ? mirrored(0) + mirrored(2) : ""}
      ${each(rows, (row) => each(range(3), (column) => tap(row, column)))}
      plane_at += plane;
    }
    workgroupBarrier();
  }
  ${store("c0", channels, 4, (c, i) => `s${c}[${i}]`, apply)}`;
}
