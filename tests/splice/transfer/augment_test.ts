/** Augmentation: what is drawn, in what proportions; and that the GPU does with a draw what torchvision's formulas say. */
import assert from "node:assert/strict";
import { randomStream } from "../../../src/engine/mod.ts";
import {
  augmentAppearance,
  augmentStructure,
  cropSides,
  drawCrops,
  drawLength,
} from "../../../src/splice/transfer/augment.ts";
import { imageState } from "../../../src/splice/transfer/objective.ts";
import { gpuTest, prepare } from "../../support/engine/gpu.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { tinyPicture } from "../../support/splice/tiny.ts";

/** The fed vector, read back: flip, y, x, nine blur weights, then four stages of five numbers. */
interface Drawn {
  readonly flip: number;
  readonly y: number;
  readonly x: number;
  readonly blur: readonly number[];
  readonly stages: readonly { factor: number; mean: number; grey: number; hue: number; shift: number }[];
}

function read(draw: Float32Array): Drawn {
  const [flip, y, x] = draw;
  const stages = Array.from({ length: 4 }, (_, s) => {
    const [factor, mean, grey, hue, shift] = draw.subarray(12 + 5 * s, 17 + 5 * s);
    return { factor, mean, grey, hue, shift };
  });
  return { flip, y, x, blur: [...draw.subarray(3, 12)], stages };
}

const kindOf = ({ mean, grey, hue }: Drawn["stages"][number]) =>
  hue ? "hue" : mean ? "contrast" : grey ? "saturation" : "brightness";
const isJittered = ({ stages }: Drawn) => stages.some((stage) => kindOf(stage) !== "brightness");

const sizes = { structure: { width: 260, height: 200 }, appearance: { width: 90, height: 120 } };
const draws = Array.from({ length: 4000 }, (_, t) => drawCrops(randomStream(1, 2, t), sizes, 0.3));

/** Within four standard deviations of a share of `count` draws. */
function isShare(found: number, share: number, count: number, what: string): void {
  const room = 4 * Math.sqrt(share * (1 - share) / count);
  assert.ok(Math.abs(found / count - share) <= room, `${what}: ${found} of ${count}, and ${share} is expected`);
}

Deno.test("augmentation: crops have 95 to 100 % of the height, at most the width, and lie inside", () => {
  assert.deepEqual(cropSides(200, 260), [192, 200]);
  assert.deepEqual(cropSides(120, 90), [90], "a narrow picture is cropped to its width");
  assert.deepEqual(cropSides(40, 40), [40]);
  assert.deepEqual(cropSides(33, 50), [32]);
  assert.deepEqual(cropSides(1000, 1200), [952, 976, 1000]);
  const positions = new Set<number>();
  for (const { sides, structure, appearance } of draws) {
    const a = read(structure);
    assert.ok(cropSides(200, 260).includes(sides.structure));
    assert.ok(a.y >= 0 && a.y + sides.structure <= 200 && a.x >= 0 && a.x + sides.structure <= 260);
    assert.ok(Number.isInteger(a.y) && Number.isInteger(a.x));
    const [, y, x] = appearance;
    assert.ok(y >= 0 && y + sides.appearance <= 120 && x >= 0 && x + sides.appearance <= 90);
    positions.add(a.x);
  }
  assert.equal(positions.size, 260 - 192 + 1, "every offset occurs");
});

Deno.test("augmentation: flips, colour jitter and blur come as often as they should, in their ranges", () => {
  const all = draws.map(({ structure }) => read(structure));
  const count = (is: (drawn: Drawn) => boolean) => all.filter(is).length;
  isShare(count(({ flip }) => flip === 1), 0.5, all.length, "flips");
  isShare(draws.filter(({ appearance }) => appearance[0] === 1).length, 0.5, all.length, "flips of the appearance");
  isShare(count(isJittered), 0.5, all.length, "colour jitter");
  isShare(count(({ blur }) => blur[0] > 0), 0.3, all.length, "blur");
  isShare(draws.filter(({ sides }) => sides.structure === 200).length, 0.5, all.length, "the larger of two sides");

  const jittered = all.filter(isJittered);
  const seen: Record<string, number[]> = { brightness: [], contrast: [], saturation: [], hue: [] };
  const first: Record<string, number> = {};
  for (const { stages } of jittered) {
    assert.deepEqual(stages.map(kindOf).sort(), ["brightness", "contrast", "hue", "saturation"]);
    first[kindOf(stages[0])] = (first[kindOf(stages[0])] ?? 0) + 1;
    for (const stage of stages) seen[kindOf(stage)].push(kindOf(stage) === "hue" ? stage.shift : stage.factor);
  }
  for (const [kind, times] of Object.entries(first)) isShare(times, 0.25, jittered.length, `${kind} comes first`);
  const ranges: Record<string, [number, number]> = {
    brightness: [0.6, 1.4],
    contrast: [0.6, 1.4],
    saturation: [0.8, 1.2],
    hue: [-0.1, 0.1],
  };
  for (const [kind, [least, most]] of Object.entries(ranges)) {
    const [smallest, largest] = [Math.min(...seen[kind]), Math.max(...seen[kind])];
    assert.ok(smallest >= least - 1e-6 && largest <= most + 1e-6, `${kind} from ${smallest} to ${largest}`);
    assert.ok(largest - smallest > 0.98 * (most - least), `${kind} fills its range`);
  }
  for (const { blur, stages } of all) {
    assert.ok(Math.abs(blur.reduce((a, b) => a + b) - 1) < 1e-6);
    if (!isJittered({ blur, stages } as Drawn)) {
      assert.ok(stages.every(({ factor, shift }) => factor === 1 && shift === 0));
    }
  }
  // Sigma in [0.1, 2]: the ratio of a side weight to the middle one is exp(-1 / (2 sigma^2)).
  const sigmas = all.filter(({ blur }) => blur[1] > 1e-12).map(({ blur }) =>
    Math.sqrt(-0.5 / Math.log(blur[1] / blur[4]))
  );
  assert.ok(Math.min(...sigmas) > 0.0999 && Math.max(...sigmas) < 2.001 && Math.max(...sigmas) > 1.95);
});

Deno.test("augmentation: a step's draw depends on the seed and the step alone", () => {
  const draw = (...name: number[]) => drawCrops(randomStream(...name), sizes, 0.5);
  assert.deepEqual(draw(1, 2, 30), draw(1, 2, 30));
  assert.notDeepEqual(draw(1, 2, 31), draw(1, 2, 30));
  assert.notDeepEqual(draw(2, 2, 30), draw(1, 2, 30));
  assert.equal(draw(1, 2, 30).structure.length, drawLength);
});

type Pixel = readonly [number, number, number];
const clamped = (x: number) => Math.min(1, Math.max(0, x));
const greyOf = ([r, g, b]: Pixel) => 0.2989 * r + 0.587 * g + 0.114 * b;
const blend = (p: Pixel, q: Pixel, factor: number) =>
  p.map((value, c) => clamped(factor * value + (1 - factor) * q[c])) as unknown as Pixel;

/** torchvision's adjust_hue: RGB -> HSV, h + shift modulo 1, HSV -> RGB. */
function turned([r, g, b]: Pixel, shift: number): Pixel {
  const [most, least] = [Math.max(r, g, b), Math.min(r, g, b)];
  const chroma = most - least;
  const saturation = chroma === 0 ? 0 : chroma / most;
  const from = (value: number) => chroma === 0 ? 0 : (most - value) / chroma;
  const sixths = most === r ? from(b) - from(g) : most === g ? 2 + from(r) - from(b) : 4 + from(g) - from(r);
  const hue = (((sixths / 6 + 1) % 1 + shift) % 1 + 1) % 1;
  const sector = Math.floor(hue * 6);
  const f = hue * 6 - sector;
  const p = most * (1 - saturation);
  const q = most * (1 - saturation * f);
  const t = most * (1 - saturation * (1 - f));
  const table: Pixel[] = [[most, t, p], [q, most, p], [p, most, t], [p, q, most], [t, p, most], [most, p, q]];
  return table[sector % 6];
}

/** One draw, by torchvision's formulas, pixel by pixel. */
function byFormula(data: Float32Array, width: number, height: number, drawn: Drawn, side: number): Float64Array {
  let pixels = Array.from({ length: width * height }, (_, i): Pixel => {
    const at = drawn.flip ? i - i % width + (width - 1 - i % width) : i;
    return [data[at], data[at + width * height], data[at + 2 * width * height]];
  });
  for (const stage of isJittered(drawn) ? drawn.stages : []) {
    const mean = pixels.reduce((sum, pixel) => sum + greyOf(pixel), 0) / pixels.length;
    pixels = pixels.map((pixel): Pixel => {
      const grey = greyOf(pixel);
      switch (kindOf(stage)) {
        case "hue":
          return turned(pixel, stage.shift);
        case "contrast":
          return blend(pixel, [mean, mean, mean], stage.factor);
        case "saturation":
          return blend(pixel, [grey, grey, grey], stage.factor);
        case "brightness":
          return blend(pixel, [0, 0, 0], stage.factor);
      }
    });
  }
  const mirror = (i: number, n: number) => i < 0 ? -i : i >= n ? 2 * n - 2 - i : i;
  return Float64Array.from({ length: 3 * side * side }, (_, i) => {
    const [c, y, x] = [Math.floor(i / side ** 2), Math.floor(i / side) % side + drawn.y, i % side + drawn.x];
    return drawn.blur.reduce((sum, weight, k) => {
      const [ny, nx] = [mirror(y + Math.floor(k / 3) - 1, height), mirror(x + k % 3 - 1, width)];
      return sum + weight * pixels[ny * width + nx][c];
    }, 0);
  });
}

gpuTest("augmentation: the GPU's crops are torchvision's", async (gpu) => {
  const [a, b] = [tinyPicture(52, 44, 1), tinyPicture(40, 48, 2)];
  for (const c of [0, 1, 2]) a.data.fill(0.25, c * 52 * 44 + 300, c * 52 * 44 + 390); // greys, whose hue is any
  a.data.copyWithin(600, 52 * 44 + 600, 52 * 44 + 700); // and two channels that are both the largest
  const side = 40;
  const roots = new Map([
    ["a", augmentStructure(imageState("structure", a), side)],
    ["b", augmentAppearance(imageState("appearance", b), side)],
  ]);
  const kinds = new Set<string>();
  for (let t = 0; t < 24; t++) {
    const drawn = drawCrops(randomStream(5, 2, t), { structure: a, appearance: b }, 0.5);
    const draw = read(drawn.structure);
    const feeds = new Map<string, Float64Array>(Object.entries({
      structure: Float64Array.from(a.data),
      appearance: Float64Array.from(b.data),
      structure_draw: Float64Array.from(drawn.structure),
      appearance_draw: Float64Array.from(drawn.appearance),
    }));
    const got = await (await prepare(gpu, { roots }, feeds, { profile: gpu.runtime.gpu.profile })).run();
    const error = relativeError(got.get("a")!, byFormula(a.data, a.width, a.height, draw, side));
    assert.ok(error < 1e-5, `draw ${t}, ${JSON.stringify(draw)}: off by ${error}`);
    const [flip, y, x] = drawn.appearance;
    const plain: Drawn = { flip, y, x, blur: [0, 0, 0, 0, 1, 0, 0, 0, 0], stages: [] };
    assert.ok(relativeError(got.get("b")!, byFormula(b.data, b.width, b.height, plain, side)) < 1e-6);
    kinds.add(`${isJittered(draw)} ${draw.blur[0] > 0} ${draw.flip}`);
  }
  assert.equal(kinds.size, 8, "jittered or not, blurred or not, flipped or not: all were seen");
});
