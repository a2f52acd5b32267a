/**
 * Batched matrix product: `out[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, k, n])`.
 *
 * Index names: z batch, or the part of k that a split product sums; m row, n column, k the summed axis. Every operand has
 * strides, so a transposition or a merge of heads is free. Sizes and strides are parameters: the text depends on the tile,
 * on the epilogue and, for GPUs, on which axis of an operand is dense. Invariant: addresses are clamped into the operands
 * and k never leaves its range, so nothing outside an operand is read, and only elements of `out` are stored.
 */
import type { Chain, Kernel, Profile } from "../ir/program.ts";
import { type Layout, sizeOf } from "../ir/type.ts";
import { ceilDiv, foldGrid, kernel, renderChain, type RenderedChain } from "./template.ts";

export interface MatmulShape {
  /** [B, M, K] */
  readonly a: Layout;
  /** [B, K, N] */
  readonly b: Layout;
  /** [B, M, N], or [splits, M, N] of partial sums. */
  readonly out: Layout;
  /** Operands have layouts of shape [B, M, N]; null where `splits` > 1. */
  readonly epilogue: Chain | null;
  /** Into how many chunks k is cut, each summed by itself into its own matrix of `out`; the batch is then 1. */
  readonly splits: number;
  readonly profile: Profile;
}

/** A product ready to be written: checked, and turned so that a short side is m. */
interface Problem {
  readonly sides: { readonly z: number; readonly m: number; readonly n: number; readonly k: number };
  readonly shape: MatmulShape;
  readonly params: Record<string, number>;
  readonly chain: RenderedChain;
  /** Whether a and b have changed places, which the order of the bindings must not show. */
  readonly turned: boolean;
}

/** Rows and columns one tile covers. */
interface Tile {
  readonly rows: number;
  readonly columns: number;
}

/** The kernel of one matrix product. Bindings in order: a, b, the epilogue's operands, out. */
export function matmulKernel(shape: MatmulShape): Kernel {
  const problem = prepare(shape);
  switch (shape.profile.name) {
    case "subgroup8":
      return subgroupKernel(problem, subgroupTile(problem.sides.m));
    case "portable":
      return portableKernel(problem, { rows: problem.sides.m <= 2 ? 1 : 8, columns: problem.sides.m <= 2 ? 1 : 8 });
    case "workgroup":
      return workgroupKernel(problem);
  }
}

function prepare(given: MatmulShape): Problem {
  const [batch, m, k] = given.a.shape;
  const n = given.b.shape[2];
  const z = given.splits > 1 ? given.splits : batch;
  const fits = given.a.shape.length === 3 && given.b.shape[0] === batch && given.b.shape[1] === k &&
    given.out.shape[0] === z && given.out.shape[1] === m && given.out.shape[2] === n;
  if (!fits) throw new Error(`Bug: matmul of [${given.a.shape}] with [${given.b.shape}] into [${given.out.shape}]`);
  if (given.splits > 1 && (batch !== 1 || given.epilogue)) {
    throw new Error("Bug: split matmul has a batch or an epilogue");
  }

  const turned = n < m && n <= 24;
  const shape = turned ? transposed(given) : given;
  const chain = renderChain(shape.epilogue, "e");
  const sides = { z, m: shape.a.shape[1], n: shape.b.shape[2], k };
  const split = given.splits > 1;
  const params: Record<string, number> = {
    z: sides.z,
    m: sides.m,
    n: sides.n,
    k,
    // A multiple of four, so that a chunk can be read by vec4.
    k_chunk: split ? ceilDiv(ceilDiv(k, given.splits), 4) * 4 : 0,
    ...strideParams("a", shape.a),
    ...strideParams("b", shape.b),
    ...strideParams("out", shape.out),
    ...chain.params,
  };
  // The chunks of a split product are its batch: they differ in where k begins, not in the operands' addresses.
  if (split) Object.assign(params, { a_z: 0, b_z: 0 });
  return { sides, shape, params, chain, turned };
}

/** The same product as `out^T = b^T a^T`. */
function transposed(shape: MatmulShape): MatmulShape {
  const turn = ({ offset, shape: [z, r, c], strides: [sz, sr, sc] }: Layout) => ({
    offset,
    shape: [z, c, r],
    strides: [sz, sc, sr],
  });
  const { epilogue } = shape;
  return {
    ...shape,
    a: turn(shape.b),
    b: turn(shape.a),
    out: turn(shape.out),
    epilogue: epilogue && {
      operands: epilogue.operands.map((operand) => ({ ...operand, layout: turn(operand.layout) })),
      render: (args, prefix) => epilogue.render(args, prefix),
    },
  };
}

/** Strides are all parameters, 0 and 1 too: in these kernels an address costs nothing beside its load, a variant does. */
function strideParams(name: string, { offset, strides: [z, row, column] }: Layout): Record<string, number> {
  return { [`${name}_offset`]: offset, [`${name}_z`]: z, [`${name}_row`]: row, [`${name}_column`]: column };
}

/** Where z's operands begin, and its range of k. */
const OPERANDS_OF_Z = `
  let k_begin = z * p.k_chunk;
  let k_end = select(min(k_begin + p.k_chunk, p.k), p.k, p.k_chunk == 0);
  let a_base = p.a_offset + z * p.a_z;
  let b_base = p.b_offset + z * p.b_z;
  let out_base = p.out_offset + z * p.out_z;`;

/** A statement that applies the epilogue to `value` and stores it at [z, row, column]. */
function store(chain: RenderedChain, value: string, row: string, column: string): string {
  const { statements, result } = chain.apply([value], ["z", row, column]);
  return `${statements}
      out[out_base + ${row} * p.out_row + ${column} * p.out_column] = ${result};`;
}

function assemble(problem: Problem, spec: {
  name: string;
  workgroup: readonly [number, number, number];
  groups: number;
  tile: Tile;
  prelude?: string;
  body: string;
  subgroups?: boolean;
  /** Element types of a, b and out, where they are not f32. */
  elements?: readonly string[];
}): Kernel {
  const { sides: { z, m, n, k }, shape, params, chain, turned } = problem;
  const products = m * n * k * (shape.splits > 1 ? 1 : z);
  const layouts = [shape.a, shape.b, shape.out, ...(shape.epilogue?.operands ?? []).map(({ layout }) => layout)];
  const a = { name: "a", access: "read" as const, element: spec.elements?.[0] ?? "f32" };
  const b = { name: "b", access: "read" as const, element: spec.elements?.[1] ?? "f32" };
  return kernel({
    name: spec.name,
    bindings: [
      ...(turned ? [b, a] : [a, b]),
      ...chain.bindings,
      { name: "out", access: "write", element: spec.elements?.[2] ?? "f32" },
    ],
    params: { ...params, row_tiles: ceilDiv(m, spec.tile.rows), column_tiles: ceilDiv(n, spec.tile.columns) },
    workgroup: spec.workgroup,
    grid: foldGrid(spec.groups),
    prelude: spec.prelude ?? "",
    body: spec.body,
    subgroups: spec.subgroups ?? false,
    cost: { flops: 2 * products, bytes: 4 * layouts.reduce((sum, layout) => sum + sizeOf(layout.shape), 0) },
  });
}

/** `text(0) … text(count - 1)`, a line each. */
function lines(count: number, text: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => text(i)).join("\n");
}

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
  return { rows: cost(16) < cost(24) ? 16 : 24, columns: 32 };
}

/**
 * One subgroup of 8 lanes a tile. A software driver pays for a load as if it were arithmetic for a hundred lanes, but a
 * broadcast is free: so a column of a is loaded with lane = row, a row of b with lane = column, and every lane gets all
 * the rows by broadcast. The sums do not fit in registers: four steps of k are taken at once, and a sum is fetched and put
 * back once for the four. They are variables, and become an array only to be stored by a loop that is quick to compile.
 */
function subgroupKernel(problem: Problem, tile: Tile): Kernel {
  const { sides: { z, m, n }, shape, chain } = problem;
  const aReading = isQuads(shape.a, 2) ? "along_k" : "scalar";
  const bReading = isQuads(shape.b, 1) ? "along_k" : isQuads(shape.b, 2) ? "along_side" : "scalar";
  const wideOut = isQuads(shape.out, 2);
  const columnVectors = tile.columns / LANES;
  const a = subgroupOperand("a", aReading, ceilDiv(tile.rows, LANES));
  const b = subgroupOperand("b", bReading, columnVectors);
  // An operand that is read along k has a multiple of four of them.
  const guarded = aReading !== "along_k" && bReading !== "along_k";
  const tiles = z * ceilDiv(m, tile.rows) * ceilDiv(n, tile.columns);
  const each = (text: (row: number, vector: number) => string) =>
    lines(tile.rows, (row) => lines(columnVectors, (vector) => text(row, vector)));
  const body = `
  let index = (group.x + group.y * groups.x) * ${SUBGROUPS} + local.x / ${LANES};
  let tiles = p.row_tiles * p.column_tiles;
  if (index >= tiles * p.z) { return; }
  let z = index / tiles;
  let row0 = index % tiles / p.column_tiles * ${tile.rows};
  // Four neighbouring columns a lane, then those 32 further on.
  let column0 = index % p.column_tiles * ${tile.columns} + lane * 4;
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
    groups: ceilDiv(tiles, SUBGROUPS),
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
    groups: ceilDiv(tiles, 32),
    tile,
    body,
  });
}

/** Steps of k that one tile in workgroup memory holds. */
const DEPTH = 16;

/**
 * 16 x 16 invocations share a 64 x 64 tile, 4 x 4 each, through 64 x 16 slices of both operands in workgroup memory.
 * Each operand is loaded along its dense axis so that neighbours read neighbours; slices are stored k-major, so the
 * products read four rows or four columns as one vec4. 17 vec4 a row instead of 16 keep stores off one memory bank.
 */
function workgroupKernel(problem: Problem): Kernel {
  const { sides: { z, m, n }, shape, chain } = problem;
  const tile = { rows: 64, columns: 64 };
  const tiles = z * ceilDiv(m, tile.rows) * ceilDiv(n, tile.columns);
  /** Loads a slice; `side` is the axis that is not k. */
  const load = (name: string, side: "m" | "n", strideSide: string, strideK: string, kDense: boolean) => `
    for (var i = 0; i < 4; i++) {
      let flat = i * 256 + local_index;
      let s = ${kDense ? `flat / ${DEPTH}` : "flat % 64"};
      let d = ${kDense ? `flat % ${DEPTH}` : "flat / 64"};
      let at = ${name}_base + min(${name}_origin + s, p.${side} - 1) * p.${strideSide} + min(k0 + d, p.k - 1) * p.${strideK};
      // select, not a product with 0: what lies beyond k may be a NaN.
      ${name}_slice[d * 68 + s] = select(0.0, ${name}[at], k0 + d < k_end);
    }`;
  const vector = (name: string, local: string) =>
    `vec4f(${[0, 1, 2, 3].map((i) => `${name}_slice[d * 68 + ${local} * 4 + ${i}]`).join(", ")})`;
  const prelude = `
var<workgroup> a_slice: array<f32, ${DEPTH * 68}>;
var<workgroup> b_slice: array<f32, ${DEPTH * 68}>;`;
  const step = `
      {
        let av = ${vector("a", "local.y")};
        let bv = ${vector("b", "local.x")};
${lines(4, (i) => `        sum${i} = fma(vec4f(av[${i}]), bv, sum${i});`)}
        d++;
      }`;
  const body = `
  let index = group.x + group.y * groups.x;
  let tiles = p.row_tiles * p.column_tiles;
  if (index >= tiles * p.z) { return; }
  let z = index / tiles;
  let a_origin = index % tiles / p.column_tiles * 64;
  let b_origin = index % p.column_tiles * 64;
${OPERANDS_OF_Z}
${lines(4, (i) => `  var sum${i} = vec4f();`)}
  for (var k0 = k_begin; k0 < k_end; k0 += ${DEPTH}) {
${load("a", "m", "a_row", "a_column", shape.a.strides[2] === 1)}
${load("b", "n", "b_column", "b_row", shape.b.strides[1] === 1)}
    workgroupBarrier();
    for (var d = 0; d < ${DEPTH};) {${step.repeat(4)}
    }
    workgroupBarrier();
  }
${
    lines(4, (i) => `
  for (var j = 0; j < 4; j++) {
    let row = a_origin + local.y * 4 + ${i};
    let column = b_origin + local.x * 4 + j;
    if (row < p.m && column < p.n) {
      ${store(chain, `sum${i}[j]`, "row", "column")}
    }
  }`)
  }`;
  return assemble(problem, {
    name: "matmul_workgroup_64x64",
    workgroup: [16, 16, 1],
    groups: tiles,
    tile,
    prelude,
    body,
  });
}
