/**
 * The "deep image prior": a U-Net that turns fixed noise into a picture, trained from scratch until the extractor sees in it what it
 * is asked to see. Its shape alone is what makes the picture look like one. (Ulyanov, Vedaldi and Lempitsky 2018, arXiv:1711.10925.)
 *
 * Six levels of channels 16, 32, 64, 128, 128, 128, kernels 7, 7, 5, 5, 3, 3 down and up, skips of 4, reflection padding; going
 * down a convolution is followed by the mean of 2 x 2 pixels, going up by bilinear doubling. Normalisation and biases as in the
 * generator. A level whose reflection would not fit into what is left of the picture is left out, with all below it. Invariant: the output has the size of the input.
 */
import {
  add,
  batchNorm,
  concat,
  conv2d,
  EngineError,
  f32,
  leakyRelu,
  type RandomStream,
  resample,
  reshape,
  sigmoid,
  sizeOf,
  slice,
  state,
  type Value,
  withScope,
} from "../engine/mod.ts";
import type { Parameter } from "./unet.ts";

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
const SKIP = 4;
const SLOPE = 0.2;
const EPSILON = 1e-5;

/** The network as a trained state, and its parameters as views of it: what gradients are taken by. */
export interface Prior {
  readonly slab: Value;
  readonly views: readonly Value[];
  readonly levels: number;
  readonly parameter: (name: string) => Value;
}

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
  const list: Parameter[] = [];
  let offset = 0;
  const put = (name: string, kind: Parameter["kind"], ...shape: number[]) => {
    list.push({ name, kind, shape, offset });
    offset += sizeOf(shape);
  };
  const conv = (name: string, inputs: number, outputs: number, k: number) => {
    put(`${name}.conv.weight`, "weight", outputs, inputs, k, k);
    put(`${name}.bn`, "affine", 2, outputs);
  };
  let inputs = NOISE_CHANNELS;
  for (const [i, { channels, k }] of LEVELS.slice(0, levels).entries()) {
    const below = i + 1 < levels ? LEVELS[i + 1].channels : channels;
    conv(`skip.${i}`, inputs, SKIP, 1);
    conv(`down.${i}.a`, inputs, channels, k);
    conv(`down.${i}.b`, channels, channels, k);
    put(`up.${i}.cat.bn`, "affine", 2, SKIP + below);
    conv(`up.${i}.a`, SKIP + below, channels, k);
    conv(`up.${i}.b`, channels, channels, 1);
    inputs = channels;
  }
  put("out.conv.weight", "weight", 3, LEVELS[0].channels, 1, 1);
  put("out.conv.bias", "bias", 3);
  return list;
}

/** The published initialisation: weights and biases uniform within 1 / sqrt(fan in), normalisations 1 and 0. */
export function freshPrior(levels: number, random: RandomStream): Float32Array<ArrayBuffer> {
  const parameters = priorParameters(levels);
  const last = parameters.at(-1)!;
  const slab = new Float32Array(last.offset + sizeOf(last.shape));
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
  const parameters = priorParameters(levels);
  const last = parameters.at(-1)!;
  const slab = state(stateName, f32(last.offset + sizeOf(last.shape)), { trained: true });
  const views = parameters.map(({ offset, shape }) => reshape(slice(slab, 0, offset, sizeOf(shape)), shape));
  const byName = new Map(parameters.map(({ name }, i) => [name, views[i]]));
  return { slab, views, levels, parameter: (name) => byName.get(name)! };
}

/** noise [32, H, W] -> [3, H, W] in (0, 1). */
export function imagine(net: Prior, noise: Value): Value {
  const [channels, height, width] = noise.type.shape;
  const features = level(net, reshape(noise, [1, channels, height, width]), 0);
  return withScope("out", () => {
    const bias = reshape(net.parameter("out.conv.bias"), [1, 3, 1, 1]);
    return reshape(sigmoid(add(conv2d(features, net.parameter("out.conv.weight")), bias)), [3, height, width]);
  });
}

function unit(net: Prior, x: Value, name: string, options: { halve?: boolean } = {}): Value {
  return withScope(name, () => {
    const raw = conv2d(x, net.parameter(`${name}.conv.weight`), { padding: "reflect" });
    return leakyRelu(batchNorm(options.halve ? halved(raw) : raw, net.parameter(`${name}.bn`), EPSILON), SLOPE);
  });
}

/** Means of 2 x 2 pixels: what bilinear sampling at every second pixel's corner is. An odd last row or column counts twice. */
function halved(x: Value): Value {
  const [, , height, width] = x.type.shape;
  return resample(x, { height: Math.ceil(height / 2), width: Math.ceil(width / 2), scaleY: 2, scaleX: 2 });
}

/** x [1, C, H, W] -> [1, c_i, H, W]. */
function level(net: Prior, x: Value, i: number): Value {
  const [, , height, width] = x.type.shape;
  const skip = unit(net, x, `skip.${i}`);
  const down = unit(net, unit(net, x, `down.${i}.a`, { halve: true }), `down.${i}.b`);
  const deep = i + 1 < net.levels ? level(net, down, i + 1) : down;
  const joined = withScope(`up.${i}.cat`, () => {
    const doubled = resample(deep, { height: 2 * deep.type.shape[2], width: 2 * deep.type.shape[3] });
    const cropped = slice(slice(doubled, 2, 0, height), 3, 0, width); // twice the rounded-up half is one more at most
    return batchNorm(concat([skip, cropped], 1), net.parameter(`up.${i}.cat.bn`), EPSILON);
  });
  return unit(net, unit(net, joined, `up.${i}.a`), `up.${i}.b`);
}
