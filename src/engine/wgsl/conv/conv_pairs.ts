/**
 * The adjoint of a 3 x 3 convolution of stride 2 for software adapters (formula and names: conv_gather.ts). Along a row, a source column lies
 * under the middle tap of an even pixel and under outer taps of its neighbours:
 *
 *   out[2j] = source[j] * weight[1]        out[2j + 1] = source[j + 1] * weight[0] + source[j] * weight[2]
 *
 * So a lane owns four pairs of pixels in a row and reads the five columns under them by aligned vec4 loads. Rows are visited by phases: even
 * ones lie under the middle tap alone. Folding is as in windows (conv_software.ts).
 */
import { type Apply, firstTaps, type Gather, LANES, store } from "./conv_gather.ts";
import { foldedRow, foldedRows, weightAddresses, weightFactor, weightLoads } from "./conv_software.ts";
import { each, range } from "../unroll.ts";
import { windowLoads } from "../window.ts";

const PAIRS = 4;
/** Pixels of a lane. */
export const PAIRED = 2 * PAIRS;

/** Whether it serves this convolution. */
export function isPaired({ size, stride, adjoint }: Gather): boolean {
  return size === 3 && stride === 2 && adjoint;
}

/** `count`: output channels of a lane. */
export function pairsBody(g: Gather, count: number, subgroups: boolean, apply: Apply): string {
  const [channels, pixels, pairs, taps] = [range(count), range(PAIRED), range(PAIRS), range(3)];
  const columns = range(PAIRS + 1);
  const folds = g.padding === "fold";
  // What the first and the last tap of pair j's odd pixel see: mirror images are those of pixel 1 and of the last but one.
  const first = (j: number) => folds && j === 0 ? "fma(v0_0, left, v0_1)" : `v0_${j + 1}`;
  const last = (j: number) => folds ? `fma(v0_${j + 1}, right${j}, v0_${j})` : `v0_${j}`;
  return `
  let unit = tile * ${LANES} + lane;
  let row = unit / p.row_units;
  let y = 2 * row + phase_y;
  let column0 = unit % p.row_units * ${PAIRS};
  ${each(pixels, (i) => `let y${i} = y; let x${i} = 2 * column0 + ${i};`)}
  ${each(pixels, (i) => `let inside${i} = real && y < p.height && x${i} < p.width;`)}
  ${
    folds
      ? `let left = select(0.0, 1.0, column0 == 0);
  ${each(pairs, (j) => `let right${j} = select(0.0, 1.0, x${2 * j + 1} == p.width - 2);`)}
  ${foldedRows(g, 1)}`
      : ""
  }
  ${each(channels, (c) => each(pixels, (i) => `var a${c}_${i} = 0.0;`))}
  ${weightAddresses(channels, subgroups)}
  ${firstTaps(g)}
  let steps = p.inner * taps_y;
  var ky = first_y;
  var plane_at = p.source_offset + b * p.inner * plane;
  var w_plane = 0;
  for (var s = 0; s < steps; s++) {
    let over = row + select(0, 1, ky == 0);
    let line = min(over, p.source_height - 1);
    let end = select(0u, u32(p.source_width), over == line);
    ${windowLoads("source", "0", "plane_at + line * p.source_width + column0", columns.length)}
    ${each(columns, (i) => `var v0_${i} = select(0.0, raw0_${i}, u32(column0 + ${i}) < end);`)}
    ${folds ? foldedRow(0, columns.length, { row: "y", top: 0, bottom: 2 }) : ""}
    ${each(pairs, (j) => `let first${j} = ${first(j)}; let last${j} = ${last(j)};`)}
    ${each(taps, (t) => weightLoads(channels, subgroups, `_${t}`, `w_plane + (ky * 3 + ${t}) * p.weight_tap`))}
    ${
    each(channels, (c) => {
      const factors = taps.map((t) => `let f${t} = ${weightFactor(c, subgroups, `_${t}`)};`);
      const sums = pairs.map((j) => {
        const [even, odd] = [`a${c}_${2 * j}`, `a${c}_${2 * j + 1}`];
        return `${even} = fma(f1, v0_${j}, ${even}); ${odd} = fma(f2, last${j}, fma(f0, first${j}, ${odd}));`;
      });
      return `{ ${factors.join(" ")} ${sums.join(" ")} }`;
    })
  }
    ky += 2;
    if (ky > 2) {
      ky = first_y;
      plane_at += plane;
      w_plane += p.weight_inner;
    }
  }
  ${store("c0", count, PAIRED, (c, i) => `a${c}_${i}`, apply)}`;
}
