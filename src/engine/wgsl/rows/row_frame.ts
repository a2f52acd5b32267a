/**
 * What every kernel over rows shares: one pass or more over the n elements of each of R rows; r names the row, j the element.
 *
 * A row is read by a team of lanes, and what differs between adapters is only who that is: 8 lanes of a subgroup, or a workgroup
 * with a tree in its memory. Lane 0's order of addition is fixed, so results are reproducible.
 */
import type { Kernel, KernelRequest, Operand, Profile } from "../../ir/program.ts";
import { sizeOf } from "../../ir/type.ts";
import { type Binding, ceilDiv, foldGrid, kernel, sourcesOf } from "../template.ts";
import { type Readers, readersOf } from "./row_reader.ts";
import { wideLanes, wideLoop, widePrelude } from "./row_wide.ts";

/** Sums are kept in blocks of this many terms a lane: the error then grows with the number of blocks, not of elements. */
const BLOCK = 64;

/** Who works on a row, and how its lanes agree. */
interface Team {
  readonly lanes: number;
  readonly rowsPerGroup: number;
  readonly workgroup: [number, number, number];
  readonly subgroups: boolean;
  readonly prelude: string;
  /** Statements that set `row_index`, which may be past the last row, and `lane_in_row`. */
  readonly place: string;
  readonly sum: (value: string) => string;
  readonly max: (value: string) => string;
}

function teamFor(profile: Profile, rows: number, length: number): Team {
  if (profile.name === "subgroup8") {
    // Few rows are one to a workgroup, so that they spread over the cores.
    const rowsPerGroup = rows < 256 ? 1 : 8;
    return {
      lanes: 8,
      rowsPerGroup,
      workgroup: [8 * rowsPerGroup, 1, 1],
      subgroups: true,
      prelude: "",
      place:
        `  let row_index = (group.x + group.y * groups.x) * ${rowsPerGroup} + local_index / 8;\n  let lane_in_row = lane;`,
      sum: (value) => `subgroupAdd(${value})`,
      max: (value) => `subgroupMax(${value})`,
    };
  }
  const lanes = wideLanes(length, profile.maxInvocations);
  return {
    lanes,
    rowsPerGroup: 1,
    workgroup: [lanes, 1, 1],
    subgroups: false,
    prelude: widePrelude(lanes),
    place: "  let row_index = group.x + group.y * groups.x;\n  let lane_in_row = local_index;",
    sum: (value) => `row_sum(${value}, lane_in_row)`,
    max: (value) => `row_max(${value}, lane_in_row)`,
  };
}

/** A lane per row: for many short rows, and for columns, where neighbouring rows are neighbours in memory. */
const SOLO: Team = {
  lanes: 1,
  rowsPerGroup: 64,
  workgroup: [64, 1, 1],
  subgroups: false,
  prelude: "",
  place: "  let row_index = (group.x + group.y * groups.x) * 64 + local_index;\n  let lane_in_row = 0;",
  sum: (value) => value,
  max: (value) => value,
};

/** What a kernel's body says of a row, in terms of j and of v0, v1, ..., the op's inputs at (r, j). All arguments are WGSL. */
export interface Row {
  /** A loop over this lane's elements. */
  each(statements: string): string;
  /** Declares every name as the row's sum of its term, accumulated in blocks. */
  sums(terms: Readonly<Record<string, string>>): string;
  /** The greatest of the lanes' values. */
  max(value: string): string;
  /** A loop that writes the row of the output, which then is contiguous, [R, n]; an epilogue comes in between. */
  write(value: string): string;
}

/** What becomes of a result before it is stored: statements, and the expression. */
type Finish = (result: string) => { readonly statements: string; readonly result: string };

/** `Row` for a GPU. */
function wideRowOf({ walked: { wide }, written }: Readers, { lanes, sum, max }: Team, finish: Finish): Row {
  return {
    each: (text) => wideLoop(wide, { lanes, text }),
    sums(terms) {
      const names = Object.keys(terms);
      const loop = wideLoop(wide, {
        lanes,
        first: names.map((name) => `var ${name}_part = 0.0;`).join(" "),
        text: names.map((name) => `${name}_part += select(0.0, ${terms[name]}, inside);`).join("\n"),
        last: names.map((name) => `${name}_lane += ${name}_part;`).join(" "),
      });
      return `${names.map((name) => `var ${name}_lane = 0.0;`).join(" ")}
${loop}
${names.map((name) => `let ${name} = ${sum(`${name}_lane`)};`).join("\n")}`;
    },
    max,
    write(value) {
      const { statements, result } = finish(value);
      return wideLoop(written.wide, { lanes, text: `${statements}\nout[out_at] = ${result};` });
    },
  };
}

function rowOf({ walked, written }: Readers, team: Team, finish: Finish): Row {
  const each = (statements: string, { read } = walked) =>
    `for (var j_now = lane_in_row; j_now < p.length; j_now += ${team.lanes}) ${read("j_now")}${statements}\n}}`;
  return {
    each,
    sums(terms) {
      const names = Object.keys(terms);
      return `${names.map((name) => `var ${name}_lane = 0.0;`).join(" ")}
for (var block = lane_in_row; block < p.length; block += ${team.lanes * BLOCK}) {
  ${names.map((name) => `var ${name}_block = 0.0;`).join(" ")}
  let block_end = min(p.length, block + ${team.lanes * BLOCK});
  for (var j_now = block; j_now < block_end; j_now += ${team.lanes}) ${walked.read("j_now")}
${names.map((name) => `${name}_block += ${terms[name]};`).join("\n")}
  }}
  ${names.map((name) => `${name}_lane += ${name}_block;`).join(" ")}
}
${names.map((name) => `let ${name} = ${team.sum(`${name}_lane`)};`).join("\n")}`;
    },
    max: team.max,
    write(value) {
      const { statements, result } = finish(value);
      return each(`${statements}\nif (row_valid) { out[p.out_offset + row * p.length + j] = ${result}; }`, written);
    },
  };
}

export interface RowKernel {
  readonly name: string;
  /** What is read by rows; all that the request binds, unless told otherwise. */
  readonly operands?: readonly Operand[];
  /** How many trailing axes a row spans, 1 unless told otherwise. */
  readonly axes?: number;
  /** Rows of up to this length are a lane's own; none, unless told otherwise. */
  readonly soloUpTo?: number;
  /** What the body reads besides. */
  readonly extra?: { readonly bindings: readonly Binding[]; readonly params: Readonly<Record<string, number>> };
  /** Of an element, for the cost. */
  readonly flops: number;
  /** Numbers stored of a row, for the cost; its length, unless told otherwise. */
  readonly stores?: number;
  body(row: Row): string;
}

/**
 * The kernel around a body, which also sees `row`, `row_valid` and `lane_in_row`. Bindings in order: operands, extra, those of an epilogue, out. An epilogue is what `write`
 * does; a kernel that leaves something else of a row has it in its body and passes none on.
 */
export function rowKernel(request: KernelRequest, spec: RowKernel): Kernel {
  const { operands = request.inputs, axes = 1, soloUpTo = 0, extra } = spec;
  const { epilogue } = request;
  const after = epilogue?.operands ?? [];
  const finish: Finish = (result) =>
    epilogue
      ? epilogue.render([`(${result})`, ...after.map((_, k) => `l${operands.length + k}`)], "e_")
      : { statements: "", result };
  const shape = operands[0].layout.shape;
  const length = sizeOf(shape.slice(shape.length - axes));
  const rows = sizeOf(shape) / length;
  const team = length <= soloUpTo ? SOLO : teamFor(request.profile, rows, length);
  const onGpu = request.profile.name === "workgroup";
  const readers = readersOf({ own: operands, after }, {
    axes,
    prologue: request.prologue,
    fours: onGpu && request.output.layout.offset % 4 === 0,
  });
  return kernel({
    name: spec.name,
    bindings: [
      ...sourcesOf("x", operands).bindings,
      ...(extra?.bindings ?? []),
      ...sourcesOf("e", after).bindings,
      { name: "out", access: "write" },
    ],
    params: { rows, length, out_offset: request.output.layout.offset, ...readers.params, ...extra?.params },
    workgroup: team.workgroup,
    grid: foldGrid(ceilDiv(rows, team.rowsPerGroup)),
    prelude: team.prelude,
    subgroups: team.subgroups,
    // The row is clamped and its store guarded, instead of returning: every lane must reach the barriers.
    body: `${team.place}
  let row_valid = row_index < p.rows;
  let row = min(row_index, p.rows - 1);
${readers.begin}
${spec.body((onGpu ? wideRowOf : rowOf)(readers, team, finish))}`,
    cost: {
      flops: spec.flops * rows * length,
      bytes: 4 * ((operands.length + after.length) * rows * length + (spec.stores ?? length) * rows),
    },
  });
}
