/**
 * Layer normalisation of each row, and what reaches x through it (names: row_frame.ts; mean and rstd: statistics.ts):
 *
 *   y[r, j] = hat[r, j] weight[j] + bias[j], hat[r, j] = (x[r, j] - mean[r]) rstd[r]
 *   dx[r, j] = rstd[r] (h[r, j] - sum_i h[r, i] / n - hat[r, j] sum_i h[r, i] hat[r, i] / n), h = g weight
 */
import type { Kernel, KernelRequest } from "../../ir/program.ts";
import { address } from "../template.ts";
import { rowKernel } from "./row_frame.ts";
import { momentsOf } from "./statistics.ts";

/** Inputs x, weight, bias; the latter two are read per column. */
export function layerNormKernel(request: KernelRequest): Kernel {
  const [x, weight, bias] = request.inputs;
  const [w, b] = [address("weight", weight.layout, ["j"]), address("bias", bias.layout, ["j"])];
  return rowKernel(request, {
    name: "layer_norm",
    operands: [x],
    extra: {
      bindings: [{ name: "weight", access: "read" }, { name: "bias", access: "read" }],
      params: { ...w.params, ...b.params },
    },
    flops: 8,
    body: (row) =>
      `${momentsOf(row, request.attrs.epsilon as number)}
${row.write(`(v0 - mean) * rstd * weight[${w.expression}] + bias[${b.expression}]`)}`,
  });
}

/** Inputs x, h. */
export function layerNormGradientKernel(request: KernelRequest): Kernel {
  return rowKernel(request, {
    name: "layer_norm_gradient",
    flops: 14,
    body: (row) =>
      `${momentsOf(row, request.attrs.epsilon as number)}
${row.sums({ first: "v1", second: "v1 * (v0 - mean) * rstd" })}
let mean_first = first / f32(p.length);
let mean_second = second / f32(p.length);
${row.write("rstd * (v1 - mean_first - (v0 - mean) * rstd * mean_second)")}`,
  });
}
