/**
 * What every kernel of an attention shares: the problem, its parameters, and the texts that read its operands.
 * See attention.ts for the formula and the index names.
 */
import type { Profile } from "../../ir/program.ts";
import { type Layout, sameShape, sizeOf } from "../../ir/type.ts";
import type { Binding } from "../template.ts";

export interface AttentionShape {
  /** [H, M, D] */
  readonly q: Layout;
  /** [H, N, D] */
  readonly k: Layout;
  /** [H, N, D] */
  readonly v: Layout;
  /** [H, M, D] */
  readonly out: Layout;
  /** In the same buffer: [S, M], S >= H; rows beyond the heads are filled with 0. */
  readonly sums: Layout;
  /** What scores are multiplied with; baked into the text. */
  readonly scale: number;
  readonly profile: Profile;
}

export const CHANNELS = 64;
/** vec4 a query, key or value. */
export const QUADS = CHANNELS / 4;
/** A score less than any; finite, because infinities subtract to NaN. */
export const LEAST = "-1e30";
/** Lanes of a subgroup. */
export const LANES = 8;

/** What the kernels share: sizes, parameters, bindings, and the texts that read the operands. */
export interface Problem {
  readonly heads: number;
  readonly queries: number;
  readonly params: Record<string, number>;
  readonly bindings: Binding[];
  readonly cost: { readonly flops: number; readonly bytes: number };
  /** The constant scores are multiplied with to be in units of log2. */
  readonly scale: string;
  /** The vec4 of channels 4 * quad … of row `row` of q, k or v; all are WGSL expressions. */
  load(name: "q" | "k" | "v", row: string, quad: string | number): string;
}

/** Checks an attention, and finds out how its operands are read. */
export function prepare({ q, k, v, out, sums, scale, profile }: AttentionShape): Problem {
  const [heads, queries, channels] = q.shape;
  const keys = k.shape[1];
  const fits = channels === CHANNELS && sameShape(q.shape, out.shape) && sameShape(k.shape, v.shape) &&
    sameShape(k.shape, [heads, keys, channels]);
  if (!fits) throw new Error(`Bug: attention of [${q.shape}], [${k.shape}], [${v.shape}] into [${out.shape}]`);
  // Rows of dense, aligned channels are bound as vec4: a load of four costs little more than one. Where whole heads are aligned, a GPU counts those: it then sees that
  // a key is one piece, and takes it by few loads.
  const isAligned = ({ offset, strides }: Layout, words: number) =>
    strides[2] === 1 && [offset, strides[0], strides[1]].every((x) => x % words === 0);
  const dense = (layout: Layout) => isAligned(layout, 4);
  const whole = (layout: Layout) => profile.name === "workgroup" && isAligned(layout, CHANNELS);
  const operands = { q, k, v };
  const params: Record<string, number> = { heads, queries, keys, quads: QUADS };
  const [sumsOffset, [rows], [head, row]] = [sums.offset, sums.shape, sums.strides];
  Object.assign(params, { sums_offset: sumsOffset, sums_rows: rows, sums_head: head, sums_row: row });
  for (const [name, layout] of Object.entries({ ...operands, out })) {
    const unit = name === "out" ? 1 : whole(layout) ? CHANNELS : dense(layout) ? 4 : 1;
    params[`${name}_offset`] = layout.offset / unit;
    params[`${name}_head`] = layout.strides[0] / unit;
    params[`${name}_row`] = layout.strides[1] / unit;
    params[`${name}_channel`] = layout.strides[2];
  }
  return {
    heads,
    queries,
    params,
    bindings: [
      ...Object.entries(operands).map(([name, layout]) => ({
        name,
        access: "read" as const,
        element: dense(layout) ? "vec4f" : "f32",
      })),
      { name: "out", access: "write" },
    ],
    cost: {
      flops: 4 * heads * queries * keys * channels,
      bytes: 4 * [q, k, v, out, sums].reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    },
    scale: (scale * Math.LOG2E).toExponential(9),
    load: (name, row, quad) => {
      const at = `${name}_base + (${row}) * p.${name}_row`;
      if (whole(operands[name])) return `${name}[(${at}) * ${QUADS} + ${quad}]`;
      if (dense(operands[name])) return `${name}[${at} + ${quad}]`;
      return `vec4f(${
        [0, 1, 2, 3].map((c) => `${name}[${at} + (${quad} * 4 + ${c}) * p.${name}_channel]`).join(", ")
      })`;
    },
  };
}

/** Statements that store what the softmax of query m of head h was divided by, from the greatest score and the sum of weights relative to it. */
export const storeSum = (m: string, top: string, total: string) =>
  `out[p.sums_offset + h * p.sums_head + ${m} * p.sums_row] = (${top} + log2(${total})) * ${Math.LN2.toExponential(9)};
    if (h == 0) {
      for (var i = p.heads; i < p.sums_rows; i++) { out[p.sums_offset + i * p.sums_head + ${m} * p.sums_row] = 0.0; }
    }`;

/** Where head h's rows begin. */
export const BASES = ["q", "k", "v", "out"].map((name) => `  let ${name}_base = p.${name}_offset + h * p.${name}_head;`)
  .join(
    "\n",
  );
