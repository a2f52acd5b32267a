/**
 * Layer normalisation over the last axis: x [..., D] by its own moments, then * weight + bias, both [D].
 *
 * What reaches x is an op of its own, one kernel; what reaches weight and bias are sums over columns.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import { EngineError, sameShape, sizeOf, typeText } from "../ir/type.ts";
import { layerNormGradientKernel, layerNormKernel } from "../wgsl/rows/layer_norm.ts";
import { checkAxes, eachRow, expand, sum, sumColumns, total } from "./broadcast.ts";
import { add, div, mul, neg, sub } from "./elementwise.ts";
import { reshape } from "./movement.ts";
import { standardised, standardisedRow } from "./statistics.ts";

/** Columns summed: [T, D] -> [D]. */
const columns = (x: Value): Value => {
  const [rows, width] = [sizeOf(x.type.shape) / x.type.shape.at(-1)!, x.type.shape.at(-1)!];
  return sumColumns(reshape(x, [rows, width]));
};

const layerNormOp: Op = {
  name: "layer_norm",
  infer([x, weight, bias]) {
    const width = x.shape.at(-1) ?? 0;
    if (!sameShape(weight.shape, [width]) || !sameShape(bias.shape, [width])) {
      throw new EngineError(
        `Cannot layer_norm ${typeText(x)} by ${typeText(weight)} and ${typeText(bias)}: both must be f32[${width}]`,
      );
    }
    return x;
  },
  meaning([x, weight, bias], [type], attrs) {
    const width = type.shape.at(-1)!;
    return eachRow(
      [x],
      width,
      width,
      ([row]) => standardisedRow(row, attrs.epsilon as number).hat.map((hat, i) => hat * weight[i] + bias[i]),
    );
  },
  pullback({ g, inputs: [x, weight], attrs }) {
    const { hat } = standardised(x, { axes: 1, epsilon: attrs.epsilon as number });
    return [
      apply(layerNormGradientOp, [x, mul(g, weight)], { epsilon: attrs.epsilon }),
      columns(mul(g, hat)),
      columns(g),
    ];
  },
  lower: { kind: "kernel", epilogue: true, prologue: false, build: layerNormKernel },
};

/** (x - mean) / sqrt(var + epsilon) * weight + bias over the last axis. x [..., D]; weight, bias [D]. */
export function layerNorm(x: Value, weight: Value, bias: Value, epsilon: number): Value {
  return apply(layerNormOp, [x, weight, bias], { epsilon });
}

/** rstd (h - mean(h) - hat mean(h hat)): what reaches x through its normalisation, h being g * weight. */
const layerNormGradientOp: Op = {
  name: "layer_norm_gradient",
  infer(inputs) {
    checkAxes("take the layer norm gradient of", inputs, { axes: 1 });
    return inputs[0];
  },
  meaning: (inputs, [type], attrs) =>
    eachRow(inputs, type.shape.at(-1)!, type.shape.at(-1)!, ([x, h]) => {
      const { hat, rstd } = standardisedRow(x, attrs.epsilon as number);
      const first = total(h) / h.length;
      const second = h.reduce((a, b, i) => a + b * hat[i], 0) / h.length;
      return h.map((value, i) => rstd * (value - first - hat[i] * second));
    }),
  pullback({ g, inputs: [x, h], attrs }) {
    // Linear and self-adjoint in h; what it does to x is of second order and built from first principles.
    return [secondOrder(x, h, g, attrs.epsilon as number), apply(layerNormGradientOp, [x, g], attrs)];
  },
  lower: { kind: "kernel", epilogue: true, prologue: true, build: layerNormGradientKernel },
};

/** d/dx of <g, layer_norm_gradient(x, h)>: with q = <g, h> - n mean(g) mean(h) - n a b, a = mean(g hat), b = mean(h hat). */
function secondOrder(x: Value, h: Value, g: Value, epsilon: number): Value {
  const shape = x.type.shape;
  const n = shape.at(-1)!;
  const spread = (value: Value) => expand(reshape(value, [...shape.slice(0, -1), 1]), shape);
  const along = (a: Value, b: Value) => spread(div(sum(mul(a, b), 1), n));
  const average = (a: Value) => spread(div(sum(a, 1), n));
  const { hat, rstd } = standardised(x, { axes: 1, epsilon });
  const [a, b] = [along(g, hat), along(h, hat)];
  const q = sub(sub(along(g, h), mul(average(g), average(h))), mul(a, b));
  // The value is n rstd q. drstd/dx = -rstd^2 hat / n; q reaches x through hat: -(b g + a h), seen through the normalisation.
  const throughHat = apply(layerNormGradientOp, [x, neg(mul(rstd, add(mul(b, g), mul(a, h))))], { epsilon });
  return sub(throughHat, mul(mul(rstd, rstd), mul(hat, q)));
}

export const layerNormOps: readonly Op[] = [layerNormOp, layerNormGradientOp];
