/**
 * Augmentation on the GPU: the graph that turns an uploaded photograph into this step's crop, and the numbers that steer it.
 *
 * Structure A: flip, colour jitter, 3 x 3 Gaussian blur, square crop. Appearance B: flip, crop. The host draws and sends a few
 * dozen numbers a step; what they mean is said once, in `Draw`, and read by both sides. The order of the colour changes is
 * random, so each of four stages can be any of them. (Formulas of the colour changes: torchvision's.)
 */
import {
  add,
  clamp,
  concat,
  conv2d,
  crop,
  div,
  f32,
  flip,
  floor,
  full,
  input,
  max,
  mean,
  min,
  mul,
  positive,
  type RandomStream,
  reshape,
  slice,
  sub,
  type Value,
  withScope,
} from "../../engine/mod.ts";

/** Numbers a stage of the colour jitter reads. */
const STAGE = ["factor", "toward_mean", "toward_grey", "is_hue", "shift"] as const;
const STAGES = 4;
/** The layout of the fed vector. */
const FIELDS = [
  "flip",
  "y",
  "x",
  ...Array.from({ length: 9 }, (_, i) => `blur${i}`),
  ...Array.from({ length: STAGES }, (_, s) => STAGE.map((name) => `${name}${s}`)).flat(),
];

export const drawLength = FIELDS.length;

type Draw = Record<string, number>;

export interface CropSides {
  readonly structure: number;
  readonly appearance: number;
}

/** At most this many sides an image: each pair of sides is a program of its own. */
const MOST_SIDES = 3;

/**
 * The sides a square crop of an image can have: multiples of 8 within 95 to 100 % of its height, at most its width. A program
 * has fixed sizes, so a few sides stand for the range.
 */
export function cropSides(height: number, width: number): readonly number[] {
  const most = Math.min(height, width);
  const least = Math.min(Math.ceil(0.95 * height), most);
  const all: number[] = [];
  for (let side = Math.ceil(least / 8) * 8; side <= most; side += 8) all.push(side);
  if (all.length === 0) return [least];
  if (all.length <= MOST_SIDES) return all;
  return Array.from({ length: MOST_SIDES }, (_, i) => all[Math.round(i * (all.length - 1) / (MOST_SIDES - 1))]);
}

export interface Size {
  readonly height: number;
  readonly width: number;
}

/** This step's sides and numbers. The stream decides everything: the same stream, the same crops. */
export function drawCrops(
  random: RandomStream,
  sizes: { readonly structure: Size; readonly appearance: Size },
  blurProbability: number,
): { sides: CropSides; structure: Float32Array; appearance: Float32Array } {
  const pick = ({ height, width }: Size) => {
    const sides = cropSides(height, width);
    const side = sides[random.below(sides.length)];
    return {
      side,
      flip: random.uniform() < 0.5 ? 1 : 0,
      y: random.below(height - side + 1),
      x: random.below(width - side + 1),
    };
  };
  const a = pick(sizes.structure);
  const b = pick(sizes.appearance);
  const structure: Draw = { ...a, ...drawJitter(random), ...drawBlur(random, blurProbability) };
  return {
    sides: { structure: a.side, appearance: b.side },
    structure: Float32Array.from(FIELDS, (name) => structure[name]),
    appearance: Float32Array.of(b.flip, b.y, b.x),
  };
}

/** Brightness 0.4, contrast 0.4, saturation 0.2, hue 0.1, in random order, half of the time. */
function drawJitter(random: RandomStream): Draw {
  const within = (least: number, most: number) => least + (most - least) * random.uniform();
  const changes: Draw[] = [
    { factor: within(0.6, 1.4) },
    { factor: within(0.6, 1.4), toward_mean: 1 },
    { factor: within(0.8, 1.2), toward_grey: 1 },
    { is_hue: 1, shift: within(-0.1, 0.1) },
  ];
  for (let i = changes.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [changes[i], changes[j]] = [changes[j], changes[i]];
  }
  const on = random.uniform() < 0.5;
  const nothing: Draw = { factor: 1, toward_mean: 0, toward_grey: 0, is_hue: 0, shift: 0 };
  return Object.fromEntries(
    changes.flatMap((change, s) =>
      Object.entries({ ...nothing, ...(on ? change : {}) }).map(([name, value]) => [`${name}${s}`, value])
    ),
  );
}

/** A 3 x 3 Gaussian of sigma in [0.1, 2], or the identity. */
function drawBlur(random: RandomStream, probability: number): Draw {
  const on = random.uniform() < probability;
  const sigma = 0.1 + 1.9 * random.uniform();
  const side = on ? Math.exp(-0.5 / sigma ** 2) : 0;
  const weights = [side, 1, side].map((weight) => weight / (1 + 2 * side));
  return Object.fromEntries(
    Array.from({ length: 9 }, (_, i) => [`blur${i}`, weights[Math.floor(i / 3)] * weights[i % 3]]),
  );
}

/** The crop of the structure image [3, H, W] -> [3, side, side]; its numbers are the input `structure_draw`. */
export function augmentStructure(image: Value, side: number): Value {
  return withScope("augment.structure", () => {
    const draw = input("structure_draw", f32(drawLength));
    const number = (name: string) => slice(draw, 0, FIELDS.indexOf(name), 1);
    let x = flipped(image, number("flip"));
    for (let s = 0; s < STAGES; s++) {
      x = withScope(`colour${s}`, () => colourStage(x, (name) => reshape(number(`${name}${s}`), [1, 1, 1])));
    }
    const [, height, width] = image.type.shape;
    const kernel = reshape(slice(draw, 0, FIELDS.indexOf("blur0"), 9), [1, 1, 3, 3]);
    const planes = conv2d(reshape(x, [3, 1, height, width]), kernel, { padding: "reflect" });
    return crop(reshape(planes, [3, height, width]), slice(draw, 0, FIELDS.indexOf("y"), 2), side, side);
  });
}

/** The crop of the appearance image; its numbers are the input `appearance_draw`: flip, y, x. */
export function augmentAppearance(image: Value, side: number): Value {
  return withScope("augment.appearance", () => {
    const draw = input("appearance_draw", f32(3));
    return crop(flipped(image, slice(draw, 0, 0, 1)), slice(draw, 0, 1, 2), side, side);
  });
}

/** x or its mirror image; `on` is 0 or 1, so the mixture is exact. */
function flipped(x: Value, on: Value): Value {
  const which = reshape(on, [1, 1, 1]);
  return add(mul(x, sub(1, which)), mul(flip(x, 2), which));
}

const channel = (x: Value, c: number) => slice(x, 0, c, 1);

/** One colour change: towards black, the mean grey or each pixel's grey; or a turn of the hue. */
function colourStage(x: Value, number: (name: (typeof STAGE)[number]) => Value): Value {
  const grey = add(add(mul(channel(x, 0), 0.2989), mul(channel(x, 1), 0.587)), mul(channel(x, 2), 0.114)); // [1, H, W]
  const average = reshape(mean(grey, 3), [1, 1, 1]);
  const anchor = add(mul(grey, number("toward_grey")), mul(average, number("toward_mean")));
  const factor = number("factor");
  const mixed = clamp(add(mul(x, factor), mul(anchor, sub(1, factor))), 0, 1);
  const turned = turnHue(x, number("shift"));
  return add(mul(mixed, sub(1, number("is_hue"))), mul(turned, number("is_hue")));
}

/** RGB -> HSV, hue + shift (in turns), -> RGB. */
function turnHue(x: Value, shift: Value): Value {
  const [r, g, b] = [0, 1, 2].map((c) => channel(x, c));
  const value = max(max(r, g), b);
  const chroma = sub(value, min(min(r, g), b));
  const width = add(chroma, sub(1, positive(chroma))); // 1 for greys, whose hue is any
  const from = (c: Value) => div(sub(value, c), width);
  const isR = sub(1, positive(sub(value, r)));
  const isG = mul(sub(1, positive(sub(value, g))), sub(1, isR));
  const isB = sub(sub(1, isR), isG);
  const sixth = add(
    add(mul(isR, sub(from(b), from(g))), mul(isG, sub(add(2, from(r)), from(b)))),
    mul(isB, sub(add(4, from(g)), from(r))),
  );
  const hue = add(sixth, mul(shift, 6)); // in sixths of a turn, any sign
  const k = add(hue, concat([5, 3, 1].map((n) => full([1, 1, 1], n)))); // of red, green and blue
  const turn = sub(k, mul(floor(div(k, 6)), 6));
  return sub(value, mul(chroma, clamp(min(turn, sub(4, turn)), 0, 1)));
}
