/**
 * The matrix product of software adapters with subgroups of 8 lanes, where loads cost and broadcasts are free.
 * See matmul.ts for the formula and the index names.
 */
import type { Kernel } from "../../ir/program.ts";
import type { Layout } from "../../ir/type.ts";
import { assemble, OPERANDS_OF_Z, type Problem, store, type Tile } from "./matmul_frame.ts";
import { ceilDiv, type RenderedChain } from "../template.ts";
import { lines } from "../unroll.ts";

/** Lanes of a subgroup. */
const LANES = 8;
/** Subgroups that share a workgroup, each with a tile of its own. */
const SUBGROUPS = 4;

/**
 * How a subgroup reads an operand: an element at a time, or four at once along k or along the side that is not k. A vec4
 * costs about two scalar loads, but every address has to be a multiple of four.
 */
type Reading = "scalar" | "along_k" | "along_side";

/** Whether four neighbours along axis `along` are one vec4, wherever they begin at a multiple of four. */
function isQuads({ offset, shape, strides }: Layout, along: 1 | 2): boolean {
  return strides[along] === 1 && [offset, shape[along], strides[0], strides[3 - along]].every((x) => x % 4 === 0);
}

/** The tile for `m` rows. Few sizes, because each is a pipeline; the 9 rows are what a tile's loads of b cost. */
function subgroupTile(m: number): Tile {
  if (m === 1) return { rows: 1, columns: 64 };
  if (m <= 4) return { rows: 4, columns: 64 };
  if (m <= 8) return { rows: 8, columns: 64 };
  const cost = (rows: number) => ceilDiv(m, rows) * (rows + 9);
  return { rows: [16, 24, 32].reduce((best, rows) => cost(rows) < cost(best) ? rows : best), columns: 32 };
}

/**
 * One subgroup of 8 lanes a tile. A software driver pays for a load as if it were arithmetic for a hundred lanes, but a
 * broadcast is free: so a column of a is loaded with lane = row, a row of b with lane = column, and every lane gets all
 * the rows by broadcast. The sums do not fit in registers: four steps of k are taken at once, and a sum is fetched and put
 * back once for the four. They are variables, and become an array only to be stored by a loop that is quick to compile.
 */
export function subgroupKernel(problem: Problem): Kernel {
  const { sides: { z, m, n }, shape, chain } = problem;
  const aReading = isQuads(shape.a, 2) ? "along_k" : "scalar";
  const bReading = isQuads(shape.b, 1) ? "along_k" : isQuads(shape.b, 2) ? "along_side" : "scalar";
  const wideOut = isQuads(shape.out, 2);
  const tile = subgroupTile(m);
  const columnVectors = tile.columns / LANES;
  const a = subgroupOperand("a", aReading, ceilDiv(tile.rows, LANES));
  const b = subgroupOperand("b", bReading, columnVectors);
  // An operand that is read along k has a multiple of four of them.
  const guarded = aReading !== "along_k" && bReading !== "along_k";
  const each = (text: (row: number, vector: number) => string) =>
    lines(tile.rows, (row) => lines(columnVectors, (vector) => text(row, vector)));
  const body = `
  let column_tile = group.x * ${SUBGROUPS} + local.x / ${LANES};
  if (column_tile >= p.column_tiles) { return; }
  let z = group.z;
  let row0 = group.y * ${tile.rows};
  // Four neighbouring columns a lane, then those 32 further on.
  let column0 = column_tile * ${tile.columns} + lane * 4;
${OPERANDS_OF_Z}
${a.begin((i) => `min(row0 + ${i * LANES} + lane, p.m - 1)`)}
${
    b.begin((i) =>
      `min(column0 + ${(i >> 2) * 4 * LANES + (i & 3)}, ${bReading === "along_side" ? "p.n - 4" : "p.n - 1"})`
    )
  }
${each((row, vector) => `  var sum_${row}_${vector} = 0.0;`)}
  for (var k = k_begin; k < k_end; k += 4) {
${guarded ? lines(4, (u) => `    let step${u} = min(k + ${u}, k_end - 1) - k;`) : ""}
${a.load(guarded)}
${b.load(guarded)}
${
    lines(tile.rows, (row) =>
      `    {
${lines(4, (u) => `      let x${u} = subgroupBroadcast(${a.element(row >> 3, u)}, ${row & 7}u);`)}
${
        lines(columnVectors, (v) =>
          lines(4, (u) => `      sum_${row}_${v} = fma(x${u}, ${b.element(v, u)}, sum_${row}_${v});`))
      }
    }`)
  }
  }
  var sums: array<f32, ${tile.rows * columnVectors}>;
${each((row, vector) => `  sums[${row * columnVectors + vector}] = sum_${row}_${vector};`)}
  // An end that depends on m keeps the driver from unrolling this.
  let sums_end = min(${tile.rows}, p.m - row0) * ${columnVectors};
${storeSums(chain, columnVectors, wideOut)}`;
  return assemble(problem, {
    name: `matmul_subgroup_${tile.rows}x${tile.columns}`,
    workgroup: [LANES * SUBGROUPS, 1, 1],
    // Three axes, not one folded: a division by a parameter is eight divisions here, and they would take a short tile's time.
    grid: [ceilDiv(ceilDiv(n, tile.columns), SUBGROUPS), ceilDiv(m, tile.rows), z],
    tile,
    elements: [aReading !== "scalar", bReading !== "scalar", wideOut].map((wide) => wide ? "vec4f" : "f32"),
    body,
    subgroups: true,
  });
}

/** Stores `sums`, a row's vectors after another's: four neighbouring columns at once, or one by one. */
function storeSums(chain: RenderedChain, columnVectors: number, wide: boolean): string {
  const parts = [0, 1, 2, 3].map((c) => chain.apply([`sums[i + ${c}]`], ["z", "row", `(column + ${c})`], `e${c}`));
  return wide
    ? `  for (var i = 0; i < sums_end; i += 4) {
    let row = row0 + i / ${columnVectors};
    let column = column0 + i % ${columnVectors} * ${LANES};
    if (column < p.n) {
      ${parts.map(({ statements }) => statements).join("\n      ")}
      let four = vec4f(${parts.map(({ result }) => result).join(", ")});
      out[(out_base + row * p.out_row + column) / 4] = four;
    }
  }`
    : `  for (var i = 0; i < sums_end; i++) {
    let row = row0 + i / ${columnVectors};
    let column = column0 + i % ${columnVectors} / 4 * ${4 * LANES} + i % 4;
    if (column < p.n) {
      ${store(chain, "sums[i]", "row", "column")}
    }
  }`;
}

/** The text that reads one operand of a subgroup's tile, `vectors` x 8 long on its side and four steps of k deep. */
function subgroupOperand(name: "a" | "b", reading: Reading, vectors: number) {
  const [side, depth] = name === "a" ? ["p.a_row", "p.a_column"] : ["p.b_column", "p.b_row"];
  const wide = reading === "along_side";
  const loads = wide ? vectors / 4 : vectors;
  const zero = wide ? "vec4f()" : "0.0";
  return {
    /** Addresses of the first elements; `position(i)` is where on its side vector i of this lane lies. */
    begin: (position: (i: number) => string) => `
  let ${name}_step = ${reading === "along_k" ? "1" : wide ? `${depth} / 4` : depth};
${
      lines(loads, (i) => {
        const at = `${name}_base + ${position(wide ? i * 4 : i)} * ${side} + k_begin * ${depth}`;
        return `  var ${name}${i}_at = ${reading === "scalar" ? at : `(${at}) / 4`};`;
      })
    }`,
    /** Loads four steps of k and moves on; guarded, those beyond k_end are 0, whatever lies there. */
    load: (guarded: boolean) =>
      lines(loads, (i) => {
        if (reading === "along_k") return `    let ${name}${i} = ${name}[${name}${i}_at];\n    ${name}${i}_at += 1;`;
        return lines(4, (u) => {
          const at = `${name}[${name}${i}_at + ${guarded ? `step${u}` : u} * ${name}_step]`;
          return `    let ${name}${i}_${u} = ${guarded && u > 0 ? `select(${zero}, ${at}, k + ${u} < k_end)` : at};`;
        }) + `\n    ${name}${i}_at += 4 * ${name}_step;`;
      }),
    /** The value of step u in vector i. */
    element: (i: number, u: number) => {
      if (reading === "along_k") return `${name}${i}[${u}]`;
      return wide ? `${name}${i >> 2}_${u}[${i & 3}]` : `${name}${i}_${u}`;
    },
  };
}
