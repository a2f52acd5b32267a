/**
 * Softmax of each row, and its gradient from its result p (names: row_frame.ts):
 *
 *   p[r, j] = exp(x[r, j] - top[r]) / sum_i exp(x[r, i] - top[r]), top[r] the row's greatest
 *   dx[r, j] = p[r, j] (g[r, j] - sum_i p[r, i] g[r, i])
 */
import type { Kernel, KernelRequest } from "../../ir/program.ts";
import { rowKernel } from "./row_frame.ts";

export function softmaxKernel(request: KernelRequest): Kernel {
  return rowKernel(request, {
    name: "softmax",
    flops: 8,
    body: (row) =>
      `var top_lane = -3.4e38;
${row.each("top_lane = max(top_lane, v0);")}
let top = ${row.max("top_lane")};
${row.sums({ total: "exp(v0 - top)" })}
let scale = 1.0 / total;
${row.write("exp(v0 - top) * scale")}`,
  });
}

/** Inputs p, g. */
export function softmaxGradientKernel(request: KernelRequest): Kernel {
  return rowKernel(request, {
    name: "softmax_gradient",
    flops: 4,
    body: (row) => `${row.sums({ inner: "v0 * v1" })}\n${row.write("v0 * (v1 - inner)")}`,
  });
}
