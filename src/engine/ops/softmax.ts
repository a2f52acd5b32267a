/** Softmax over the last axis, and its gradient, which is an op because attention's gradient is made of it too. */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import { EngineError, typeText } from "../ir/type.ts";
import { softmaxGradientKernel, softmaxKernel } from "../wgsl/rows/softmax.ts";
import { checkAxes, eachRow, expand, sum, total } from "./broadcast.ts";
import { mul, sub } from "./elementwise.ts";
import { reshape } from "./movement.ts";

const softmaxRow = (row: Float64Array) => {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
  const raised = row.map((x) => Math.exp(x - top));
  const all = total(raised);
  return raised.map((x) => x / all);
};

const softmaxOp: Op = {
  name: "softmax",
  infer([x]) {
    if (x.shape.length === 0) throw new EngineError(`Cannot softmax ${typeText(x)}: needs at least one axis`);
    return x;
  },
  meaning: ([x], [type]) => eachRow([x], type.shape.at(-1)!, type.shape.at(-1)!, ([row]) => softmaxRow(row)),
  pullback: ({ g, out }) => [softmaxGradient(out, g)],
  lower: { kind: "kernel", epilogue: true, prologue: true, build: softmaxKernel },
};

/** Softmax over the last axis. */
export function softmax(x: Value): Value {
  return apply(softmaxOp, [x]);
}

/** p (g - sum(g p)) over the last axis: the gradient of softmax from its result p. */
const softmaxGradientOp: Op = {
  name: "softmax_gradient",
  infer(inputs) {
    checkAxes("take the softmax gradient of", inputs, { axes: 1 });
    return inputs[0];
  },
  meaning: (inputs, [type]) =>
    eachRow(inputs, type.shape.at(-1)!, type.shape.at(-1)!, ([p, g]) => {
      const inner = g.reduce((a, b, i) => a + b * p[i], 0);
      return p.map((x, i) => x * (g[i] - inner));
    }),
  pullback({ g, inputs: [p, h] }) {
    const along = (a: Value, b: Value) =>
      expand(reshape(sum(mul(a, b), 1), [...p.type.shape.slice(0, -1), 1]), p.type.shape);
    const gp = mul(g, p);
    // y = p h - p (h.p): dy/dp = h g - g (h.p) - h (g.p); dy/dh = p g - p (g.p).
    return [sub(mul(g, sub(h, along(h, p))), mul(h, along(g, p))), sub(gp, mul(p, along(g, p)))];
  },
  lower: { kind: "kernel", epilogue: true, prologue: true, build: softmaxGradientKernel },
};

export function softmaxGradient(p: Value, g: Value): Value {
  return apply(softmaxGradientOp, [p, g]);
}

export const softmaxOps: readonly Op[] = [softmaxOp, softmaxGradientOp];
