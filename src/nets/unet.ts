/**
 * The generator: a U-Net of five levels, trained from scratch for every pair, as a graph over one slab of parameters.
 *
 * Channels 16, 32, 64, 128, 128 down and mirrored up, skips of 4; every convolution is followed by batch normalisation (by the
 * statistics of the image at hand) and LeakyReLU 0.2, but for the last. A bias that a normalisation follows has no effect and no
 * gradient, so it is no parameter here; checkpoints carry it as zeros. Invariant: the output has the size of the input.
 */
import {
  add,
  batchNorm,
  concat,
  conv2d,
  f32,
  leakyRelu,
  resample,
  reshape,
  sigmoid,
  sizeOf,
  slice,
  state,
  type Value,
  withScope,
} from "../engine/mod.ts";

const CHANNELS = [16, 32, 64, 128, 128] as const;
const SKIP = 4;
const SLOPE = 0.2;
const EPSILON = 1e-5;

/** One tensor of the slab. `affine`: a normalisation's weight, then its bias, [2, C]. */
export interface Parameter {
  readonly name: string;
  readonly kind: "weight" | "bias" | "affine";
  readonly shape: readonly number[];
  /** In elements. */
  readonly offset: number;
}

/** Where every trained tensor lies in the slab, in the order of checkpoints. */
export const parameters: readonly Parameter[] = layOut();

/** Elements of the slab. */
export const parameterCount = parameters.reduce((total, { shape }) => total + sizeOf(shape), 0);

function layOut(): Parameter[] {
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
  let inputs = 3;
  for (const [i, channels] of CHANNELS.entries()) {
    const below = CHANNELS[i + 1] ?? channels;
    conv(`skip.${i}`, inputs, SKIP, 1);
    conv(`down.${i}.a`, inputs, channels, 3);
    conv(`down.${i}.b`, channels, channels, 3);
    put(`up.${i}.cat.bn`, "affine", 2, SKIP + below);
    conv(`up.${i}.a`, SKIP + below, channels, 3);
    conv(`up.${i}.b`, channels, channels, 1);
    inputs = channels;
  }
  put("out.conv.weight", "weight", 3, CHANNELS[0], 1, 1);
  put("out.conv.bias", "bias", 3);
  return list;
}

/** The slab as a trained state, and each parameter as a view of it: what gradients are taken by. */
export interface Generator {
  readonly slab: Value;
  readonly views: readonly Value[];
  readonly parameter: (name: string) => Value;
}

export function openGenerator(stateName = "generator"): Generator {
  const slab = state(stateName, f32(parameterCount), { trained: true });
  const views = parameters.map(({ offset, shape }) => reshape(slice(slab, 0, offset, sizeOf(shape)), shape));
  const byName = new Map(parameters.map(({ name }, i) => [name, views[i]]));
  return { slab, views, parameter: (name) => byName.get(name)! };
}

/** image [3, H, W] -> [3, H, W] in (0, 1), for every H and W. */
export function generate(net: Generator, image: Value): Value {
  const [, height, width] = image.type.shape;
  const features = level(net, reshape(image, [1, 3, height, width]), 0);
  return withScope("out", () => {
    const bias = reshape(net.parameter("out.conv.bias"), [1, 3, 1, 1]);
    return reshape(sigmoid(add(conv2d(features, net.parameter("out.conv.weight")), bias)), [3, height, width]);
  });
}

function unit(net: Generator, x: Value, name: string, stride: 1 | 2 = 1): Value {
  return withScope(name, () => {
    const raw = conv2d(x, net.parameter(`${name}.conv.weight`), { stride });
    return leakyRelu(batchNorm(raw, net.parameter(`${name}.bn`), EPSILON), SLOPE);
  });
}

/** x [1, C, H, W] -> [1, c_i, H, W]. */
function level(net: Generator, x: Value, i: number): Value {
  const [, , height, width] = x.type.shape;
  const skip = unit(net, x, `skip.${i}`);
  const down = unit(net, unit(net, x, `down.${i}.a`, 2), `down.${i}.b`);
  const deep = i + 1 < CHANNELS.length ? level(net, down, i + 1) : down;
  const joined = withScope(`up.${i}.cat`, () => {
    // Twice the rounded-up half is the side itself or one more; the centre of an even excess of one begins at 0.
    const doubled = resample(deep, { height: 2 * deep.type.shape[2], width: 2 * deep.type.shape[3] });
    const cropped = slice(slice(doubled, 2, 0, height), 3, 0, width);
    return batchNorm(concat([skip, cropped], 1), net.parameter(`up.${i}.cat.bn`), EPSILON);
  });
  return unit(net, unit(net, joined, `up.${i}.a`), `up.${i}.b`);
}
