/**
 * The gradient of a convolution with respect to its weight, on software adapters: see conv_gradient.ts for the formula and the names.
 */
import { LANES, type Taps } from "./conv_gather.ts";
import { borderColumns, type Share, sourceRow } from "./conv_software.ts";
import { each, range } from "../unroll.ts";
import { vectorsFor, windowShift } from "../window.ts";

/** Output channels, and (a, ky) pairs a lane; each pair has k sums for every channel, and 112 sums are about what registers bear. */
export function shareOf(size: number, subgroups: boolean): Share {
  const units = size === 1 ? 4 : size === 3 ? 2 : 1;
  return { channels: subgroups ? 16 : 8, units };
}

/**
 * A lane owns rows (a, ky) of the kernel and all their taps kx, for 16 output channels. It walks an image row four pixels at
 * a time: the gradient's (lane = output channel, then a broadcast) and the source's under all taps of them, both windows of
 * words at any address. A step reads only the vectors that the step before had not yet: the others are carried over.
 */
export function windowBody(taps: Taps, share: Share, subgroups: boolean): string {
  const { size, stride } = taps;
  const channels = range(share.channels);
  const units = range(share.units);
  const four = range(4);
  const sums = (text: (sum: string) => string) =>
    each(channels, (c) => units.flatMap((v) => range(size).map((t) => text(`${c}_${v}_${t}`))).join(" "));
  const length = 3 * stride + size;
  const width = share.units * size;
  const gradients = subgroups ? range(share.channels / LANES) : channels;
  const factor = (c: number, j: number) =>
    subgroups ? `subgroupBroadcast(g${Math.floor(c / LANES)}_${j}, ${c % LANES}u)` : `g${c}_${j}`;
  /** Declares what a window carries from step to step; `step` reads the rest and moves on by `advance` vectors. */
  const carried = (array: string, name: string, words: number, advance: number) => {
    const kept = range(vectorsFor(words) - advance);
    return {
      begin: `
    var quad${name} = at${name} >> 2u;
    ${each(kept, (i) => `var carry${name}_${i} = ${array}[quad${name} + ${i}];`)}`,
      step: `
      ${each(kept, (i) => `let load${name}_${i} = carry${name}_${i};`)}
      ${each(range(advance), (i) => `let load${name}_${kept.length + i} = ${array}[quad${name} + ${kept.length + i}];`)}
      ${each(kept, (i) => `carry${name}_${i} = load${name}_${i + advance};`)}
      quad${name} += ${advance};
      ${windowShift(name, words)}`,
    };
  };
  // Where no output pixel is, the gradient is 0, but what stands beside the row may be a NaN, which a product with 0 keeps.
  const within = (i: number, v: number) =>
    taps.padding === "zero"
      ? `v${v}_${i}`
      : `select(0.0, v${v}_${i}, column${v} + ${i} < p.source_width + ${(size - 1) / 2})`;
  const source = units.map((v) => carried("source", `${v}`, length, stride));
  const gradient = gradients.map((v) => carried("gradient", `_g${v}`, 4, 1));
  return `
  ${subgroups ? "" : "let lane = local_index;"}
  ${
    each(units, (v) => `
  let n${v} = column_tile * ${share.units * LANES} + ${v * LANES} + lane;
  let a${v} = min(n${v} / ${size}, p.inner - 1);
  let ky${v} = n${v} % ${size};`)
  }
  ${sums((sum) => `var t${sum} = 0.0;`)}
  for (var r = first; r < last; r++) {
    let b = r / p.height;
    let y = r % p.height;
    ${
    each(units, (v) => `
    ${sourceRow(taps, v, "y", `ky${v}`)}
    let at${v} = p.source_offset + ((b * p.inner + a${v}) * p.source_height + from${v}) * p.source_width - ${
      (size - 1) / 2
    };
    ${source[v].begin}`)
  }
    ${
    each(gradients, (v) => `
    let channel${v} = min(c0 + ${subgroups ? `${v * LANES} + lane` : v}, p.outer - 1);
    let at_g${v} = p.gradient_offset + ((b * p.outer + channel${v}) * p.height + y) * p.width;
    ${gradient[v].begin}`)
  }
    ${sums((sum) => `var s${sum} = 0.0;`)}
    for (var x = 0; x < p.width; x += 4) {
      ${
    each(units, (v) => `
      let column${v} = x * ${stride} - ${(size - 1) / 2};
      ${source[v].step}
      ${borderColumns(taps, v, length)}
      ${each(range(length), (i) => `let u${v}_${i} = ${within(i, v)};`)}`)
  }
      ${
    each(gradients, (v) => `
      ${gradient[v].step}
      ${each(four, (j) => `let g${v}_${j} = select(0.0, raw_g${v}_${j}, x + ${j} < p.width);`)}`)
  }
      ${
    each(four, (j) =>
      each(channels, (c) => {
        const text = units.flatMap((v) =>
          range(size).map((t) => `s${c}_${v}_${t} = fma(f, u${v}_${j * stride + t}, s${c}_${v}_${t});`)
        );
        return `{ let f = ${factor(c, j)}; ${text.join(" ")} }`;
      }))
  }
    }
    ${sums((sum) => `t${sum} += s${sum};`)}
  }
  // By way of an array and in a loop: unrolled stores take the driver long to compile.
  var sums: array<f32, ${share.channels * width}>;
  ${
    each(channels, (c) =>
      each(units, (v) => each(range(size), (t) => `sums[${c * width + v * size + t}] = t${c}_${v}_${t};`)))
  }
  if (split >= p.splits) { return; }
  for (var m = 0; m < ${share.channels}; m++) {
    if (c0 + m >= p.outer) { break; }
    let row = p.out_offset + (split * p.outer + c0 + m) * p.columns;
    ${
    each(units, (v) => `
    if (n${v} < p.inner * ${size}) {
      ${each(range(size), (t) => `result[row + n${v} * ${size} + ${t}] = sums[m * ${width} + ${v * size + t}];`)}
    }`)
  }
  }`;
}
