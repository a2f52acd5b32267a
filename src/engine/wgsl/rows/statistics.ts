/**
 * One number or two of each row (names: row_frame.ts):
 *
 *   sum: s[r] = sum_j x[r, j]; column_sum: s[j] = sum_r x[r, j]
 *   moments: mean[r] = sum_j x[r, j] / n, rstd[r] = 1 / sqrt(sum_j (x[r, j] - mean[r])^2 / n + epsilon)
 *   pair_sums: first[r] = sum_j g[r, j] h[r, j], second[r] = sum_j g[r, j]
 *
 * Two are written as [2, R].
 */
import type { Kernel, KernelRequest, Operand } from "../../ir/program.ts";
import { renderChain } from "../template.ts";
import { type Row, type RowKernel, rowKernel } from "./row_frame.ts";

/** Rows of so few elements are not worth a team. */
const SHORT = 4;
/** Counted for each row, whether it leaves one number or two. */
const STORES = 2;

/** Statements that declare `mean` and `rstd` of v0. */
export function momentsOf(row: Row, epsilon: number): string {
  return `${row.sums({ total: "v0" })}
let mean = total / f32(p.length);
${row.sums({ squares: "(v0 - mean) * (v0 - mean)" })}
let rstd = inverseSqrt(squares / f32(p.length) + ${epsilon.toExponential()}f);`;
}

const store = (statements: string) => `if (row_valid && lane_in_row == 0) {\n${statements}\n}`;

const storeBoth = (first: string, second: string) =>
  store(`out[p.out_offset + row] = ${first};\nout[p.out_offset + p.rows + row] = ${second};`);

export function momentsKernel(request: KernelRequest): Kernel {
  return rowKernel(request, {
    name: "moments",
    axes: request.attrs.axes as number,
    soloUpTo: SHORT,
    flops: 4,
    stores: STORES,
    body: (row) => `${momentsOf(row, request.attrs.epsilon as number)}\n${storeBoth("mean", "rstd")}`,
  });
}

export function pairSumsKernel(request: KernelRequest): Kernel {
  return rowKernel(request, {
    name: "pair_sums",
    axes: request.attrs.axes as number,
    soloUpTo: SHORT,
    flops: 3,
    stores: STORES,
    body: (row) => `${row.sums({ first: "v0 * v1", second: "v0" })}\n${storeBoth("first", "second")}`,
  });
}

export function sumKernel(request: KernelRequest): Kernel {
  return totalKernel(request, { name: "sum", axes: request.attrs.axes as number, soloUpTo: SHORT });
}

/** The sums of rows, the columns being the rows: a column is a lane's own, so that neighbours read neighbours. */
export function columnSumKernel(request: KernelRequest): Kernel {
  return totalKernel(request, { name: "column_sum", operands: request.inputs.map(transposed), soloUpTo: Infinity });
}

function totalKernel(request: KernelRequest, spec: Pick<RowKernel, "name" | "operands" | "axes" | "soloUpTo">): Kernel {
  const epilogue = renderChain(request.epilogue, "e");
  const output = request.epilogue ? unravelOutput(request.output.layout.shape) : { indices: [], params: {} };
  const { statements, result } = epilogue.apply(["total"], output.indices);
  return rowKernel({ ...request, epilogue: null }, {
    ...spec,
    extra: { bindings: epilogue.bindings, params: { ...epilogue.params, ...output.params } },
    flops: 1,
    stores: STORES,
    body: (row) => `${row.sums({ total: "v0" })}\n${store(`${statements}\nout[p.out_offset + row] = ${result};`)}`,
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
