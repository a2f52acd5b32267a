/** The guided enlargement gives back what it promises: linear relations exactly, edges as sharp as the photograph's, samples in [0, 1], every size, the whole picture whatever its rows. */
import assert from "node:assert/strict";
import { type GuidedOptions, guidedRows } from "../../src/images/guided.ts";
import { fitPicture, type Picture, scalePicture } from "../../src/images/picture.ts";
import { planes, type Rows } from "../../src/images/scale.ts";

/** Pictures that do not change from run to run. */
function noise(width: number, height: number, seed = 1): Picture {
  let state = seed;
  const next = () => ((state = Math.imul(state, 1103515245) + 12345) >>> 1) / 2 ** 31;
  return { width, height, data: Float32Array.from({ length: 3 * width * height }, next) };
}

function painted(width: number, height: number, value: (c: number, y: number, x: number) => number): Picture {
  const data = Float32Array.from({ length: 3 * width * height }, (_, i) => {
    const [c, rest] = [Math.floor(i / (width * height)), i % (width * height)];
    return value(c, Math.floor(rest / width), rest % width);
  });
  return { width, height, data };
}

function whole(rows: Rows): Picture {
  const { width, height } = rows;
  const data = new Float32Array(3 * width * height);
  const row = new Float32Array(3 * width);
  for (let y = 0; y < height; y++) {
    rows.read(y, row);
    for (let c = 0; c < 3; c++) data.set(row.subarray(c * width, (c + 1) * width), (c * height + y) * width);
  }
  return { width, height, data };
}

/** A colour of each pixel that is linear in the photograph's: within [0, 1] for any colour. */
const MATRIX = [[0.4, -0.2, 0.3], [0.1, 0.5, -0.3], [-0.4, 0.2, 0.3]];
const ADDED = [0.25, 0.35, 0.45];
function related({ width, height, data }: Picture): Picture {
  const plane = width * height;
  return painted(width, height, (c, y, x) => {
    const at = y * width + x;
    return ADDED[c] + MATRIX[c].reduce((sum, factor, k) => sum + factor * data[k * plane + at], 0);
  });
}

const enlarge = (seen: Picture, result: Picture, full: Picture, options?: GuidedOptions) =>
  whole(guidedRows({ seen, painted: result, full: planes(full) }, options));

function farthest(a: Picture, b: Picture): number {
  assert.deepEqual([a.width, a.height], [b.width, b.height]);
  return a.data.reduce((most, value, i) => Math.max(most, Math.abs(value - b.data[i])), 0);
}

Deno.test("guided: a linear relation of colours is found and kept, at the size of the photograph", () => {
  for (const [width, height, radius] of [[40, 30, 3], [41, 33, 2], [37, 64, 5], [64, 7, 40]]) {
    const full = noise(4 * width + 1, 4 * height + 3, 7);
    const seen = scalePicture(full, { width, height });
    const far = farthest(enlarge(seen, related(seen), full, { radius, epsilon: 1e-9 }), related(full));
    assert.ok(far < 1e-5, `${width} x ${height}, radius ${radius}: off by ${far}`);
  }
});

Deno.test("guided: a picture of one colour stays of it, whatever the photograph and its size", () => {
  for (let side = 1; side <= 40; side += 3) {
    const seen = noise(side, 41 - side, side);
    const one = painted(side, 41 - side, (c) => 0.2 + 0.3 * c);
    const full = noise(3 * side + 1, 2 * (41 - side) + 1, side + 50);
    const result = enlarge(seen, one, full);
    assert.ok(farthest(result, painted(full.width, full.height, (c) => 0.2 + 0.3 * c)) < 1e-6, `side ${side}`);
  }
});

Deno.test("guided: every odd size from 1 to 40 is enlarged to numbers in [0, 1]", () => {
  for (let side = 1; side <= 40; side++) {
    const other = 1 + (side * 7) % 40;
    const result = enlarge(noise(side, other), noise(side, other, 3), noise(5 * side, 5 * other + 1, 9));
    assert.ok(result.data.every((value) => value >= 0 && value <= 1), `${side} x ${other}`);
  }
});

Deno.test("guided: what goes beyond black and white is cut off", () => {
  const full = noise(90, 60);
  const seen = scalePicture(full, { width: 30, height: 20 });
  const strong = { ...seen, data: seen.data.map((value) => 4 * value - 1.5) };
  const { data } = enlarge(seen, strong, full, { epsilon: 1e-6 });
  assert.equal(data.reduce((most, value) => Math.max(most, value)), 1);
  assert.equal(data.reduce((least, value) => Math.min(least, value)), 0);
});

Deno.test("guided: an edge that is soft in the painting is as sharp as the photograph's", () => {
  // Dark left of a slanted line, light right of it; the painting has other colours there, and knows the line only blurred.
  const at = (y: number) => 203 + 0.3 * y;
  const full = painted(480, 320, (_, y, x) => x < at(y) ? 0.2 : 0.8);
  const colours = [[0.9, 0.1], [0.3, 0.6], [0.1, 0.8]];
  const wanted = painted(480, 320, (c, y, x) => colours[c][x < at(y) ? 0 : 1]);
  const seen = fitPicture(full, 120);
  const blurred = scalePicture(scalePicture(wanted, { width: 60, height: 40 }), seen);
  const plain = scalePicture(blurred, full);
  const guided = enlarge(seen, blurred, full);
  const step = (picture: Picture, y: number) => {
    const row = picture.data.subarray(y * 480, (y + 1) * 480);
    const x = Math.ceil(at(y));
    return Math.abs(row[x] - row[x - 1]);
  };
  for (const y of [80, 160, 240]) {
    assert.ok(step(guided, y) > 0.6, `row ${y}: a step of ${step(guided, y)} instead of 0.8`);
    assert.ok(step(plain, y) < 0.15, `row ${y}: without the photograph ${step(plain, y)}`);
  }
});

Deno.test("guided: the whole does not depend on the radius reaching beyond the picture", () => {
  const [seen, result, full] = [noise(9, 5), noise(9, 5, 2), noise(27, 15, 3)];
  assert.ok(farthest(enlarge(seen, result, full, { radius: 9 }), enlarge(seen, result, full, { radius: 900 })) < 1e-6);
});

Deno.test("guided: small pictures of two sizes are refused", () => {
  assert.throws(
    () => enlarge(noise(9, 5), noise(5, 9), noise(27, 15)),
    /Cannot enlarge a picture of 5 x 9 by one of 9 x 5/,
  );
});
