/**
 * The matrix product of GPUs: a workgroup owns a tile, `DEPTH` steps of k at a time pass through its memory, and each lane sums 8 x 8 or 8 x 4 results in registers.
 *
 * Written for what drivers make of it (`deno task isa` shows that): everything inside the loop over k stands in straight lines, addresses are unsigned, found once before
 * it and stepped in it, four words are loaded at once where an operand lies so, and slices are nested arrays of vec4f, so that each index that is not a constant stands
 * alone and costs no clamp. A side (row of a, column of b) belongs to lane t as number i where side = 4 (t + i / 4 * lanes) + i % 4: four neighbours are one lane's.
 */
import type { Kernel } from "../../ir/program.ts";
import type { Layout } from "../../ir/type.ts";
import { BUSY, ceilDiv, foldGrid } from "../template.ts";
import { lines } from "../unroll.ts";
import { assemble, fourStore, type Problem, type Tile } from "./matmul_frame.ts";

/** Steps of k that a slice holds, and the vec4f they fill. */
const DEPTH = 16;
const QUADS = DEPTH / 4;
/** A tile is too large where less than this share of its results is wanted. */
const LEAST_USEFUL = 0.75;

/** Lanes of a workgroup along columns and rows, and the columns of a lane; it has 8 rows. */
interface Shape {
  readonly x: number;
  readonly y: number;
  readonly columns: 4 | 8;
}
const ROWS = 8;

/** Largest first: fewer loads a product the larger the tile, more workgroups the smaller. */
const SHAPES: readonly Shape[] = [
  { x: 16, y: 16, columns: 8 }, // 128 x 128
  { x: 8, y: 8, columns: 8 }, // 64 x 64
  { x: 16, y: 8, columns: 4 }, // 64 x 64, twice the lanes
  { x: 8, y: 8, columns: 4 }, // 64 x 32
  { x: 16, y: 2, columns: 4 }, // 16 x 64
];

const tileOf = ({ x, y, columns }: Shape): Tile => ({ rows: ROWS * y, columns: columns * x });

/** How an operand lies: which of its axes is walked by neighbours, and whether words can be taken by fours along it. */
interface Lie {
  readonly along: "k" | "side";
  readonly quads: boolean;
}

function lieOf({ offset, shape, strides: [z, row, column] }: Layout, kAxis: 1 | 2): Lie {
  const [k, side] = kAxis === 2 ? [column, row] : [row, column];
  const along = k === 1 ? "k" : "side";
  const [dense, other, length] = along === "k" ? [k, side, shape[kAxis]] : [side, k, shape[3 - kAxis]];
  const quads = dense === 1 && length % 4 === 0 && [offset, z, other].every((words) => words >= 0 && words % 4 === 0);
  return { along, quads };
}

/** The kernel of a product whose short side fills a good part of a tile. */
export function workgroupKernel(problem: Problem): Kernel {
  const { shape, sides: { z, m, n } } = problem;
  const result = fourStore(problem);
  const [a, b] = [lieOf(shape.a, 2), lieOf(shape.b, 1)];
  const lanes = shapeFor(problem, [a, b]);
  const tile = tileOf(lanes);
  const operands = [
    staging("a", a, { lanes: lanes.y, sides: tile.rows, perLane: ROWS, threads: lanes.x * lanes.y }),
    staging("b", b, { lanes: lanes.x, sides: tile.columns, perLane: lanes.columns, threads: lanes.x * lanes.y }),
  ];
  const tiles = z * ceilDiv(m, tile.rows) * ceilDiv(n, tile.columns);
  const body = `
  let index = group_u.x + group_u.y * groups_u.x;
  let tiles = u32(p.row_tiles * p.column_tiles);
  if (index >= tiles * u32(p.z)) { return; }
  let z = i32(index / tiles);
  let a_origin = index % tiles / u32(p.column_tiles) * ${tile.rows}u;
  let b_origin = index % u32(p.column_tiles) * ${tile.columns}u;
  let k_begin = u32(z * p.k_chunk);
  let k_end = select(u32(min(z * p.k_chunk + p.k_chunk, p.k)), u32(p.k), p.k_chunk == 0);
  let out_base = p.out_offset + z * p.out_z;
${operands.map(({ before }) => before).join("\n")}
${sums(lanes, (row, quad) => `  var sum${row}_${quad} = vec4f();`)}
${lines(lanes.columns / 4, (j) => `  let column${j} = i32(b_origin + local_u.x * 4u + ${j * lanes.x * 4}u);`)}
  for (var k0 = k_begin; k0 < k_end; k0 += ${DEPTH}u) {
${operands.map(({ load }) => load).join("\n")}
${operands.map(({ keep }) => keep).join("\n")}
    workgroupBarrier();
${lines(QUADS, (quad) => products(lanes, [a, b], quad))}
    workgroupBarrier();
  }
${
    lines(ROWS, (i) => `
  {
    let row = i32(a_origin + local_u.y * 4u + ${(i >> 2) * lanes.y * 4 + (i & 3)}u);
    if (row < p.m) {
${lines(lanes.columns / 4, (j) => result.store(`sum${i}_${j}`, "row", `column${j}`, `e${i}_${j}_`))}
    }
  }`)
  }`;
  return assemble(problem, {
    name: `matmul_workgroup_${tile.rows}x${tile.columns}`,
    workgroup: [lanes.x, lanes.y, 1],
    grid: foldGrid(tiles),
    tile,
    prelude: operands.map(({ slice }) => slice).join("\n"),
    body,
    quads: [a.quads, b.quads],
    epilogue: result.epilogue,
  });
}

/** The largest tile that makes enough workgroups and fits the adapter; the smallest where none makes enough. */
function shapeFor({ sides: { z, m, n }, shape: { profile } }: Problem, lies: readonly Lie[]): Shape {
  const fits = SHAPES.filter((shape) => {
    const { rows, columns } = tileOf(shape);
    const bytes = sliceBytes(lies[0], rows) + sliceBytes(lies[1], columns);
    // 16 quads of both operands at once and 64 sums are more registers than leave a GPU waves to switch between.
    if (shape.columns === 8 && lies.every(({ along }) => along === "k")) return false;
    return bytes <= profile.maxWorkgroupBytes && shape.x * shape.y <= profile.maxInvocations;
  });
  const groups = (shape: Shape) => {
    const { rows, columns } = tileOf(shape);
    return z * ceilDiv(m, rows) * ceilDiv(n, columns);
  };
  const useful = (shape: Shape) => {
    const { rows, columns } = tileOf(shape);
    return z * m * n / (groups(shape) * rows * columns);
  };
  const full = fits.filter((shape) => useful(shape) >= LEAST_USEFUL);
  const candidates = full.length > 0 ? full : fits.slice(-1);
  // A lane's 8 x 8 results pay where the GPU has lanes enough all the same.
  return candidates.find((shape) => groups(shape) >= (shape.columns === 8 ? 4 : 1) * BUSY) ?? candidates.at(-1)!;
}

const sliceBytes = ({ along }: Lie, sides: number) => 16 * (along === "k" ? sides * (QUADS + 1) : sides / 4 * DEPTH);

/** What one operand adds to the kernel. */
interface Staging {
  /** Its slice in workgroup memory: [number][lane][quad of k + 1], a quad of padding keeps rows off one bank; or [k][quad of numbers][lane]. */
  readonly slice: string;
  /** Addresses, before the loop. */
  readonly before: string;
  /** All loads, then the steps of the addresses. */
  readonly load: string;
  /** All stores into the slice. */
  readonly keep: string;
}

function staging(
  name: "a" | "b",
  { along, quads }: Lie,
  { lanes, sides, perLane, threads }: { lanes: number; sides: number; perLane: number; threads: number },
): Staging {
  const side = name === "a" ? "m" : "n";
  const [kStride, sideStride] = name === "a"
    ? ["u32(p.a_column)", "u32(p.a_row)"]
    : ["u32(p.b_row)", "u32(p.b_column)"];
  const origin = `${name}_origin`;
  /** vec4f in a line of the slice along the operand's walk, lines that the workgroup takes at once, and how often. */
  const across = along === "k" ? QUADS : sides / 4;
  const together = threads / across;
  const count = sides * QUADS / threads;
  const line = (i: number) => `${name}_line + ${together * i}u`;
  // With quads all addresses count vec4f: the frame divides offsets and strides.
  const kBegin = quads && along === "k" ? "k_begin / 4u" : "k_begin";
  const before = [
    `  let ${name}_base = u32(p.${name}_offset) + u32(z) * u32(p.${name}_z);`,
    `  let ${name}_place = local_index_u % ${across}u;`,
    `  let ${name}_line = local_index_u / ${across}u;`,
  ];
  const load: string[] = [];
  const step: string[] = [];
  const keep: string[] = [];
  for (let i = 0; i < count; i++) {
    const at = `${name}_at${i}`;
    const value = `${name}_value${i}`;
    if (along === "k") {
      const row = `min(${origin} + ${line(i)}, u32(p.${side}) - 1u) * ${sideStride}`;
      const place = quads ? `${name}_place` : `${name}_place * 4u * ${kStride}`;
      before.push(`  let ${at}_row = ${name}_base + ${row};`);
      before.push(`  var ${at} = ${at}_row + ${quads ? kBegin : `k_begin * ${kStride}`} + ${place};`);
    } else if (quads) {
      const place = `min(${origin} / 4u + ${name}_place, u32(p.${side}) / 4u - 1u)`;
      before.push(`  var ${at} = ${name}_base + ${place} + (k_begin + ${line(i)}) * ${kStride};`);
    } else {
      before.push(`  var ${at} = ${name}_base + (k_begin + ${line(i)}) * ${kStride};`);
      if (i === 0) {
        const sideAt = (c: number) =>
          `min(${origin} + ${name}_place * 4u + ${c}u, u32(p.${side}) - 1u) * ${sideStride}`;
        for (let c = 0; c < 4; c++) before.push(`  let ${name}_side${c} = ${sideAt(c)};`);
      }
    }
    // b's last quad stands for those beyond it: a is 0 there, and what it holds is in the sum anyway, so a NaN is too.
    if (name === "b" && quads) {
      const last = along === "k"
        ? `${at}_row + k_end / 4u - 1u`
        : `${at} + (k_end - 1u - k_begin) * ${kStride} - (${line(i)}) * ${kStride}`;
      before.push(`  let ${at}_last = ${last};`, `  ${at} = min(${at}, ${at}_last);`);
    }
    const word = (c: number) =>
      quads
        ? `${name}[${at} * 4u + ${c}u]`
        : along === "k"
        ? `${name}[${at} + ${c}u * ${kStride}]`
        : `${name}[${at} + ${name}_side${c}]`;
    const words = [0, 1, 2, 3].map(word);
    // select, not a product with 0: what lies beyond k may be a NaN.
    if (!quads && along === "k") {
      const guarded = words.map((text, c) => `select(0.0, ${text}, k0 + ${name}_place * 4u + ${c}u < k_end)`);
      load.push(`    let ${value} = vec4f(${guarded.join(", ")});`);
    } else if (name === "b" && quads) {
      load.push(`    let ${value} = vec4f(${words.join(", ")});`);
    } else {
      const k = along === "k" ? `k0 + ${name}_place * 4u` : `k0 + ${line(i)}`;
      load.push(`    let ${value} = select(vec4f(), vec4f(${words.join(", ")}), ${k} < k_end);`);
    }
    const moved = along === "k" && quads ? `${at} + ${QUADS}u` : `${at} + ${DEPTH}u * ${kStride}`;
    step.push(`    ${at} = ${name === "b" && quads ? `min(${moved}, ${at}_last)` : moved};`);
    keep.push(
      along === "k"
        ? `    ${name}_slice[(${line(i)}) / ${4 * lanes}u * 4u + (${line(i)}) % 4u][(${
          line(i)
        }) / 4u % ${lanes}u][${name}_place] = ${value};`
        : `    ${name}_slice[${line(i)}][${name}_place / ${lanes}u][${name}_place % ${lanes}u] = ${value};`,
    );
  }
  const shape = along === "k"
    ? `array<array<array<vec4f, ${QUADS + 1}>, ${lanes}>, ${perLane}>`
    : `array<array<array<vec4f, ${lanes}>, ${perLane / 4}>, ${DEPTH}>`;
  return {
    slice: `var<workgroup> ${name}_slice: ${shape};`,
    before: before.join("\n"),
    load: [...load, ...step].join("\n"),
    keep: keep.join("\n"),
  };
}

/** `text(row, quad)` for each vec4f of a lane's results. */
function sums({ columns }: Shape, text: (row: number, quad: number) => string): string {
  return lines(ROWS, (row) => lines(columns / 4, (quad) => text(row, quad)));
}

/** The products of the four steps of k in one quad of the slices. */
function products(lanes: Shape, [a, b]: readonly Lie[], quad: number): string {
  const reads: string[] = [];
  if (a.along === "k") reads.push(lines(ROWS, (i) => `      let a${i} = a_slice[${i}][local_u.y][${quad}];`));
  if (b.along === "k") reads.push(lines(lanes.columns, (j) => `      let b${j} = b_slice[${j}][local_u.x][${quad}];`));
  const steps = [0, 1, 2, 3].map((c) => {
    const k = 4 * quad + c;
    const own: string[] = [];
    if (a.along === "side") own.push(lines(ROWS / 4, (i) => `        let a${i}_ = a_slice[${k}][${i}][local_u.y];`));
    if (b.along === "side") {
      own.push(lines(lanes.columns / 4, (j) => `        let b${j}_ = b_slice[${k}][${j}][local_u.x];`));
    } else {
      own.push(
        lines(
          lanes.columns / 4,
          (j) => `        let b${j}_ = vec4f(${[0, 1, 2, 3].map((e) => `b${4 * j + e}[${c}]`).join(", ")});`,
        ),
      );
    }
    const factor = (row: number) => a.along === "k" ? `a${row}[${c}]` : `a${row >> 2}_[${row & 3}]`;
    return `      {
${own.join("\n")}
${sums(lanes, (row, j) => `        sum${row}_${j} = fma(vec4f(${factor(row)}), b${j}_, sum${row}_${j});`)}
      }`;
  });
  return `    {
${[...reads, ...steps].join("\n")}
    }`;
}
