/**
 * Batch normalisation by the statistics of the image at hand: each plane of x [B, C, H, W] by its own moments over H x W, then
 * * weight + bias, which stand together as affine [2, C]. Written as moments and a scalar chain, which fuses into what comes
 * next; B is 1 in training, so that a plane's statistics are the batch's.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import { EngineError, sameShape, typeText } from "../ir/type.ts";
import { eachRow, expand, sum } from "./broadcast.ts";
import { add, div, mul, sub } from "./elementwise.ts";
import { permute, reshape, slice } from "./movement.ts";
import { pairSums, perRow, standardised, standardisedRow } from "./statistics.ts";

const batchNormOp: Op = {
  name: "batch_norm",
  infer([x, affine]) {
    if (x.shape.length !== 4 || !sameShape(affine.shape, [2, x.shape[1]])) {
      throw new EngineError(
        `Cannot batch_norm ${typeText(x)} by ${typeText(affine)}: needs [B,C,H,W] and weight and bias as f32[2,C]`,
      );
    }
    return x;
  },
  meaning([x, affine], [type], attrs) {
    const [, channels, height, width] = type.shape;
    let row = 0;
    return eachRow([x], height * width, height * width, ([values]) => {
      const c = row++ % channels;
      return standardisedRow(values, attrs.epsilon as number).hat.map((hat) => hat * affine[c] + affine[channels + c]);
    });
  },
  pullback({ g, inputs: [x, affine], attrs }) {
    const [batch, channels, height, width] = x.type.shape;
    const { hat, rstd } = standardised(x, { axes: 2, epsilon: attrs.epsilon as number });
    const sums = pairSums(g, hat, 2); // [2, B, C]: of g * hat, of g
    const pull = add(mul(perRow(sums, 0, x, 2), hat), perRow(sums, 1, x, 2));
    const dx = mul(mul(perChannel(affine, 0, x), rstd), sub(g, div(pull, height * width)));
    return [dx, batch === 1 ? reshape(sums, [2, channels]) : sum(permute(sums, [0, 2, 1]), 1)];
  },
  lower: {
    kind: "graph",
    expand([x, affine], attrs) {
      const { hat } = standardised(x, { axes: 2, epsilon: attrs.epsilon as number });
      return add(mul(hat, perChannel(affine, 0, x)), perChannel(affine, 1, x));
    },
  },
};

const perChannel = (affine: Value, k: number, x: Value) =>
  expand(reshape(slice(affine, 0, k, 1), [1, x.type.shape[1], 1, 1]), x.type.shape);

/** affine is [2, C]: weights, then biases. */
export function batchNorm(x: Value, affine: Value, epsilon: number): Value {
  return apply(batchNormOp, [x, affine], { epsilon });
}

export const batchNormOps: readonly Op[] = [batchNormOp];
