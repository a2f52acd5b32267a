/**
 * Batched matrix product: `out[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, k, n])`.
 *
 * Index names: z batch, or the part of k that a split product sums; m row, n column, k the summed axis. Every operand has
 * strides, so a transposition or a merge of heads is free. Sizes and strides are parameters: the text depends on the tile,
 * on the epilogue, and on which axis of an operand is dense. Invariant: addresses are clamped into the operands
 * and k never leaves its range, so nothing outside an operand is read, and only elements of `out` are stored.
 */
import type { Kernel } from "../../ir/program.ts";
import { assemble, type MatmulShape, OPERANDS_OF_Z, prepare, type Problem, store, type Tile } from "./matmul_frame.ts";
import { subgroupKernel } from "./matmul_subgroup.ts";
import { FEW_ROWS, fewRowsKernel } from "./matmul_thin.ts";
import { workgroupKernel } from "./matmul_workgroup.ts";
import { ceilDiv, foldGrid } from "../template.ts";
import { lines } from "../unroll.ts";

export type { MatmulShape };

/** The kernel of one matrix product. Bindings in order: a, b, the epilogue's operands, out. */
export function matmulKernel(shape: MatmulShape): Kernel {
  const problem = prepare(shape);
  switch (shape.profile.name) {
    case "subgroup8":
      return subgroupKernel(problem);
    case "portable":
      return portableKernel(problem, { rows: problem.sides.m <= 2 ? 1 : 8, columns: problem.sides.m <= 2 ? 1 : 8 });
    case "workgroup":
      return (problem.sides.m <= FEW_ROWS ? fewRowsKernel(problem) : null) ?? workgroupKernel(problem);
  }
}

/** One invocation a tile of registers: what needs no subgroups and no barrier. */
function portableKernel(problem: Problem, tile: Tile): Kernel {
  const { sides: { z, m, n }, chain } = problem;
  const tiles = z * ceilDiv(m, tile.rows) * ceilDiv(n, tile.columns);
  const each = (text: (row: number, column: number) => string) =>
    lines(tile.rows, (row) => lines(tile.columns, (column) => text(row, column)));
  const body = `
  let index = (group.x + group.y * groups.x) * 32 + local.x;
  let tiles = p.row_tiles * p.column_tiles;
  if (index >= tiles * p.z) { return; }
  let z = index / tiles;
  let row0 = index % tiles / p.column_tiles * ${tile.rows};
  let column0 = index % p.column_tiles * ${tile.columns};
${OPERANDS_OF_Z}
${lines(tile.rows, (i) => `  var a${i}_at = a_base + min(row0 + ${i}, p.m - 1) * p.a_row + k_begin * p.a_column;`)}
${
    lines(tile.columns, (i) =>
      `  var b${i}_at = b_base + min(column0 + ${i}, p.n - 1) * p.b_column + k_begin * p.b_row;`)
  }
${each((row, column) => `  var sum_${row}_${column} = 0.0;`)}
  for (var k = k_begin; k < k_end; k++) {
${lines(tile.rows, (i) => `    let a${i} = a[a${i}_at];\n    a${i}_at += p.a_column;`)}
${lines(tile.columns, (i) => `    let b${i} = b[b${i}_at];\n    b${i}_at += p.b_row;`)}
${each((row, column) => `    sum_${row}_${column} = fma(a${row}, b${column}, sum_${row}_${column});`)}
  }
  var sums: array<f32, ${tile.rows * tile.columns}>;
${each((row, column) => `  sums[${row * tile.columns + column}] = sum_${row}_${column};`)}
  for (var i = 0; i < ${tile.rows * tile.columns}; i++) {
    let row = row0 + i / ${tile.columns};
    let column = column0 + i % ${tile.columns};
    if (row < p.m && column < p.n) {
      ${store(chain, "sums[i]", "row", "column")}
    }
  }`;
  return assemble(problem, {
    name: `matmul_portable_${tile.rows}x${tile.columns}`,
    workgroup: [32, 1, 1],
    grid: foldGrid(ceilDiv(tiles, 32)),
    tile,
    body,
  });
}
