/**
 * The gradient of a 3 x 3 convolution with respect to its weight, on a GPU: see conv_gradient.ts for the formula and the names.
 *
 * A workgroup walks the rows of its chunk by spans of 16 pixels. It holds a span of the gradient in all its output channels, and of the source, with what lies under the
 * outermost taps, in all its summed ones; a lane keeps the 9 taps of 4 or 8 output channels and one summed channel. So a word of the source is read once for nine taps,
 * and nothing is divided on the way.
 */
import { each, range } from "../unroll.ts";
import { reflect, type Taps } from "./conv_gather.ts";

/** Pixels of a span, and the quads they are. */
const SPAN = 16;
const QUADS = SPAN / 4;
export const SHARED_LANES = 64;

/** Output channels a lane, and lanes along output and along summed channels. */
export interface SharedTile {
  readonly channels: 4 | 8;
  readonly outer: number;
  readonly inner: number;
}

/** Narrow layers get a narrow tile. */
export function sharedTileFor(outer: number): SharedTile {
  return outer <= 16 ? { channels: 4, outer: 4, inner: 16 } : { channels: 8, outer: 8, inner: 8 };
}

export const sharedRows = ({ channels, outer }: SharedTile) => channels * outer;

/** Quads of the source under a span, with one word before its first pixel and one behind its last. */
const quadsUnder = (stride: number) => Math.ceil(((SPAN - 1) * stride + 3) / 4);

/** One quad more than a span is long keeps lanes off one bank. */
export function sharedPrelude({ channels, outer, inner }: SharedTile, { stride }: Taps): string {
  return `
var<workgroup> gradient_span: array<array<array<vec4f, ${QUADS + 1}>, ${outer}>, ${channels}>;
var<workgroup> source_span: array<array<array<vec4f, ${quadsUnder(stride)}>, ${inner}>, 3>;
`;
}

/** `quads`: whether four words of the gradient can be taken at once. */
export function sharedBody(tile: SharedTile, { stride, padding }: Taps, quads: boolean): string {
  const { channels, outer, inner } = tile;
  const under = quadsUnder(stride);
  const gradientSlots = range(channels * outer * QUADS / SHARED_LANES);
  const sourceSlots = range(Math.ceil(inner * 3 * under / SHARED_LANES));
  const place = (at: string, side: string) => padding === "zero" ? `clamp(${at}, 0, p.${side} - 1)` : reflect(at, side);
  const inside = (at: string, side: string) => padding === "zero" ? `${at} >= 0 && ${at} < p.${side}` : "true";
  const lines = SHARED_LANES / QUADS;
  const gradientWord = (k: number, e: number) =>
    quads
      ? `gradient[((gradient_at + gradient_row${k}) / 4 + min(x0, p.width - 4) / 4 + min(own_quad, (p.width - 1 - min(x0, p.width - 4)) / 4)) * 4 + ${e}]`
      : `gradient[gradient_at + gradient_row${k} + min(x0 + own_quad * 4 + ${e}, p.width - 1)]`;
  const products = (quad: number) => `
      {
        ${each(range(channels), (i) => `let g${i} = gradient_span[${i}][lane_outer][${quad}];`)}
        ${
    each(range(3), (row) => `
        {
          ${each(range(stride + 1), (v) => `let u${v} = source_span[${row}][lane_inner][${quad * stride + v}];`)}
          ${
      each(range(4), (pixel) => {
        const words = range(3).map((t) => pixel * stride + t).map((word) => `u${word >> 2}[${word & 3}]`);
        return `let w${pixel} = vec3f(${words.join(", ")});
          ${each(range(channels), (i) => `s${i}_${row} = fma(vec3f(g${i}[${pixel}]), w${pixel}, s${i}_${row});`)}`;
      })
    }
        }`)
  }
      }`;
  return `
  let lane_outer = local_index / ${inner};
  let lane_inner = local_index % ${inner};
  let a0 = column_tile * ${inner};
  let gradient_plane = p.height * p.width;
  let source_plane = p.source_height * p.source_width;
  ${each(range(channels), (i) => each(range(3), (row) => `var s${i}_${row} = vec3f();`))}
  let own_quad = local_index % ${QUADS};
  ${
    each(gradientSlots, (k) => `
  let gradient_line${k} = local_index / ${QUADS} + ${k * lines};
  let gradient_row${k} = min(c0 + gradient_line${k}, p.outer - 1) * gradient_plane;`)
  }
  ${
    each(sourceSlots, (k) => `
  let slot${k} = local_index + ${k * SHARED_LANES};
  let source_line${k} = slot${k} / ${under * 3};
  let source_row${k} = slot${k} / ${under} % 3;
  let source_quad${k} = slot${k} % ${under};
  let source_base${k} = min(a0 + source_line${k}, p.inner - 1) * source_plane;`)
  }
  var y = first % p.height;
  var gradient_at = p.gradient_offset + first / p.height * p.outer * gradient_plane + y * p.width;
  var source_at = p.source_offset + first / p.height * p.inner * source_plane;
  var x0 = 0;
  for (var left = max(last - first, 0); left > 0;) {
    ${
    each(gradientSlots, (k) =>
      quads
        ? `let gradient_value${k} = select(vec4f(), vec4f(${
          range(4).map((e) =>
            gradientWord(k, e)
          ).join(", ")
        }), x0 + own_quad * 4 < p.width);`
        : `let gradient_value${k} = vec4f(${
          range(4).map((e) => `select(0.0, ${gradientWord(k, e)}, x0 + own_quad * 4 + ${e} < p.width)`).join(", ")
        });`)
  }
    ${
    each(sourceSlots, (k) => {
      const row = `y * ${stride} + source_row${k} - 1`;
      const column = (e: number) => `(x0 * ${stride} + source_quad${k} * 4 + ${e} - 1)`;
      const word = (e: number) =>
        `select(0.0, source[line_at${k} + ${place(column(e), "source_width")}], in_row${k} && ${
          inside(column(e), "source_width")
        })`;
      return `let row${k} = ${row};
    let in_row${k} = ${inside(`row${k}`, "source_height")};
    let line_at${k} = source_at + source_base${k} + ${place(`row${k}`, "source_height")} * p.source_width;
    let source_value${k} = vec4f(${range(4).map(word).join(", ")});`;
    })
  }
    ${
    each(gradientSlots, (k) =>
      `gradient_span[gradient_line${k} / ${outer}][gradient_line${k} % ${outer}][own_quad] = gradient_value${k};`)
  }
    ${
    each(sourceSlots, (k) =>
      `if (source_line${k} < ${inner}) { source_span[source_row${k}][source_line${k}][source_quad${k}] = source_value${k}; }`)
  }
    workgroupBarrier();
    ${each(range(QUADS), products)}
    workgroupBarrier();
    x0 += ${SPAN};
    if (x0 >= p.width) {
      x0 = 0;
      y++;
      left--;
      gradient_at += p.width;
      if (y == p.height) {
        y = 0;
        gradient_at += (p.outer - 1) * gradient_plane;
        source_at += p.inner * source_plane;
      }
    }
  }
  let a = a0 + lane_inner;
  ${
    each(range(channels), (i) => `
  {
    let c = c0 + ${i * outer} + lane_outer;
    if (split < p.splits && c < p.outer && a < p.inner) {
      let at = p.out_offset + ((split * p.outer + c) * p.inner + a) * 9;
      ${each(range(3), (row) => each(range(3), (t) => `result[at + ${3 * row + t}] = s${i}_${row}[${t}];`))}
    }
  }`)
  }`;
}
