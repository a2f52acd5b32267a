/**
 * The "deep image prior": a U-Net that turns fixed noise into a picture, trained from scratch until the extractor sees in it what it
 * is asked to see. Its shape alone is what makes the picture look like one. (Ulyanov, Vedaldi and Lempitsky 2018, arXiv:1711.10925.)
 *
 * Six levels of channels 16, 32, 64, 128, 128, 128, kernels 7, 7, 5, 5, 3, 3 down and up, skips of 4, reflection padding; going
 * down a convolution is followed by the mean of 2 x 2 pixels, going up by bilinear doubling. Normalisation and biases as in the
 * generator. A level whose reflection would not fit into what is left of the picture is left out, with all below it. Invariant: the output has the size of the input.
 */
import { conv2d, EngineError, type RandomStream, resample, sizeOf, type Value } from "../engine/mod.ts";
import { countOf, type Hourglass, layOut, openHourglass, type Parameter, throughHourglass } from "./hourglass.ts";

/** Channels of the noise that goes in. */
export const NOISE_CHANNELS = 32;

const LEVELS = [
  { channels: 16, k: 7 },
  { channels: 32, k: 7 },
  { channels: 64, k: 5 },
  { channels: 128, k: 5 },
  { channels: 128, k: 3 },
  { channels: 128, k: 3 },
] as const;

export type Prior = Hourglass;

/** How many of the levels a picture has room for: reflection by (k - 1) / 2 needs sides larger than that, before and after halving. */
export function priorLevels(height: number, width: number): number {
  let side = Math.min(height, width);
  const first = LEVELS.findIndex(({ k }) => (side = Math.ceil(side / 2)) <= (k - 1) / 2);
  const levels = first < 0 ? LEVELS.length : first;
  if (levels > 0) return levels;
  throw new EngineError(
    `Cannot make a picture of ${width} x ${height} out of noise: its sides must be at least 7; raise vit_side or vit_longest`,
  );
}

/** Where the parameters of a network of so many levels lie in its slab. */
function priorParameters(levels: number): readonly Parameter[] {
  return layOut(LEVELS.slice(0, levels), NOISE_CHANNELS);
}

/** The published initialisation: weights and biases uniform within 1 / sqrt(fan in), normalisations 1 and 0. */
export function freshPrior(levels: number, random: RandomStream): Float32Array<ArrayBuffer> {
  const parameters = priorParameters(levels);
  const slab = new Float32Array(countOf(parameters));
  let bound = 0;
  for (const { kind, shape, offset } of parameters) {
    if (kind === "affine") slab.fill(1, offset, offset + shape[1]);
    else {
      if (kind === "weight") bound = 1 / Math.sqrt(shape[1] * shape[2] * shape[3]); // a bias follows its weight
      for (let i = 0; i < sizeOf(shape); i++) slab[offset + i] = bound * (2 * random.uniform() - 1);
    }
  }
  return slab;
}

export function openPrior(levels: number, stateName: string): Prior {
  return openHourglass(priorParameters(levels), { levels, stateName });
}

/** noise [32, H, W] -> [3, H, W] in (0, 1). */
export function imagine(net: Prior, noise: Value): Value {
  return throughHourglass(net, noise, (x, weight, halve) => {
    const raw = conv2d(x, weight, { padding: "reflect" });
    return halve ? halved(raw) : raw;
  });
}

/** Means of 2 x 2 pixels: what bilinear sampling at every second pixel's corner is. An odd last row or column counts twice. */
function halved(x: Value): Value {
  const [, , height, width] = x.type.shape;
  return resample(x, { height: Math.ceil(height / 2), width: Math.ceil(width / 2), scaleY: 2, scaleX: 2 });
}
