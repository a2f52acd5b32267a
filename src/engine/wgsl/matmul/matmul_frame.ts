/**
 * What every kernel of a matrix product shares: the problem, turned so that a short side is m, its parameters, and the
 * texts that find and store its elements. See matmul.ts for the formula and the index names.
 */
import type { Chain, Kernel, Profile } from "../../ir/program.ts";
import { type Layout, sizeOf } from "../../ir/type.ts";
import { ceilDiv, isQuads, kernel, MAX_GROUPS, renderChain, type RenderedChain, renderQuads } from "../template.ts";
import { lines } from "../unroll.ts";

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
export interface Problem {
  readonly sides: { readonly z: number; readonly m: number; readonly n: number; readonly k: number };
  readonly shape: MatmulShape;
  readonly params: Record<string, number>;
  readonly chain: RenderedChain;
  /** Whether a and b have changed places, which the order of the bindings must not show. */
  readonly turned: boolean;
}

/** Rows and columns one tile covers. */
export interface Tile {
  readonly rows: number;
  readonly columns: number;
}

/** Checks a product, and decides whether to turn it. */
export function prepare(given: MatmulShape): Problem {
  const [batch, m, k] = given.a.shape;
  const n = given.b.shape[2];
  const z = given.splits > 1 ? given.splits : batch;
  const fits = given.a.shape.length === 3 && given.b.shape[0] === batch && given.b.shape[1] === k &&
    given.out.shape[0] === z && given.out.shape[1] === m && given.out.shape[2] === n;
  if (!fits) throw new Error(`Bug: matmul of [${given.a.shape}] with [${given.b.shape}] into [${given.out.shape}]`);
  if (given.splits > 1 && (batch !== 1 || given.epilogue)) {
    throw new Error("Bug: split matmul has a batch or an epilogue");
  }

  // A grid has few rows: many of them are better columns.
  const turned = n < m && (n <= 24 || m > 16 * MAX_GROUPS);
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
export const OPERANDS_OF_Z = `
  let k_begin = z * p.k_chunk;
  let k_end = select(min(k_begin + p.k_chunk, p.k), p.k, p.k_chunk == 0);
  let a_base = p.a_offset + z * p.a_z;
  let b_base = p.b_offset + z * p.b_z;
  let out_base = p.out_offset + z * p.out_z;`;

/** A statement that applies the epilogue to `value` and stores it at [z, row, column]. */
export function store(chain: RenderedChain, value: string, row: string, column: string): string {
  const { statements, result } = chain.apply([value], ["z", row, column]);
  return `${statements}
      out[out_base + ${row} * p.out_row + ${column} * p.out_column] = ${result};`;
}

/** How a lane stores four neighbouring columns: at once where the result and all operands of the epilogue lie so. */
export interface FourStore {
  /** The epilogue's bindings and parameters, for `assemble`. */
  readonly epilogue: Pick<RenderedChain, "bindings" | "params">;
  /** Stores the vec4f `sums` at row `row` and from column `column` on, a multiple of four, as far as there are columns. `prefix` names what it declares. */
  store(sums: string, row: string, column: string, prefix: string): string;
}

export function fourStore({ shape: { out, epilogue }, chain }: Problem): FourStore {
  const four = [0, 1, 2, 3];
  const quads = isQuads(out) ? renderQuads(epilogue, "e") : null;
  if (quads === null) {
    const one = (sums: string, row: string, column: string, prefix: string) => (c: number) => {
      const { statements, result } = chain.apply([`${sums}[${c}]`], ["z", row, `(${column} + ${c})`], `${prefix}${c}`);
      return `    if (${column} + ${c} < p.n) {
      ${statements}
      out[out_base + ${row} * p.out_row + (${column} + ${c}) * p.out_column] = ${result};
    }`;
    };
    return { epilogue: chain, store: (...place) => four.map(one(...place)).join("\n") };
  }
  return {
    epilogue: quads,
    store(sums, row, column, prefix) {
      const { statements, results } = quads.apply(
        four.map((c) => `${sums}[${c}]`),
        ["z", row, `(${column} / 4)`],
        prefix,
      );
      const at = `(out_base + ${row} * p.out_row) / 4 + ${column} / 4`;
      return `    if (${column} < p.n) {
      ${statements}
${lines(4, (c) => `      out[(${at}) * 4 + ${c}] = ${results[c]};`)}
    }`;
    },
  };
}

/** The kernel around a body. */
export function assemble(problem: Problem, spec: {
  name: string;
  workgroup: readonly [number, number, number];
  grid: readonly [number, number, number];
  tile: Tile;
  prelude?: string;
  body: string;
  subgroups?: boolean;
  /** Element types of a, b and out, where they are not f32. */
  elements?: readonly string[];
  /** Whether the body's addresses of a and of b count vec4f instead of words. */
  quads?: readonly [a: boolean, b: boolean];
  /** The epilogue as the body has it, where that is not the problem's own. */
  epilogue?: Pick<RenderedChain, "bindings" | "params">;
}): Kernel {
  const { sides: { z, m, n, k }, shape, turned } = problem;
  const chain = spec.epilogue ?? problem.chain;
  const params = { ...problem.params, ...chain.params };
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
    params: {
      ...inQuads(params, spec.quads),
      row_tiles: ceilDiv(m, spec.tile.rows),
      column_tiles: ceilDiv(n, spec.tile.columns),
    },
    workgroup: spec.workgroup,
    grid: spec.grid,
    prelude: spec.prelude ?? "",
    body: spec.body,
    subgroups: spec.subgroups ?? false,
    cost: { flops: 2 * products, bytes: 4 * layouts.reduce((sum, layout) => sum + sizeOf(layout.shape), 0) },
  });
}

/** Offsets and strides of those operands whose addresses count vec4f; the one along which their words follow each other is not read. */
function inQuads(params: Record<string, number>, quads: readonly boolean[] = []): Record<string, number> {
  const counted = ["a", "b"].filter((_, i) => quads[i]);
  return Object.fromEntries(
    Object.entries(params).map(([name, words]) =>
      counted.some((operand) => name.startsWith(`${operand}_`)) ? [name, Math.trunc(words / 4)] : [name, words]
    ),
  );
}
