/**
 * Multi-head attention: softmax(q k^T / sqrt(w)) v per head; q [M, D], k and v [N, D], D = heads * w -> [M, D].
 *
 * For heads of 64 channels it is one kernel forward, with an online softmax, and never stores a matrix of M x N. Heads of any
 * other width take ordinary products and a softmax. The gradient of both recomputes that matrix for one layer at a time, out of
 * the same products, which costs a product and saves heads * M * N numbers for every layer. The fused one leaves, beside its
 * result, what each row of it was divided by: so its gradient needs no pass over the matrix but the products themselves.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Attrs, Layout, TensorType } from "../ir/type.ts";
import { EngineError, sameShape, typeText } from "../ir/type.ts";
import { attentionKernel } from "../wgsl/attention/attention.ts";
import { sum } from "./broadcast.ts";
import { exp, mul, sub } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { permute, reshape, slice, transpose } from "./movement.ts";
import { softmax, softmaxGradient } from "./softmax.ts";

/** Channels of a head that the kernel is written for. */
const HEAD = 64;

/** `attention` has no attributes and heads of 64, `attention_general` says how many heads there are. */
const widthOf = ({ shape }: TensorType, { heads }: Attrs) => heads === undefined ? HEAD : shape[1] / (heads as number);

function checked(types: readonly TensorType[], attrs: Attrs): TensorType {
  const [q, k, v] = types;
  const fits = q.shape.length === 2 && k.shape[1] === q.shape[1] && sameShape(k.shape, v.shape);
  const width = widthOf(q, attrs);
  if (!fits || !Number.isInteger(width) || width < 1 || q.shape[1] % width !== 0) {
    const multiple = attrs.heads === undefined ? HEAD : `${attrs.heads}, the number of heads`;
    throw new EngineError(
      `Cannot attend with ${typeText(q)} to ${typeText(k)} and ${
        typeText(v)
      }: needs [M,D], [N,D], [N,D] with D a multiple of ${multiple}`,
    );
  }
  return q;
}

/** [T, H * w] seen as [H, T, w]. */
function split(x: Value, width: number): Value {
  const [rows, columns] = x.type.shape;
  return permute(reshape(x, [rows, columns / width, width]), [1, 0, 2]);
}

const scaleOf = (width: number) => 1 / Math.sqrt(width);

/** The shares of attention, [H, M, N], of q [H, M, w] and k [H, N, w]. */
const shares = (q: Value, k: Value): Value => softmax(mul(matmul(q, transpose(k)), scaleOf(q.type.shape[2])));

const splitLayout = ({ offset, shape: [rows, width], strides: [row, column] }: Layout): Layout => ({
  offset,
  shape: [width / HEAD, rows, HEAD],
  strides: [HEAD * column, row, column],
});

/** What is attended to, and the logarithm of what the softmax of each query and head was divided by: [M, D] and [M, H]. */
function meaning(
  [q, k, v]: readonly Float64Array[],
  types: readonly TensorType[],
  attrs: Attrs,
): { out: Float64Array; sums: Float64Array } {
  const [m, columns] = types[0].shape;
  const n = types[1].shape[0];
  const width = widthOf(types[0], attrs);
  const out = new Float64Array(m * columns);
  const sums = new Float64Array(m * columns / width);
  for (let first = 0; first < columns; first += width) {
    for (let i = 0; i < m; i++) {
      const scores = Array.from({ length: n }, (_, j) => {
        let score = 0;
        for (let d = first; d < first + width; d++) score += q[i * columns + d] * k[j * columns + d];
        return score * scaleOf(width);
      });
      const top = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - top));
      const all = weights.reduce((a, b) => a + b, 0);
      sums[(i * columns + first) / width] = top + Math.log(all);
      for (let j = 0; j < n; j++) {
        for (let d = first; d < first + width; d++) out[i * columns + d] += weights[j] / all * v[j * columns + d];
      }
    }
  }
  return { out, sums };
}

/** What reaches q, k and v of [H, M, w], [H, N, w], [H, N, w] through the shares p and, ds, the scores: both [H, M, N], before the scale. */
function throughScores(
  { q, k, p, ds, g }: {
    readonly q: Value;
    readonly k: Value;
    readonly p: Value;
    readonly ds: Value;
    readonly g: Value;
  },
): Value[] {
  const scale = scaleOf(q.type.shape[2]);
  return [
    mul(matmul(ds, k, { merge: true }), scale),
    mul(matmul(transpose(ds), q, { merge: true }), scale),
    matmul(transpose(p), g, { merge: true }),
  ];
}

/** Columns of the result: those of q, then a sum a head, filled up to a multiple of four, so that rows stay aligned. */
const columnsOf = ({ shape: [, columns] }: TensorType) => columns + Math.ceil(columns / HEAD / 4) * 4;

const attentionOp: Op = {
  name: "attention",
  infer(types, attrs) {
    const q = checked(types, attrs);
    return { dtype: q.dtype, shape: [q.shape[0], columnsOf(q)] };
  },
  meaning(inputs, types, attrs) {
    const { out, sums } = meaning(inputs, types, attrs);
    const [rows, columns] = types[0].shape;
    const width = columnsOf(types[0]);
    const all = new Float64Array(rows * width);
    const heads = columns / HEAD;
    for (let i = 0; i < rows; i++) {
      all.set(out.subarray(i * columns, (i + 1) * columns), i * width);
      all.set(sums.subarray(i * heads, (i + 1) * heads), i * width + columns);
    }
    return all;
  },
  pullback({ g, out, inputs }) {
    const [rows, columns] = inputs[0].type.shape;
    const heads = columns / HEAD;
    const [q, k, v] = inputs.map((x) => split(x, HEAD));
    const attended = (x: Value) => slice(x, 1, 0, columns);
    const sums = (x: Value) => slice(x, 1, columns, heads); // [M, H]
    const perQuery = (x: Value) => reshape(transpose(x), [heads, rows, 1]);
    const gradient = split(attended(g), HEAD);
    const p = exp(sub(mul(matmul(q, transpose(k)), scaleOf(HEAD)), perQuery(sums(out))));
    // The softmax's gradient needs, of each query, the sum over keys of p dp: that is what it attended to times its gradient.
    const byHead = (x: Value) => reshape(x, [rows, heads, HEAD]);
    const inner = sum(mul(byHead(attended(g)), byHead(attended(out))), 1); // [M, H]
    const ds = mul(p, sub(matmul(gradient, transpose(v)), perQuery(sub(inner, sums(g)))));
    return throughScores({ q, k, p, ds, g: gradient });
  },
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build({ inputs: [q, k, v], output: { layout }, profile }: KernelRequest) {
      const [rows, columns] = q.type.shape;
      const [row, column] = layout.strides;
      return attentionKernel({
        q: splitLayout(q.layout),
        k: splitLayout(k.layout),
        v: splitLayout(v.layout),
        out: splitLayout({ ...layout, shape: [rows, columns] }),
        sums: {
          offset: layout.offset + columns * column,
          shape: [layout.shape[1] - columns, rows],
          strides: [column, row],
        },
        scale: scaleOf(HEAD),
        profile,
      });
    },
  },
};

const generalOp: Op = {
  name: "attention_general",
  infer: checked,
  meaning: (inputs, types, attrs) => meaning(inputs, types, attrs).out,
  pullback({ g, inputs, attrs }) {
    const width = widthOf(g.type, attrs);
    const [q, k, v] = inputs.map((x) => split(x, width));
    const gradient = split(g, width);
    const p = shares(q, k);
    return throughScores({ q, k, p, ds: softmaxGradient(p, matmul(gradient, transpose(v))), g: gradient });
  },
  lower: {
    kind: "graph",
    expand(inputs, attrs) {
      const [q, k, v] = inputs.map((x) => split(x, widthOf(x.type, attrs)));
      return matmul(shares(q, k), v, { merge: true });
    },
  },
};

/** q [M, D], k and v [N, D] -> [M, D]; heads have 64 channels unless their number is given, which must divide D. */
export function attention(q: Value, k: Value, v: Value, { heads }: { readonly heads?: number } = {}): Value {
  const usual = heads === undefined || heads * HEAD === q.type.shape[1];
  return usual ? slice(apply(attentionOp, [q, k, v]), 1, 0, q.type.shape[1]) : apply(generalOp, [q, k, v], { heads });
}

export const attentionOps: readonly Op[] = [attentionOp, generalOp];
