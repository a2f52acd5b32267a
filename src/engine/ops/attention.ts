/**
 * Multi-head attention: softmax(q k^T / sqrt(64)) v per head; q [M, D], k and v [N, D], D = heads * 64 -> [M, D].
 *
 * Forward it is one kernel with an online softmax and never stores a matrix of M x N. Its gradient recomputes that matrix for
 * one layer at a time, out of ordinary products, which costs a product and saves heads * M * N numbers for every layer.
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

const HEAD = 64;
const SCALE = 1 / Math.sqrt(HEAD);

function headsOf([q, k, v]: readonly TensorType[]): number {
  const width = q.shape[1];
  if (q.shape.length !== 2 || k.shape[1] !== width || !sameShape(k.shape, v.shape) || width % HEAD !== 0) {
    throw new EngineError(
      `Cannot attend with ${typeText(q)} to ${typeText(k)} and ${
        typeText(v)
      }: needs [M,D], [N,D], [N,D] with D a multiple of ${HEAD}`,
    );
  }
  return width / HEAD;
}

/** [T, H * 64] seen as [H, T, 64]. */
const split = (x: Value): Value => permute(reshape(x, [x.type.shape[0], x.type.shape[1] / HEAD, HEAD]), [1, 0, 2]);

const splitLayout = ({ offset, shape: [rows, width], strides: [row, column] }: Layout): Layout => ({
  offset,
  shape: [width / HEAD, rows, HEAD],
  strides: [HEAD * column, row, column],
});

const attentionOp: Op = {
  name: "attention",
  infer(types) {
    headsOf(types);
    return types[0];
  },
  meaning([q, k, v], types) {
    const [m, width] = types[0].shape;
    const n = types[1].shape[0];
    const out = new Float64Array(m * width);
    for (let h = 0; h < headsOf(types); h++) {
      for (let i = 0; i < m; i++) {
        const scores = Array.from({ length: n }, (_, j) => {
          let score = 0;
          for (let d = h * HEAD; d < (h + 1) * HEAD; d++) score += q[i * width + d] * k[j * width + d];
          return score * SCALE;
        });
        const top = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - top));
        const all = weights.reduce((a, b) => a + b, 0);
        for (let j = 0; j < n; j++) {
          for (let d = h * HEAD; d < (h + 1) * HEAD; d++) out[i * width + d] += weights[j] / all * v[j * width + d];
        }
      }
    }
    return out;
  },
  pullback({ g, inputs }) {
    const [q, k, v] = inputs.map(split);
    const gradient = split(g);
    const p = softmax(mul(matmul(q, transpose(k)), SCALE)); // [H, M, N]
    const ds = softmaxGradient(p, matmul(gradient, transpose(v)));
    return [
      mul(matmul(ds, k, { merge: true }), SCALE),
      mul(matmul(transpose(ds), q, { merge: true }), SCALE),
      matmul(transpose(p), gradient, { merge: true }),
    ];
  },
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
        scale: SCALE,
        profile,
      }),
  },
};

export function attention(q: Value, k: Value, v: Value): Value {
  return apply(attentionOp, [q, k, v], {} satisfies Attrs);
}

export const attentionOps: readonly Op[] = [attentionOp];
