/**
 * Matrix products: a [B, M, K] x b [B, K, N] -> [B, M, N], or of rank 2 without B.
 *
 * A transposed operand is a permuted view: the kernels read any strides, so nothing is ever copied to be multiplied. With
 * `merge` the batches are heads and end up side by side, [M, B * N]. A product with a small result and a long K is cut into
 * partial products that are summed afterwards in a fixed order.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Attrs, Layout, TensorType } from "../ir/type.ts";
import { EngineError, typeText } from "../ir/type.ts";
import { matmulKernel } from "../wgsl/matmul/matmul.ts";
import { permute, reshape, transpose } from "./movement.ts";
import { sumColumns } from "./broadcast.ts";

interface Sizes {
  readonly batch: number;
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

function sizesOf(a: TensorType, b: TensorType, attrs: Attrs): Sizes {
  const rank = a.shape.length;
  const [m, k] = a.shape.slice(-2);
  const [kb, n] = b.shape.slice(-2);
  const fail = (why: string) => new EngineError(`Cannot matmul ${typeText(a)} with ${typeText(b)}: ${why}`);
  if ((rank !== 2 && rank !== 3) || b.shape.length !== rank) throw fail("both must be [M,K], or both [B,M,K]");
  if (k !== kb) throw fail(`the left has ${k} columns, the right ${kb} rows; they must be equal`);
  if (rank === 3 && a.shape[0] !== b.shape[0]) throw fail(`${a.shape[0]} batches meet ${b.shape[0]}`);
  if (attrs.merge && rank !== 3) throw fail("only batches can be merged");
  return { batch: rank === 3 ? a.shape[0] : 1, m, k, n };
}

const splitsOf = (attrs: Attrs) => (attrs.splits as number | undefined) ?? 1;

/** A layout of the output's shape as one of [B, M, N]. */
function asBatched(layout: Layout, { batch, m, n }: Sizes, merge: boolean): Layout {
  const shape = [batch, m, n];
  if (layout.shape.length === 3) return layout;
  const [rows, columns] = layout.strides;
  return { offset: layout.offset, shape, strides: [merge ? n * columns : 0, rows, columns] };
}

const withBatch = (layout: Layout): Layout =>
  layout.shape.length === 3
    ? layout
    : { offset: layout.offset, shape: [1, ...layout.shape], strides: [0, ...layout.strides] };

const matmulOp: Op = {
  name: "matmul",
  infer([a, b], attrs) {
    const { batch, m, n } = sizesOf(a, b, attrs);
    const shape = splitsOf(attrs) > 1
      ? [splitsOf(attrs), m, n]
      : attrs.merge
      ? [m, batch * n]
      : a.shape.length === 3
      ? [batch, m, n]
      : [m, n];
    return { dtype: "f32", shape };
  },
  meaning([a, b], [ta, tb], attrs) {
    const { batch, m, k, n } = sizesOf(ta, tb, attrs);
    const splits = splitsOf(attrs);
    const chunk = Math.ceil(k / splits);
    const out = new Float64Array(splits * batch * m * n);
    for (let z = 0; z < batch; z++) {
      for (let i = 0; i < m; i++) {
        for (let l = 0; l < k; l++) {
          const left = a[(z * m + i) * k + l];
          const part = Math.floor(l / chunk);
          const row = attrs.merge ? (i * batch + z) * n : ((part * batch + z) * m + i) * n;
          for (let j = 0; j < n; j++) out[row + j] += left * b[(z * k + l) * n + j];
        }
      }
    }
    return out;
  },
  pullback({ g, inputs: [a, b], attrs }) {
    const { batch, m, n } = sizesOf(a.type, b.type, attrs);
    if (splitsOf(attrs) > 1) throw new Error("Bug: split products are differentiated as their sum");
    const gradient = attrs.merge ? permute(reshape(g, [m, batch, n]), [1, 0, 2]) : g;
    return [matmul(gradient, transpose(b)), matmul(transpose(a), gradient)];
  },
  lower: {
    kind: "kernel",
    epilogue: true,
    prologue: false,
    strided: true,
    build({ inputs: [a, b], output, attrs, epilogue, profile }: KernelRequest) {
      const sizes = sizesOf(a.type, b.type, attrs);
      const splits = splitsOf(attrs);
      const merge = attrs.merge === true;
      return matmulKernel({
        a: withBatch(a.layout),
        b: withBatch(b.layout),
        out: splits > 1 ? output.layout : asBatched(output.layout, sizes, merge),
        epilogue: epilogue &&
          {
            ...epilogue,
            operands: epilogue.operands.map((x) => ({ ...x, layout: asBatched(x.layout, sizes, merge) })),
          },
        splits,
        profile,
      });
    },
  },
};

/** The product; `merge`: batches become column blocks, [M, B * N]. */
export function matmul(a: Value, b: Value, options: { merge?: boolean } = {}): Value {
  const [m, k] = a.type.shape.slice(-2);
  const n = b.type.shape.at(-1)!;
  // Fewer tiles than lanes to work on them, and long sums: cut K.
  const splits = a.type.shape.length === 2 && m * n <= 4096 && k >= 8192 ? Math.min(32, Math.ceil(k / 2048)) : 1;
  if (splits === 1 || k !== b.type.shape.at(-2)) return apply(matmulOp, [a, b], options.merge ? { merge: true } : {});
  return apply(splitOp, [a, b], { splits });
}

/** A product by partial products: the same type and gradient as matmul, another way to the GPU. */
const splitOp: Op = {
  ...matmulOp,
  name: "matmul_split",
  infer: (inputs) => matmulOp.infer(inputs, {}),
  meaning: (inputs, types) => matmulOp.meaning(inputs, types, {}),
  pullback: (at) => matmulOp.pullback({ ...at, attrs: {} }),
  lower: {
    kind: "graph",
    expand([a, b], attrs) {
      const parts = apply(matmulOp, [a, b], { splits: attrs.splits });
      const [splits, m, n] = parts.type.shape;
      return reshape(sumColumns(reshape(parts, [splits, m * n])), [m, n]);
    },
  },
};

export const matmulOps: readonly Op[] = [matmulOp, splitOp];
