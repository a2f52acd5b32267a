/**
 * The generator: a U-Net of five levels, trained from scratch for every pair, as a graph over one slab of parameters.
 *
 * An hourglass of channels 16, 32, 64, 128, 128 down and mirrored up, skips of 4; kernels of 3, zero padding, and strides of 2 on the way down. Checkpoints carry the
 * biases that have no effect as zeros. Invariant: the output has the size of the input.
 */
import { conv2d, type Value } from "../engine/mod.ts";
import {
  type Convolve,
  countOf,
  type Hourglass,
  keepNormalisation,
  layOut,
  openHourglass,
  throughHourglass,
  withKept,
} from "./hourglass.ts";

const LEVELS = [16, 32, 64, 128, 128].map((channels) => ({ channels, k: 3 }));

export type Generator = Hourglass;

/** Where every trained tensor lies in the slab, in the order of checkpoints. */
export const parameters = layOut(LEVELS, 3);

/** Elements of the slab. */
export const parameterCount = countOf(parameters);

/** Channels that are normalised, in all layers together. */
export const normalisedChannels = parameters.reduce(
  (sum, { kind, shape }) => sum + (kind === "affine" ? shape[1] : 0),
  0,
);

/**
 * The output's pixels depend on those of the input that are no farther away than this, if the statistics are kept: at the level of scale s = 1, 2, 4, 8, 16 the
 * convolutions down reach s and 2 s far, the enlargement 2 s, the convolution up s: 186 in all. A multiple of all strides, 32.
 */
export const REACH = 192;

export function openGenerator(stateName = "generator"): Generator {
  return openHourglass(parameters, { levels: LEVELS.length, stateName });
}

const convolve: Convolve = (x, weight, halve) => conv2d(x, weight, { stride: halve ? 2 : 1 });

/** image [3, H, W] -> [3, H, W] in (0, 1), for every H and W. */
export function generate(net: Generator, image: Value): Value {
  return throughHourglass(net, image, convolve);
}

/** As `generate`; and what its normalisations came to, [2, normalisedChannels], for `generateKept`. */
export function generateKeeping(net: Generator, image: Value): { readonly image: Value; readonly kept: Value } {
  const { normalise, kept } = keepNormalisation();
  return { image: throughHourglass(net, image, convolve, normalise), kept: kept() };
}

/** As `generate`, normalised as another image was: so pixels depend only on what is near (`REACH`), and an image may be painted in parts. */
export function generateKept(net: Generator, image: Value, kept: Value): Value {
  return throughHourglass(net, image, convolve, withKept(kept));
}
