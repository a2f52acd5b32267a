/**
 * The generator: a U-Net of five levels, trained from scratch for every pair, as a graph over one slab of parameters.
 *
 * An hourglass of channels 16, 32, 64, 128, 128 down and mirrored up, skips of 4; kernels of 3, and strides of 2 on the way down. Padded with zeros it is the
 * released one; reflected, results of few steps have no frame. Checkpoints carry the biases that have no effect as zeros. Invariant: the output has the size of the input.
 */
import { conv2d, type Padding, type Value } from "../engine/mod.ts";
import { countOf, type Hourglass, layOut, openHourglass, throughHourglass } from "./hourglass.ts";

const LEVELS = [16, 32, 64, 128, 128].map((channels) => ({ channels, k: 3 }));

export interface Generator extends Hourglass {
  readonly padding: Padding;
}

/** Where every trained tensor lies in the slab, in the order of checkpoints. */
export const parameters = layOut(LEVELS, 3);

/** Elements of the slab. */
export const parameterCount = countOf(parameters);

export function openGenerator(padding: Padding, stateName = "generator"): Generator {
  return { ...openHourglass(parameters, { levels: LEVELS.length, stateName }), padding };
}

/** image [3, H, W] -> [3, H, W] in (0, 1), for every H and W. Where a level is down to one row or column there is nothing to reflect: it is padded with zeros. */
export function generate(net: Generator, image: Value): Value {
  return throughHourglass(net, image, (x, weight, halve) => {
    const [, , height, width] = x.type.shape;
    return conv2d(x, weight, { stride: halve ? 2 : 1, padding: Math.min(height, width) > 1 ? net.padding : "zero" });
  });
}
