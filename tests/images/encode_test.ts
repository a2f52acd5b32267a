/** What is written can be read back: PNG without loss and always as the same bytes, JPEG nearly; and pictures are scaled down as a good filter does. */
import assert from "node:assert/strict";
import { decodeImage, examineImage } from "../../src/images/decode.ts";
import { encodeImage, sizeProblem } from "../../src/images/encode.ts";
import { fitPicture, ImageError, type Picture } from "../../src/images/picture.ts";

function paint(width: number, height: number, value: (c: number, y: number, x: number) => number): Picture {
  const data = new Float32Array(3 * height * width);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) data[(c * height + y) * width + x] = value(c, y, x);
    }
  }
  return { width, height, data };
}

for (const width of [61, 62, 63, 64]) { // each row padding a BMP can have
  Deno.test(`images: a PNG ${width} wide comes back exactly`, async () => {
    const picture = paint(width, 40, (c, y, x) => ((x * 7 + y * 13 + c * 85) % 256) / 255);
    const file = await encodeImage(picture, "png");
    const again = await decodeImage(file, { label: "the PNG" });
    assert.deepEqual([again.width, again.height], [width, 40]);
    assert.deepEqual(again.data, picture.data);
    assert.deepEqual(await encodeImage(again, "png"), file);
  });
}

Deno.test("images: samples are rounded to the nearest of 256 and clamped", async () => {
  const values = [-0.5, 0.49 / 255, 0.51 / 255, 100.4 / 255, 100.6 / 255, 254.6 / 255, 1, 7];
  const file = await encodeImage(paint(values.length * 4, 32, (_c, _y, x) => values[x % values.length]), "png");
  const { data } = await decodeImage(file, { label: "the PNG" });
  assert.deepEqual([...data.subarray(0, values.length)].map((value) => Math.round(value * 255)), [
    0,
    0,
    1,
    100,
    101,
    255,
    255,
    255,
  ]);
});

Deno.test("images: JPEG is close, and quality changes its size", async () => {
  const picture = paint(64, 48, (c, y, x) => (x + y + 20 * c) / 200);
  const [good, poor] = [
    await encodeImage(picture, "jpeg", { quality: 0.95 }),
    await encodeImage(picture, "jpeg", { quality: 0.2 }),
  ];
  assert.deepEqual([...good.subarray(0, 3)], [0xff, 0xd8, 0xff]);
  assert.ok(poor.length < good.length);
  const { data } = await decodeImage(good, { label: "the JPEG" });
  const mean = data.reduce((sum, value, i) => sum + Math.abs(value - picture.data[i]), 0) / data.length;
  assert.ok(mean < 2 / 255, `mean difference ${mean * 255}`);
});

Deno.test("images: scaling down keeps means and smooth pictures, and averages fine patterns out", () => {
  const smooth = fitPicture(paint(300, 200, (_c, _y, x) => x / 300), 100);
  assert.deepEqual([smooth.width, smooth.height, smooth.data.length], [100, 67, 3 * 100 * 67]);
  for (let x = 5; x < 95; x++) assert.ok(Math.abs(smooth.data[x] - (3 * x + 1) / 300) < 1e-4); // the centre of pixel x was at 3 x + 1.5, less a half
  const stripes = fitPicture(paint(400, 100, (_c, _y, x) => x % 2), 100);
  for (let x = 5; x < 95; x++) assert.ok(Math.abs(stripes.data[x] - 0.5) < 0.01);
});

Deno.test("images: a picture that is small enough is left as it is", () => {
  const picture = paint(40, 60, () => 0.5);
  assert.equal(fitPicture(picture, 60), picture);
  assert.equal(fitPicture(picture, 1000), picture);
});

Deno.test("images: a WebP comes back nearly, at every size", async () => {
  const picture = paint(97, 45, (c, y, x) => 0.5 + 0.4 * Math.sin(x / 9 + c) * Math.cos(y / 7));
  const file = await encodeImage(picture, "webp", { quality: 0.95 });
  assert.equal(new TextDecoder().decode(file.subarray(8, 12)), "WEBP");
  const again = await decodeImage(file, { label: "the WebP" });
  assert.deepEqual([again.width, again.height], [97, 45]);
  const off = again.data.reduce((sum, value, i) => sum + Math.abs(value - picture.data[i]), 0) / picture.data.length;
  assert.ok(off < 0.02, `samples are ${off} off on average`);
});

Deno.test("images: examining a file tells its size, or what decoding it would", async () => {
  const file = await encodeImage(paint(80, 33, () => 0.25), "png");
  assert.deepEqual(await examineImage(file, { label: "the PNG" }), { width: 80, height: 33 });
  await assert.rejects(examineImage(file.subarray(0, file.length - 60), { label: "the PNG" }), /Cannot read the PNG/);
});

Deno.test("images: what a format cannot hold is refused with a format that can", async () => {
  for (const [format, width] of [["webp", 16_384], ["png", 65_536], ["jpeg", 65_536]] as const) {
    assert.equal(sizeProblem({ width: width - 1, height: 9 }, format), null);
    assert.ok((await encodeImage(paint(width - 1, 2, () => 0.5), format)).length > 0);
    await assert.rejects(
      encodeImage(paint(width, 2, () => 0.5), format),
      (error: unknown) => error instanceof ImageError && error.code === "too_large",
    );
  }
  assert.match(sizeProblem({ width: 9, height: 20_000 }, "webp")!, /9 x 20000 .* WebP, .* 16383 a side; choose PNG/);
  assert.match(sizeProblem({ width: 9, height: 70_000 }, "webp")!, /; make it smaller$/);
});
