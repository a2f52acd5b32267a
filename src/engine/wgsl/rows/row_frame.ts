/**
 * Row kernels: one pass or more over the n elements of each of R rows; r names the row, j the element, W the lanes of a row.
 *
 * sum: s[r] = sum_j x[r,j]; moments: (mean, 1/sqrt(var + eps)); pair_sums: (sum g h, sum g); column_sum: s[j] = sum_r x[r,j];
 * softmax, layer_norm and their gradients write whole rows. What differs between adapters is only who shares a row: 8 lanes of
 * a subgroup, or a workgroup with a tree in its memory. Lane 0's order of addition is fixed, so results are reproducible.
 */
import type { Kernel, KernelRequest, Operand, Profile } from "../../ir/program.ts";
import { collapse, type Layout, sizeOf } from "../../ir/type.ts";
import { address, ceilDiv, foldGrid, kernel, renderChain, sourcesOf } from "../template.ts";

/** Sums are kept in blocks of this many terms a lane: the error then grows with the number of blocks, not of elements. */
const BLOCK = 64;

/** Who works on a row, and how its lanes agree. */
interface Team {
  readonly lanes: number;
  readonly rowsPerGroup: number;
  readonly workgroup: [number, number, number];
  readonly subgroups: boolean;
  readonly prelude: string;
  /** Statements that set `row` and `lane_in_row`. */
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
        `  let row = (group.x + group.y * groups.x) * ${rowsPerGroup} + local_index / 8;\n  let lane_in_row = lane;`,
      sum: (value) => `subgroupAdd(${value})`,
      max: (value) => `subgroupMax(${value})`,
    };
  }
  const lanes = Math.min(length <= 128 ? 64 : 256, profile.maxInvocations);
  const tree = (name: string, combine: string) => `
fn ${name}(value: f32, lane: i32) -> f32 {
  shared_row[lane] = value;
  workgroupBarrier();
  for (var half = ${lanes / 2}; half > 0; half = half / 2) {
    if (lane < half) { shared_row[lane] = ${combine}; }
    workgroupBarrier();
  }
  let result = shared_row[0];
  workgroupBarrier();
  return result;
}
`;
  return {
    lanes,
    rowsPerGroup: 1,
    workgroup: [lanes, 1, 1],
    subgroups: false,
    prelude: `var<workgroup> shared_row: array<f32, ${lanes}>;` +
      tree("row_sum", "shared_row[lane] + shared_row[lane + half]") +
      tree("row_max", "max(shared_row[lane], shared_row[lane + half])"),
    place: "  let row = group.x + group.y * groups.x;\n  let lane_in_row = local_index;",
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
  place: "  let row = (group.x + group.y * groups.x) * 64 + local_index;\n  let lane_in_row = 0;",
  sum: (value) => value,
  max: (value) => value,
};

/** Reads the op's inputs at (r, j): `read(j)` is statements after which v0, v1, ... are their values. */
interface Reader {
  readonly params: Record<string, number>;
  readonly rows: string;
  read(j: string): string;
}

function unravel(
  index: string,
  sides: readonly number[],
  name: string,
  params: Record<string, number>,
): { text: string; names: string[] } {
  if (sides.length <= 1) return { text: "", names: sides.map(() => index) };
  const lines: string[] = [];
  let rest = index;
  for (let axis = sides.length - 1; axis > 0; axis--) {
    params[`${name}${axis}`] = sides[axis];
    lines.push(
      `let ${name}_${axis} = (${rest}) % p.${name}${axis};`,
      `let ${name}_rest${axis} = (${rest}) / p.${name}${axis};`,
    );
    rest = `${name}_rest${axis}`;
  }
  lines.push(`let ${name}_0 = ${rest};`);
  return { text: lines.join("\n"), names: sides.map((_, axis) => `${name}_${axis}`) };
}

function readerOf(operands: readonly Operand[], request: KernelRequest, axes: number, inputs: number): Reader {
  const rank = operands[0].type.shape.length - axes;
  const half = (from: number, to: number) =>
    collapse(
      operands[0].layout.shape.slice(from, to),
      operands.map((operand) => operand.layout.strides.slice(from, to)),
    );
  const [outer, inner] = [half(0, rank), half(rank, rank + axes)];
  const params: Record<string, number> = {};
  const sources = sourcesOf("x", operands).names;
  const rows = unravel("row", outer.shape, "o", params);
  const columns = unravel("j", inner.shape, "c", params);
  const once: string[] = [];
  const loads: string[] = [];
  for (const [k, operand] of operands.entries()) {
    const layout: Layout = {
      offset: operand.layout.offset,
      shape: [...outer.shape, ...inner.shape],
      strides: [...outer.strides[k], ...inner.strides[k]],
    };
    const at = address(`l${k}`, layout, [...rows.names, ...columns.names]);
    Object.assign(params, at.params);
    // What is the same along the row is loaded before it is walked.
    const fixed = inner.strides[k].every((stride) => stride === 0);
    (fixed ? once : loads).push(`let l${k} = ${sources[k]}[${at.expression}];`);
  }
  const names = operands.map((_, k) => `l${k}`);
  const values = Array.from({ length: inputs }, (_, i) => {
    if (!request.prologue) return `let v${i} = l${i};`;
    const { statements, result } = request.prologue[i](names, `p${i}_`);
    return `${statements}\nlet v${i} = ${result};`;
  });
  return {
    params,
    rows: [rows.text, ...once].join("\n"),
    read: (j) => `{{let j = ${j};\n${columns.text}\n${loads.join("\n")}\n${values.join("\n")}\n`,
  };
}

/** A loop over this lane's elements; `body` sees v0, v1, ... and j. */
function overRow(reader: Reader, team: Team, body: string): string {
  return `for (var j_now = lane_in_row; j_now < p.length; j_now += ${team.lanes}) ${reader.read("j_now")}${body}\n}}`;
}

/** Declares `names` as this row's sums of `terms`, accumulated in blocks. */
function sums(reader: Reader, team: Team, names: readonly string[], terms: readonly string[]): string {
  return `${names.map((name) => `var ${name}_lane = 0.0;`).join(" ")}
for (var block = lane_in_row; block < p.length; block += ${team.lanes * BLOCK}) {
  ${names.map((name) => `var ${name}_block = 0.0;`).join(" ")}
  let block_end = min(p.length, block + ${team.lanes * BLOCK});
  for (var j_now = block; j_now < block_end; j_now += ${team.lanes}) ${reader.read("j_now")}
${names.map((name, i) => `${name}_block += ${terms[i]};`).join("\n")}
  }}
  ${names.map((name) => `${name}_lane += ${name}_block;`).join(" ")}
}
${names.map((name) => `let ${name} = ${team.sum(`${name}_lane`)};`).join("\n")}`;
}

const literal = (value: number) => `${value.toExponential()}f`;

interface RowKernel {
  readonly name: string;
  readonly operands: readonly Operand[];
  readonly reader: Reader;
  readonly team: Team;
  readonly rows: number;
  readonly length: number;
  readonly outputOffset: number;
  readonly extra?: { bindings: { name: string; access: "read" }[]; params: Record<string, number> };
  readonly body: string;
  readonly flops: number;
  readonly stores: number;
}

function rowKernel(spec: RowKernel): Kernel {
  return kernel({
    name: spec.name,
    bindings: [
      ...sourcesOf("x", spec.operands).bindings,
      ...(spec.extra?.bindings ?? []),
      { name: "out", access: "write" as const },
    ],
    params: {
      rows: spec.rows,
      length: spec.length,
      out_offset: spec.outputOffset,
      ...spec.reader.params,
      ...spec.extra?.params,
    },
    workgroup: spec.team.workgroup,
    grid: foldGrid(ceilDiv(spec.rows, spec.team.rowsPerGroup)),
    prelude: spec.team.prelude,
    subgroups: spec.team.subgroups,
    // The row is clamped and its store guarded, instead of returning: every lane must reach the barriers.
    body: `${spec.team.place.replace("let row =", "let row_index =")}
  let row_valid = row_index < p.rows;
  let row = min(row_index, p.rows - 1);
${spec.reader.rows}
${spec.body}`,
    cost: { flops: spec.flops, bytes: 4 * (spec.operands.length * spec.rows * spec.length + spec.stores) },
  });
}

/** sum, moments, pair_sums, column_sum: a few numbers a row. */
export function statisticsKernel(request: KernelRequest, kind: "sum" | "moments" | "pair_sums" | "column_sum"): Kernel {
  const columns = kind === "column_sum";
  const operands = columns ? request.inputs.map(transposed) : request.inputs;
  const axes = columns ? 1 : request.attrs.axes as number;
  const shape = operands[0].layout.shape;
  const length = sizeOf(shape.slice(shape.length - axes));
  const rows = sizeOf(shape) / length;
  const team = columns || length <= 4 ? SOLO : teamFor(request.profile, rows, length);
  const reader = readerOf(operands, request, axes, kind === "pair_sums" ? 2 : 1);
  const epilogue = renderChain(request.epilogue, "e");
  const output = request.epilogue ? unravelOutput(request.output.layout.shape) : { indices: [], params: {} };
  const store = (text: string) => `if (row_valid && lane_in_row == 0) {\n${text}\n}`;
  let body: string;
  if (kind === "moments") {
    body = `${sums(reader, team, ["total"], ["v0"])}
let mean = total / f32(p.length);
${sums(reader, team, ["squares"], ["(v0 - mean) * (v0 - mean)"])}
let rstd = inverseSqrt(squares / f32(p.length) + ${literal(request.attrs.epsilon as number)});
${store("out[p.out_offset + row] = mean;\nout[p.out_offset + p.rows + row] = rstd;")}`;
  } else if (kind === "pair_sums") {
    body = `${sums(reader, team, ["first", "second"], ["v0 * v1", "v0"])}
${store("out[p.out_offset + row] = first;\nout[p.out_offset + p.rows + row] = second;")}`;
  } else {
    const { statements, result } = epilogue.apply(["total"], output.indices);
    body = `${sums(reader, team, ["total"], ["v0"])}\n${store(`${statements}\nout[p.out_offset + row] = ${result};`)}`;
  }
  return rowKernel({
    name: kind,
    operands,
    reader,
    team,
    rows,
    length,
    outputOffset: request.output.layout.offset,
    extra: {
      bindings: epilogue.bindings.map(({ name }) => ({ name, access: "read" as const })),
      params: { ...epilogue.params, ...output.params },
    },
    body,
    flops: (kind === "moments" ? 4 : kind === "pair_sums" ? 3 : 1) * rows * length,
    stores: rows * 2,
  });
}

function transposed(operand: Operand): Operand {
  const [offset, [r, n], [sr, sn]] = [operand.layout.offset, operand.layout.shape, operand.layout.strides];
  return {
    ...operand,
    type: { dtype: operand.type.dtype, shape: [n, r] },
    layout: { offset, shape: [n, r], strides: [sn, sr] },
  };
}

/** Index expressions of a contiguous output from its row number, and the parameters they read. */
function unravelOutput(shape: readonly number[]): { indices: string[]; params: Record<string, number> } {
  let rest = "row";
  const indices = new Array<string>(shape.length);
  const params: Record<string, number> = {};
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (axis > 0) params[`u${axis}`] = shape[axis];
    indices[axis] = axis === 0 ? rest : `(${rest}) % p.u${axis}`;
    rest = `((${rest}) / p.u${axis})`;
  }
  return { indices, params };
}

/** A kernel that writes whole rows of its output, which is contiguous. */
function fullRowKernel(
  request: KernelRequest,
  spec: {
    name: string;
    inputs: number;
    flops: number;
    body: (reader: Reader, team: Team) => string;
    operands?: readonly Operand[];
    extra?: RowKernel["extra"];
  },
): Kernel {
  const operands = spec.operands ?? request.inputs;
  const shape = operands[0].layout.shape;
  const length = shape[shape.length - 1];
  const rows = sizeOf(shape) / length;
  const team = teamFor(request.profile, rows, length);
  const reader = readerOf(operands, request, 1, spec.inputs);
  return rowKernel({
    name: spec.name,
    operands,
    reader,
    team,
    rows,
    length,
    outputOffset: request.output.layout.offset,
    ...(spec.extra ? { extra: spec.extra } : {}),
    body: spec.body(reader, team),
    flops: spec.flops * rows * length,
    stores: rows * length,
  });
}

const storeRow = (value: string) => `if (row_valid) { out[p.out_offset + row * p.length + j] = ${value}; }`;

/** exp(x - max) / sum of them. */
export function softmaxKernel(request: KernelRequest): Kernel {
  return fullRowKernel(request, {
    name: "softmax",
    inputs: 1,
    flops: 8,
    body: (reader, team) =>
      `var top_lane = -3.4e38;
${overRow(reader, team, "top_lane = max(top_lane, v0);")}
let top = ${team.max("top_lane")};
${sums(reader, team, ["total"], ["exp(v0 - top)"])}
let scale = 1.0 / total;
${overRow(reader, team, storeRow("exp(v0 - top) * scale"))}`,
  });
}

/** p (g - sum(g p)). */
export function softmaxGradientKernel(request: KernelRequest): Kernel {
  return fullRowKernel(request, {
    name: "softmax_gradient",
    inputs: 2,
    flops: 4,
    body: (reader, team) =>
      `${sums(reader, team, ["inner"], ["v0 * v1"])}
${overRow(reader, team, storeRow("v0 * (v1 - inner)"))}`,
  });
}

const MOMENTS = (reader: Reader, team: Team, epsilon: number) =>
  `${sums(reader, team, ["total"], ["v0"])}
let mean = total / f32(p.length);
${sums(reader, team, ["squares"], ["(v0 - mean) * (v0 - mean)"])}
let rstd = inverseSqrt(squares / f32(p.length) + ${literal(epsilon)});`;

/** (x - mean) rstd weight + bias; weight and bias are read per column. */
export function layerNormKernel(request: KernelRequest): Kernel {
  const [x, weight, bias] = request.inputs;
  const [w, b] = [address("weight", weight.layout, ["j"]), address("bias", bias.layout, ["j"])];
  return fullRowKernel(request, {
    name: "layer_norm",
    inputs: 1,
    flops: 8,
    operands: [x],
    extra: {
      bindings: [{ name: "weight", access: "read" }, { name: "bias", access: "read" }],
      params: { ...w.params, ...b.params },
    },
    body: (reader, team) =>
      `${MOMENTS(reader, team, request.attrs.epsilon as number)}
${overRow(reader, team, storeRow(`(v0 - mean) * rstd * weight[${w.expression}] + bias[${b.expression}]`))}`,
  });
}

/** rstd (h - mean(h) - hat mean(h hat)). */
export function layerNormGradientKernel(request: KernelRequest): Kernel {
  return fullRowKernel(request, {
    name: "layer_norm_gradient",
    inputs: 2,
    flops: 14,
    body: (reader, team) =>
      `${MOMENTS(reader, team, request.attrs.epsilon as number)}
${sums(reader, team, ["first", "second"], ["v1", "v1 * (v0 - mean) * rstd"])}
let mean_first = first / f32(p.length);
let mean_second = second / f32(p.length);
${overRow(reader, team, storeRow("rstd * (v1 - mean_first - (v0 - mean) * rstd * mean_second)"))}`,
  });
}
