/** Colours alone: the moments of the result, pictures without colours, and what whitening and colouring leave as it is. */
import assert from "node:assert/strict";
import { randomStream } from "../../../src/engine/mod.ts";
import type { Picture } from "../../../src/images/picture.ts";
import { transferColours } from "../../../src/splice/evaluation/colour_transfer.ts";

/** Independent noise of three amounts, mixed: no channel is without the others, and none reaches black or white. */
function mixed(width: number, height: number, seed: number, mix: readonly number[]): Picture {
  const random = randomStream(seed);
  const area = width * height;
  const data = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) {
    const noise = [0.16, 0.1, 0.05].map((amount) => amount * (random.uniform() - 0.5));
    for (let c = 0; c < 3; c++) {
      data[c * area + i] = 0.3 + 0.1 * c + noise.reduce((sum, value, k) => sum + mix[3 * c + k] * value, 0);
    }
  }
  return { width, height, data };
}

function moments({ width, height, data }: Picture): number[] {
  const area = width * height;
  const plane = (c: number) => data.subarray(c * area, (c + 1) * area);
  const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / area;
  const means = [0, 1, 2].map((c) => mean(plane(c)));
  const pairs = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]];
  return [
    ...means,
    ...pairs.map(([i, j]) => mean(plane(i).map((value, at) => (value - means[i]) * (plane(j)[at] - means[j])))),
  ];
}

function assertClose(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number): void {
  assert.equal(got.length, want.length);
  for (let i = 0; i < got.length; i++) {
    assert.ok(Math.abs(got[i] - want[i]) <= tolerance, `${got[i]}, not ${want[i]}, at ${i}`);
  }
}

const structure = mixed(40, 30, 1, [1, 0.2, -0.4, 0.3, 0.9, 0.1, -0.2, 0.5, 1.1]);
const appearance = mixed(25, 33, 2, [0.4, -0.6, 0.3, 1, 0.2, 0.8, -0.5, 1, 0.6]);

Deno.test("colour transfer: the result has the appearance's mean and covariance, at the structure's size", () => {
  const result = transferColours(structure, appearance);
  assert.deepEqual([result.width, result.height], [40, 30]);
  assertClose(moments(result), moments(appearance), 1e-6);
});

Deno.test("colour transfer: a picture with its own colours stays as it is, and a channel alone is stretched", () => {
  assertClose(transferColours(structure, structure).data, structure.data, 1e-6);
  const area = 30 * 20;
  const plain = mixed(30, 20, 3, [1, 0, 0, 0, 1, 0, 0, 0, 1]); // channels of next to no covariance
  const halved = { ...plain, data: plain.data.map((value) => 0.5 * value) };
  assertClose(transferColours(plain, halved).data, halved.data, 1e-6);
  assert.equal(halved.data.length, 3 * area);
});

Deno.test("colour transfer: without colours there are none to stretch, and nothing leaves [0, 1]", () => {
  const flat = { width: 9, height: 7, data: new Float32Array(189).fill(0.25) };
  const means = moments(appearance);
  const painted = transferColours(flat, appearance);
  for (let c = 0; c < 3; c++) {
    assertClose(painted.data.subarray(63 * c, 63 * (c + 1)), new Array(63).fill(means[c]), 1e-6);
  }
  assertClose(transferColours(appearance, flat).data, new Array(appearance.data.length).fill(0.25), 1e-6);
  const grey = { width: 9, height: 7, data: Float32Array.from({ length: 189 }, (_, i) => (i % 63) / 62) };
  const coloured = transferColours(grey, appearance);
  assert.ok(coloured.data.every((value) => value >= 0 && value <= 1));
  assertClose(moments(coloured).slice(0, 3), means.slice(0, 3), 1e-3);
  const hard = { width: 9, height: 7, data: Float32Array.from({ length: 189 }, (_, i) => (i * 7) % 3 === 0 ? 1 : 0) };
  assert.ok(transferColours(grey, hard).data.every((value) => value >= 0 && value <= 1));
});
