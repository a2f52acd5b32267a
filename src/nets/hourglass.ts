/**
 * An hourglass: levels one below the other, each half as large as the one above, with a skip beside each; its parameters lie one after the other in a slab. The generator
 * and the prior are two of them, which differ in their levels and in how they convolve.
 *
 * Every convolution is followed by batch normalisation (by the statistics of the image at hand) and LeakyReLU 0.2, but for the last. A bias that a normalisation follows
 * has no effect and no gradient, so it is no parameter here. Invariant: the output has the size of the input.
 */
import {
  add,
  batchNorm,
  concat,
  conv2d,
  div,
  expand,
  f32,
  leakyRelu,
  mean,
  mul,
  resample,
  reshape,
  sigmoid,
  sizeOf,
  slice,
  sqrt,
  state,
  sub,
  type Value,
  withScope,
} from "../engine/mod.ts";

const SKIP = 4;
const SLOPE = 0.2;
const EPSILON = 1e-5;

/** Channels of a level, and the side of its kernels. */
export interface Level {
  readonly channels: number;
  readonly k: number;
}

/** One tensor of the slab. `affine`: a normalisation's weight, then its bias, [2, C]. */
export interface Parameter {
  readonly name: string;
  readonly kind: "weight" | "bias" | "affine";
  readonly shape: readonly number[];
  /** In elements. */
  readonly offset: number;
}

/** Where every trained tensor lies in the slab; `inputs` channels go in. */
export function layOut(levels: readonly Level[], inputs: number): readonly Parameter[] {
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
  for (const [i, { channels, k }] of levels.entries()) {
    const below = levels[i + 1]?.channels ?? channels;
    conv(`skip.${i}`, inputs, SKIP, 1);
    conv(`down.${i}.a`, inputs, channels, k);
    conv(`down.${i}.b`, channels, channels, k);
    put(`up.${i}.cat.bn`, "affine", 2, SKIP + below);
    conv(`up.${i}.a`, SKIP + below, channels, k);
    conv(`up.${i}.b`, channels, channels, 1);
    inputs = channels;
  }
  put("out.conv.weight", "weight", 3, levels[0].channels, 1, 1);
  put("out.conv.bias", "bias", 3);
  return list;
}

/** Elements of the slab. */
export const countOf = (parameters: readonly Parameter[]) =>
  parameters.reduce((total, { shape }) => total + sizeOf(shape), 0);

/** The slab as a trained state, and each parameter as a view of it: what gradients are taken by. */
export interface Hourglass {
  readonly slab: Value;
  readonly views: readonly Value[];
  readonly levels: number;
  readonly parameter: (name: string) => Value;
}

export function openHourglass(
  parameters: readonly Parameter[],
  { levels, stateName }: { readonly levels: number; readonly stateName: string },
): Hourglass {
  const slab = state(stateName, f32(countOf(parameters)), { trained: true });
  const views = parameters.map(({ offset, shape }) => reshape(slice(slab, 0, offset, sizeOf(shape)), shape));
  const byName = new Map(parameters.map(({ name }, i) => [name, views[i]]));
  return { slab, views, levels, parameter: (name) => byName.get(name)! };
}

/** x [1, C, H, W] by weight [O, C, k, k] -> [1, O, H, W]; where `halve`, to the rounded-up halves of H and W. */
export type Convolve = (x: Value, weight: Value, halve: boolean) => Value;

/** x [1, C, H, W], normalised; affine [2, C]: weight and bias. Called for one layer after the other, always in the same order. */
export type Normalise = (x: Value, affine: Value) => Value;

const byOwnStatistics: Normalise = (x, affine) => batchNorm(x, affine, EPSILON);

/** image [C, H, W] -> [3, H, W] in (0, 1). */
export function throughHourglass(
  net: Hourglass,
  image: Value,
  convolve: Convolve,
  normalise: Normalise = byOwnStatistics,
): Value {
  const [channels, height, width] = image.type.shape;
  const features = level(net, reshape(image, [1, channels, height, width]), { i: 0, convolve, normalise });
  return withScope("out", () => {
    const bias = reshape(net.parameter("out.conv.bias"), [1, 3, 1, 1]);
    return reshape(sigmoid(add(conv2d(features, net.parameter("out.conv.weight")), bias)), [3, height, width]);
  });
}

/**
 * Normalisation by the statistics of the image at hand, which remembers what came of them: in each layer a factor of each channel and what is added, [2, C], and all
 * layers side by side in `kept`.
 */
export function keepNormalisation(): { readonly normalise: Normalise; kept(): Value } {
  const layers: Value[] = [];
  return {
    normalise(x, affine) {
      const centre = mean(x, 2); // [1, C]
      const off = sub(x, perChannel(centre, x));
      const factor = div(slice(affine, 0, 0, 1), sqrt(add(mean(mul(off, off), 2), EPSILON)));
      layers.push(concat([factor, sub(slice(affine, 0, 1, 1), mul(centre, factor))]));
      return byOwnStatistics(x, affine);
    },
    kept: () => concat(layers, 1),
  };
}

/** Normalisation by what was `kept` of another image. */
export function withKept(kept: Value): Normalise {
  let first = 0;
  return (x) => {
    const channels = x.type.shape[1];
    const [factor, added] = [0, 1].map((k) => slice(slice(kept, 0, k, 1), 1, first, channels));
    first += channels;
    return add(mul(x, perChannel(factor, x)), perChannel(added, x));
  };
}

/** [1, C] for each pixel of x [1, C, H, W]. */
const perChannel = (row: Value, x: Value) => expand(reshape(row, [1, x.type.shape[1], 1, 1]), x.type.shape);

/** x [1, C, H, W] -> [1, c_i, H, W]. */
function level(
  net: Hourglass,
  x: Value,
  { i, ...by }: { readonly i: number; readonly convolve: Convolve; readonly normalise: Normalise },
): Value {
  const { convolve, normalise } = by;
  const [, , height, width] = x.type.shape;
  const unit = (x: Value, name: string, halve = false) =>
    withScope(name, () => {
      const raw = convolve(x, net.parameter(`${name}.conv.weight`), halve);
      return leakyRelu(normalise(raw, net.parameter(`${name}.bn`)), SLOPE);
    });
  const skip = unit(x, `skip.${i}`);
  const down = unit(unit(x, `down.${i}.a`, true), `down.${i}.b`);
  const deep = i + 1 < net.levels ? level(net, down, { i: i + 1, ...by }) : down;
  const joined = withScope(`up.${i}.cat`, () => {
    // Twice the rounded-up half is the side itself or one more; the centre of an even excess of one begins at 0.
    const doubled = resample(deep, { height: 2 * deep.type.shape[2], width: 2 * deep.type.shape[3] });
    const cropped = slice(slice(doubled, 2, 0, height), 3, 0, width);
    return normalise(concat([skip, cropped], 1), net.parameter(`up.${i}.cat.bn`));
  });
  return unit(unit(joined, `up.${i}.a`), `up.${i}.b`);
}
