/**
 * Multi-head attention: softmax(q k^T / sqrt(w)) v per head; q [M, D], k and v [N, D], D = heads * w -> [M, D].
 *
 * For heads of 64 channels it is one kernel forward, with an online softmax, and never stores a matrix of M x N. Heads of any
 * other width take ordinary products and a softmax. The gradient of both recomputes that matrix for one layer at a time, out of
 * the same products, which costs a product and saves heads * M * N numbers for every layer.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Attrs, Layout, TensorType } from "../ir/type.ts";
import { EngineError, sameShape, typeText } from "../ir/type.ts";
import { attentionKernel } from "../wgsl/attention/attention.ts";
import { mul } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { permute, reshape, transpose } from "./movement.ts";
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

function meaning([q, k, v]: readonly Float64Array[], types: readonly TensorType[], attrs: Attrs): Float64Array {
  const [m, columns] = types[0].shape;
  const n = types[1].shape[0];
  const width = widthOf(types[0], attrs);
  const out = new Float64Array(m * columns);
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
      for (let j = 0; j < n; j++) {
        for (let d = first; d < first + width; d++) out[i * columns + d] += weights[j] / all * v[j * columns + d];
      }
    }
  }
  return out;
}

function pullback({ g, inputs, attrs }: { g: Value; inputs: readonly Value[]; attrs: Attrs }): Value[] {
  const width = widthOf(g.type, attrs);
  const [q, k, v] = inputs.map((x) => split(x, width));
  const gradient = split(g, width);
  const p = shares(q, k);
  const ds = softmaxGradient(p, matmul(gradient, transpose(v)));
  return [
    mul(matmul(ds, k, { merge: true }), scaleOf(width)),
    mul(matmul(transpose(ds), q, { merge: true }), scaleOf(width)),
    matmul(transpose(p), gradient, { merge: true }),
  ];
}

const attentionOp: Op = {
  name: "attention",
  infer: checked,
  meaning,
  pullback,
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build: ({ inputs: [q, k, v], output, profile }: KernelRequest) =>
      attentionKernel({
        q: splitLayout(q.layout),
        k: splitLayout(k.layout),
        v: splitLayout(v.layout),
        out: splitLayout(output.layout),
        scale: scaleOf(HEAD),
        profile,
      }),
  },
};

const generalOp: Op = {
  name: "attention_general",
  infer: checked,
  meaning,
  pullback,
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
  return usual ? apply(attentionOp, [q, k, v]) : apply(generalOp, [q, k, v], { heads });
}

export const attentionOps: readonly Op[] = [attentionOp, generalOp];
