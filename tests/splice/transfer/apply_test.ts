/** A generator on other sizes: with the statistics kept it paints a picture in windows as it does whole, and at the size of the statistics as it always did. */
import assert from "node:assert/strict";
import { randomStream } from "../../../src/engine/mod.ts";
import type { Picture } from "../../../src/images/picture.ts";
import { fitPicture } from "../../../src/images/picture.ts";
import { planes, type Rows } from "../../../src/images/scale.ts";
import { applyGenerator, renderWhole } from "../../../src/splice/transfer/apply.ts";
import { freshSlab } from "../../../src/splice/transfer/checkpoint.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { tinyPicture } from "../../support/splice/tiny.ts";

// Strong enough to reach as far as the network can.
const generator = { slab: freshSlab(randomStream(3)).map((value) => 4 * value), size: undefined };

function samples(rows: Rows): Float32Array {
  const { width, height } = rows;
  const row = new Float32Array(3 * width);
  const data = new Float32Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    rows.read(y, row);
    data.set(row, 3 * width * y);
  }
  return data;
}

/** In levels of 255, by rows. */
function farthest(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  return 255 * a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

gpuTest("apply: kept statistics at their own size give what the generator always gave", async ({ runtime }) => {
  const picture = tinyPicture(61, 45, 1);
  const plain = await applyGenerator(runtime, { generator, picture });
  const kept = await renderWhole(runtime, { generator, picture, full: planes(picture) });
  assert.ok(farthest(samples(kept), samples(planes(plain))) <= 0.51, "but for the rounding to 8 bits");
});

gpuTest("apply: windows join without a seam, whatever the size", async ({ runtime }) => {
  for (const [width, height] of [[500, 449]]) {
    const full: Picture = tinyPicture(width, height, 2);
    const picture = fitPicture(full, 96);
    const shares: number[] = [];
    const onShare = (share: number) => void shares.push(share);
    const whole = samples(
      await renderWhole(runtime, { generator, picture, full: planes(full), windowPixels: 1 << 20 }),
    );
    const parts = samples(
      await renderWhole(runtime, { generator, picture, full: planes(full), onShare, windowPixels: 1 }),
    );
    assert.ok(shares.length > 2, `${width} x ${height} in ${shares.length - 1} windows`);
    assert.deepEqual([shares.toSorted((a, b) => a - b), shares.at(-1)], [shares, 1]);
    // Sums in another order may round a sample to the next level.
    assert.ok(farthest(whole, parts) <= 1.01, `${width} x ${height}: off by ${farthest(whole, parts)}`);
    const off = whole.reduce((count, value, i) => count + Number(value !== parts[i]), 0);
    assert.ok(off < whole.length / 1000, `${off} of ${whole.length} samples are others`);
  }
});

gpuTest("apply: a painting that is ended stops between two windows", async ({ runtime }) => {
  const full = tinyPicture(500, 449, 2);
  const onShare = (share: number) => {
    if (share > 0) throw new Error("enough");
  };
  const options = { generator, picture: fitPicture(full, 96), full: planes(full), onShare, windowPixels: 1 };
  await assert.rejects(renderWhole(runtime, options), /^Error: enough$/);
});
