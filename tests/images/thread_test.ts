/** Large pictures are decoded in a thread of their own: with the same outcome, the same errors, and without holding up who asks. */
import assert from "node:assert/strict";
import { decodeImage, examineImage } from "../../src/images/decode.ts";
import { encodeImage } from "../../src/images/encode.ts";
import { fitPicture, ImageError, type Picture, releasePicture } from "../../src/images/picture.ts";

const [width, height] = [2400, 1700]; // a little more than is decoded in place
function ramp(): Picture {
  const data = new Float32Array(3 * width * height);
  for (let i = 0; i < data.length; i++) data[i] = ((i % width) * 7 + Math.floor(i / width) * 3) % 256 / 255;
  return { width, height, data };
}
const png = await encodeImage(ramp(), "png");
const jpeg = await encodeImage(ramp(), "jpeg");

Deno.test("threads: a large PNG comes back as it was, and nobody is held up", async () => {
  let turns = 0;
  const clock = setInterval(() => turns++, 20);
  const picture = await decodeImage(png, { label: "the PNG" });
  clearInterval(clock);
  assert.deepEqual([picture.width, picture.height], [width, height]);
  const wanted = ramp();
  assert.ok(picture.data.every((value, i) => Math.abs(value - wanted.data[i]) < 1e-6));
  assert.ok(turns > 3, `${turns} turns`);
});

Deno.test("threads: scaled down on the way it is what fitPicture makes of the whole, to the bit", async () => {
  for (const [file, label] of [[png, "the PNG"], [jpeg, "the JPEG"]] as const) {
    const whole = fitPicture(await decodeImage(file, { label }), 300);
    const fitted = await decodeImage(file, { label, longest: 300 });
    assert.deepEqual([fitted.width, fitted.height], [whole.width, whole.height]);
    assert.deepEqual(fitted.data, whole.data);
    assert.deepEqual(await examineImage(file, { label }), { width, height });
  }
});

Deno.test("threads: what is wrong with a large picture is said as of a small one", async () => {
  const broken = png.slice();
  broken.fill(0, png.length >> 1, (png.length >> 1) + 2000);
  for (const file of [jpeg.subarray(0, jpeg.length >> 1), broken]) {
    await assert.rejects(decodeImage(file.slice(), { label: "it" }), (error) => {
      assert.ok(error instanceof ImageError && error.code === "damaged", String(error));
      assert.match(error.message, /^Cannot read it: .*get a fresh copy$/);
      return true;
    });
  }
});

Deno.test("pictures: one that was released is empty", async () => {
  const picture = await decodeImage(jpeg, { label: "the JPEG", longest: 64 });
  releasePicture(picture);
  assert.equal(picture.data.length, 0);
});
