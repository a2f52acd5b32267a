/**
 * Products of few rows on a GPU, where a tile of 64 rows would be mostly empty. See matmul.ts for the formula and the index names.
 *
 * Two kernels, by how b lies. Thin, where neighbours in memory are columns: a lane owns four columns and all rows; what it reads of a is the same for all lanes. Deep, where
 * neighbours are steps of k: lanes divide k, each with sums of its own for a small tile, which are added up at the end. Neither stages anything.
 */
import type { Kernel } from "../../ir/program.ts";
import { ceilDiv, foldGrid } from "../template.ts";
import { lines, range } from "../unroll.ts";
import { assemble, fourStore, OPERANDS_OF_Z, type Problem, store } from "./matmul_frame.ts";

const LANES = 64;
/** Rows of a that these kernels are written for. */
export const FEW_ROWS = 16;
/** Columns that a workgroup of the deep kernel owns. */
const DEEP_COLUMNS = 8;

/** The kernel of a product of at most `FEW_ROWS` rows; null where neither serves. */
export function fewRowsKernel(problem: Problem): Kernel | null {
  const { a, b } = problem.shape;
  if (b.strides[2] === 1) return thinKernel(problem);
  return a.strides[2] === 1 && b.strides[1] === 1 ? deepKernel(problem) : null;
}

const rowsFor = (m: number, options: readonly number[]) => options.find((rows) => m <= rows) ?? options.at(-1)!;

function thinKernel(problem: Problem): Kernel {
  const { sides: { z, m, n }, shape: { b } } = problem;
  const result = fourStore(problem);
  const rows = rowsFor(m, [1, 4, 8, FEW_ROWS]);
  const tile = { rows, columns: 4 * LANES };
  const tiles = z * ceilDiv(n, tile.columns);
  // Words by fours, where b lies so.
  const quads = n % 4 === 0 && [b.offset, b.strides[0], b.strides[1]].every((words) => words >= 0 && words % 4 === 0);
  const columns = quads
    ? "let b_column = min(column0, p.n - 4) / 4;"
    : lines(4, (c) => `  let b_column${c} = min(column0 + ${c}, p.n - 1);`);
  const quad = (at: string) =>
    quads
      ? `vec4f(${range(4).map((c) => `b[(${at} + b_column) * 4 + ${c}]`).join(", ")})`
      : `vec4f(${range(4).map((c) => `b[${at} + b_column${c}]`).join(", ")})`;
  const body = `
  let index = group.x + group.y * groups.x;
  if (index >= p.column_tiles * p.z) { return; }
  let z = index / p.column_tiles;
  let column0 = (index % p.column_tiles * ${LANES} + local.x) * 4;
${OPERANDS_OF_Z}
  ${columns}
${lines(rows, (i) => `  let a_row${i} = a_base + min(${i}, p.m - 1) * p.a_row;\n  var sum${i} = vec4f();`)}
  for (var k = k_begin; k < k_end; k += 4) {
${
    lines(4, (c) => `
    let k${c} = min(k + ${c}, k_end - 1);
    let b${c} = ${quad(`b_base + k${c} * p.b_row`)};
${lines(rows, (i) => `    let a${i}_${c} = select(0.0, a[a_row${i} + k${c} * p.a_column], k + ${c} < k_end);`)}`)
  }
${lines(4, (c) => lines(rows, (i) => `    sum${i} = fma(vec4f(a${i}_${c}), b${c}, sum${i});`))}
  }
${
    lines(rows, (i) => `
  if (${i} < p.m) {
${result.store(`sum${i}`, `${i}`, "column0", `e${i}_`)}
  }`)
  }`;
  return assemble(problem, {
    name: `matmul_thin_${tile.rows}x${tile.columns}`,
    workgroup: [LANES, 1, 1],
    grid: foldGrid(tiles),
    tile,
    body,
    epilogue: result.epilogue,
    quads: [false, quads],
  });
}

function deepKernel(problem: Problem): Kernel {
  const { sides: { z, m, n, k }, shape: { a, b }, chain } = problem;
  const tile = { rows: rowsFor(m, [1, 4, 8]), columns: DEEP_COLUMNS };
  const tiles = z * ceilDiv(m, tile.rows) * ceilDiv(n, tile.columns);
  const aligned = k % 4 === 0 &&
    [a, b].every(({ offset, strides }, i) =>
      [offset, strides[0], strides[2 - i] === 1 ? strides[1 + i] : 1].every((words) => words >= 0 && words % 4 === 0)
    );
  const vector = (name: string, i: number) =>
    aligned
      ? `vec4f(${range(4).map((c) => `${name}[(${name}_at${i} + k_at) * 4 + ${c}]`).join(", ")})`
      : `vec4f(${range(4).map((c) => `${name}[${name}_at${i} + k_at${c}]`).join(", ")})`;
  const guarded = (text: string) =>
    aligned
      ? `select(vec4f(), ${text}, k_own < k_end)`
      : `select(vec4f(), ${text}, vec4i(k_own, k_own + 1, k_own + 2, k_own + 3) < vec4i(k_end))`;
  const body = `
  let index = group.x + group.y * groups.x;
  let tiles = p.row_tiles * p.column_tiles;
  if (index >= tiles * p.z) { return; }
  let z = index / tiles;
  let row0 = index % tiles / p.column_tiles * ${tile.rows};
  let column0 = index % p.column_tiles * ${tile.columns};
${OPERANDS_OF_Z}
${lines(tile.rows, (i) => `  let a_at${i} = a_base + min(row0 + ${i}, p.m - 1) * p.a_row;`)}
${lines(tile.columns, (j) => `  let b_at${j} = b_base + min(column0 + ${j}, p.n - 1) * p.b_column;`)}
${lines(tile.rows, (i) => lines(tile.columns / 4, (j) => `  var sum${i}_${j} = vec4f();`))}
  for (var k0 = k_begin; k0 < k_end; k0 += ${4 * LANES}) {
    let k_own = k0 + local.x * 4;
${
    aligned
      ? `    let k_at = min(k_own, k_end - 4) / 4;`
      : lines(4, (c) => `    let k_at${c} = min(k_own + ${c}, k_end - 1);`)
  }
${lines(tile.rows, (i) => `    let a${i} = ${guarded(vector("a", i))};`)}
${lines(tile.columns, (j) => `    let b${j} = ${vector("b", j)};`)}
${
    lines(4, (c) =>
      lines(tile.rows, (i) =>
        lines(tile.columns / 4, (j) =>
          `    sum${i}_${j} = fma(vec4f(a${i}[${c}]), vec4f(${
            range(4).map((e) =>
              `b${4 * j + e}[${c}]`
            ).join(", ")
          }), sum${i}_${j});`)))
  }
  }
${
    lines(tile.rows, (i) => `
  for (var j = 0; j < ${tile.columns / 4}; j++) {
    own[j][local.x] = select(${tile.columns / 4 > 1 ? `sum${i}_1, sum${i}_0, j == 0` : `sum${i}_0, sum${i}_0, true`});
  }
  workgroupBarrier();
  // Lanes 0 … 7 of each column add eight lanes each, then the first of them adds the eight.
  {
    let column = local.x % ${DEEP_COLUMNS};
    var part = 0.0;
    for (var l = 0; l < ${LANES / DEEP_COLUMNS}; l++) { part += own[column / 4][local.x / ${DEEP_COLUMNS} * ${
      LANES / DEEP_COLUMNS
    } + l][column % 4]; }
    parts[local.x] = part;
    workgroupBarrier();
    if (local.x < ${DEEP_COLUMNS} && row0 + ${i} < p.m && column0 + column < p.n) {
      var total = 0.0;
      for (var l = 0; l < ${LANES / DEEP_COLUMNS}; l++) { total += parts[l * ${DEEP_COLUMNS} + column]; }
      ${store(chain, "total", `(row0 + ${i})`, "(column0 + column)")}
    }
    workgroupBarrier();
  }`)
  }`;
  return assemble(problem, {
    name: `matmul_deep_${tile.rows}x${tile.columns}`,
    workgroup: [LANES, 1, 1],
    grid: foldGrid(tiles),
    tile,
    prelude: `
var<workgroup> own: array<array<vec4f, ${LANES}>, ${tile.columns / 4}>;
var<workgroup> parts: array<f32, ${LANES}>;`,
    body,
    quads: [aligned, aligned],
  });
}
