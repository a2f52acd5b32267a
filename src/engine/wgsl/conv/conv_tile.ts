/**
 * Convolutions on a GPU with workgroup memory, as a product of matrices: sum over k of left[k, row] * right[k, column].
 *
 * A workgroup of 256 owns a tile of `rows` x 128 or 256 columns, each invocation 4 x 4 of it. `chunk` steps of k at a time
 * are staged in workgroup memory, by quads: the invocation that reads four columns from storage is the one that owns them.
 * For a convolution and its adjoint rows are output channels, columns pixels, k = (a, ky, kx) (names: conv_gather.ts).
 */
import { type Apply, firstTaps, type Gather, reflect, store, type Taps } from "./conv_gather.ts";
import { each, range } from "../unroll.ts";

export interface Tile {
  readonly rows: number;
  readonly columns: number;
  /** Steps of k that are staged together. */
  readonly chunk: number;
}

export const INVOCATIONS = 256;

/** Narrow tiles keep layers of 16 channels from wasting half of it. Both need at most 10 KiB of workgroup memory. */
export function tileFor(rows: number): Tile {
  return rows <= 16 ? { rows: 16, columns: 256, chunk: 8 } : { rows: 32, columns: 128, chunk: 16 };
}

/** Workgroup memory of a tile. */
export function tilePrelude(tile: Tile): string {
  return `
var<workgroup> left: array<vec4f, ${tile.chunk * tile.rows / 4}>;
var<workgroup> right: array<vec4f, ${tile.chunk * tile.columns / 4}>;
`;
}

/** `row4`, `column4`: the quad of rows and of columns that an invocation owns. */
export function tileOwner(tile: Tile): string {
  return `
  let row4 = local_index / ${tile.columns / 4};
  let column4 = local_index % ${tile.columns / 4};`;
}

/**
 * Leaves t0 .. t3: the sums of the invocation's rows, a vec4f of columns each. `fillLeft` sees k and quad (of rows),
 * `fillRight` sees k (its columns are the invocation's own); both are statements that assign the vec4f `value`, which is 0 before.
 * A block of `block` chunks is summed by itself before it joins the total, so that long sums stay accurate.
 */
export function tileProduct(
  tile: Tile,
  parts: { depth: string; fillLeft: string; fillRight: string; block: number },
): string {
  const { rows, columns, chunk } = tile;
  const four = [0, 1, 2, 3];
  return `
  ${four.map((i) => `var t${i} = vec4f(0.0);`).join("\n  ")}
  ${four.map((i) => `var s${i} = vec4f(0.0);`).join("\n  ")}
  var in_block = 0;
  for (var k0 = 0; k0 < ${parts.depth}; k0 += ${chunk}) {
    for (var fill = local_index; fill < ${chunk * rows / 4}; fill += ${INVOCATIONS}) {
      let k = k0 + fill / ${rows / 4};
      let quad = fill % ${rows / 4};
      var value = vec4f(0.0);
      if (k < ${parts.depth}) {
        ${parts.fillLeft}
      }
      left[fill] = value;
    }
    for (var fill = local_index; fill < ${chunk * columns / 4}; fill += ${INVOCATIONS}) {
      let k = k0 + fill / ${columns / 4};
      var value = vec4f(0.0);
      if (k < ${parts.depth}) {
        ${parts.fillRight}
      }
      right[fill] = value;
    }
    workgroupBarrier();
    for (var k = 0; k < ${chunk}; k++) {
      let a = left[k * ${rows / 4} + row4];
      let b = right[k * ${columns / 4} + column4];
      ${four.map((i) => `s${i} = fma(vec4f(a[${i}]), b, s${i});`).join("\n      ")}
    }
    workgroupBarrier();
    in_block++;
    if (in_block == ${parts.block}) {
      in_block = 0;
      ${four.map((i) => `t${i} += s${i}; s${i} = vec4f(0.0);`).join("\n      ")}
    }
  }
  ${four.map((i) => `t${i} += s${i};`).join("\n  ")}`;
}

/** Rows are output channels, columns pixels that follow each other, k = (a, ky, kx). */
export function tiledBody(g: Gather, apply: Apply): string {
  const tile = tileFor(g.out.shape[1]);
  const four = range(4);
  const phases = g.adjoint ? g.stride : 1;
  const tap = `
        let a = k / (taps_y * taps_x);
        let ky = first_y + k / taps_x % taps_y * ${phases};
        let kx = first_x + k % taps_x * ${phases};`;
  return `
  ${tileOwner(tile)}
  ${firstTaps(g)}
  ${
    each(four, (i) => `
  let q${i} = tile * ${tile.columns} + column4 * 4 + ${i};
  let y${i} = q${i} / p.row_units * ${phases} + phase_y;
  let x${i} = q${i} % p.row_units * ${phases} + phase_x;
  let inside${i} = real && y${i} < p.height && x${i} < p.width;`)
  }
  let depth = p.inner * taps_y * taps_x;
  ${
    tileProduct(tile, {
      depth: "depth",
      block: 64,
      fillLeft: `${tap}
        let w_step = p.weight_offset + a * p.weight_inner + (ky * ${g.size} + kx) * p.weight_tap;
        let c = c0 + quad * 4;
        value = vec4f(${four.map((j) => `weight[w_step + min(c + ${j}, p.outer - 1) * p.weight_outer]`).join(", ")});`,
      fillRight: `${tap}
        let plane_at = p.source_offset + (b * p.inner + a) * plane;
        value = vec4f(${four.map((j) => `under(plane_at, y${j}, x${j}, ky, kx)`).join(", ")});`,
    })
  }
  ${store("c0 + row4 * 4", 4, 4, (c, i) => `t${c}[${i}]`, apply)}`;
}

/** `under`: the source under tap (ky, kx) of output pixel (y, x). */
export function underFunction(g: Taps & { readonly adjoint: boolean }): string {
  const p = (g.size - 1) / 2;
  const position = (at: string, tap: string) =>
    g.adjoint ? `(${at} + ${p} - ${tap}) / ${g.stride}` : `${at} * ${g.stride} + ${tap} - ${p}`;
  const row = position("y", "ky");
  const column = position("x", "kx");
  const signature = `(plane_at: i32, y: i32, x: i32, ky: i32, kx: i32) -> f32`;
  const word = `
fn word(plane_at: i32, row: i32, column: i32) -> f32 {
  if (row < 0 || row >= p.source_height || column < 0 || column >= p.source_width) { return 0.0; }
  return source[plane_at + row * p.source_width + column];
}
`;
  switch (g.padding) {
    case "zero":
      return `${word}
fn under${signature} {
  return word(plane_at, ${row}, ${column});
}
`;
    case "reflect":
      return `
fn under${signature} {
  return source[plane_at + ${reflect(row, "source_height")} * p.source_width + ${reflect(column, "source_width")}];
}
`;
    case "fold":
      return `${word}
fn under${signature} {
  let row = ${row};
  let column = ${column};
  let mirror_row = ${mirrored("y", "ky", "height")};
  let mirror_column = ${mirrored("x", "kx", "width")};
  var sum = word(plane_at, row, column);
  if (mirror_row >= 0) { sum += word(plane_at, mirror_row, column); }
  if (mirror_column >= 0) { sum += word(plane_at, row, mirror_column); }
  if (mirror_row >= 0 && mirror_column >= 0) { sum += word(plane_at, mirror_row, mirror_column); }
  return sum;
}
`;
  }
}

/** Where the mirror image of a pixel lies under a tap of stride 2, else -1: of the pixels next to the outermost, outer taps see one. */
function mirrored(at: string, tap: string, side: string): string {
  return `select(select(-1, p.source_${side} - 1, ${tap} == 2 && ${at} == p.${side} - 2), 0, ${tap} == 0 && ${at} == 1)`;
}
