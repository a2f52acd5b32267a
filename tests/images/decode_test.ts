/** Every kind of picture file, made by another program (tests/fixtures/images/make.py), decodes to what its formula says; everything else is refused with its reason. */
import assert from "node:assert/strict";
import { decodeImage, openPictureFile } from "../../src/images/decode.ts";
import { ImageError, type ImageFault, type Picture } from "../../src/images/picture.ts";

const folder = new URL("../fixtures/images/", import.meta.url);
const [width, height] = [50, 40];
type Colour = (x: number, y: number) => readonly [number, number, number]; // in [0, 1]

function read(name: string): Promise<Uint8Array<ArrayBuffer>> {
  return Deno.readFile(new URL(name, folder));
}

async function decode(name: string): Promise<Picture> {
  return await decodeImage(await read(name), { label: name });
}

/** The largest and the mean difference to `colour`, in 255ths. */
function difference({ data }: Picture, colour: Colour): { most: number; mean: number } {
  let [most, total] = [0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const wanted = colour(x, y);
      for (let c = 0; c < 3; c++) {
        const off = Math.abs(data[(c * height + y) * width + x] - wanted[c]) * 255;
        most = Math.max(most, off);
        total += off;
      }
    }
  }
  return { most, mean: total / data.length };
}

const alpha = (x: number, y: number) => (x * y % 256) / 255;
const onWhite = (colour: Colour, a: (x: number, y: number) => number): Colour => (x, y) => {
  const [r, g, b] = colour(x, y);
  const over = (value: number) => value * a(x, y) + 1 - a(x, y);
  return [over(r), over(g), over(b)];
};
const grey = (value: (x: number, y: number) => number): Colour => (x, y) => [value(x, y), value(x, y), value(x, y)];
const rgb: Colour = (x, y) => [5 * x / 255, 6 * y / 255, 2 * (x + y) / 255];
const grey8 = grey((x) => 5 * x / 255);
const grey16 = grey((x, y) => (1300 * x + 7 * y) / 65535);
const rgb16: Colour = (x, y) => [(1300 * x + 7 * y) / 65535, (1600 * y + 3 * x) / 65535, 1 - 700 * (x + y) / 65535];
const palette: Colour = (x, y) => {
  const i = (x + y) % 32;
  return [8 * i / 255, (255 - 8 * i) / 255, 4 * i / 255];
};

const exact: Record<string, Colour> = {
  "grey.png": grey8,
  "bits.png": grey((x, y) => x + y > 40 ? 1 : 0),
  "grey-alpha.png": onWhite(grey8, alpha),
  "alpha.png": onWhite(rgb, alpha),
  "alpha.webp": onWhite(rgb, alpha),
  "grey-16.png": grey16,
  "grey-alpha-16.png": onWhite(grey16, alpha),
  "rgb-16.png": rgb16,
  "alpha-16.png": onWhite(rgb16, alpha),
  "palette-alpha.png": onWhite(palette, (x, y) => 8 * ((x + y) % 32) / 255),
  "animated.webp": rgb,
  "other.bmp": rgb,
};
const lossy: Record<string, Colour> = {
  "progressive.jpg": rgb,
  "cmyk.jpg": rgb,
  "grey.jpg": grey8,
  "lossy.webp": rgb,
};
for (let orientation = 1; orientation <= 8; orientation++) {
  exact[`orientation-${orientation}.png`] = rgb;
  exact[`orientation-${orientation}.webp`] = rgb;
  lossy[`orientation-${orientation}.jpg`] = rgb;
}

for (const [name, colour] of Object.entries(exact)) {
  Deno.test(`images: ${name} is decoded exactly`, async () => {
    const picture = await decode(name);
    assert.deepEqual([picture.width, picture.height, picture.data.length], [width, height, 3 * width * height]);
    const { most } = difference(picture, colour);
    assert.ok(most < 1e-4, `${name} differs by up to ${most} / 255`);
  });
}

for (const [name, colour] of Object.entries(lossy)) {
  Deno.test(`images: ${name} is decoded, up to its compression`, async () => {
    const picture = await decode(name);
    assert.deepEqual([picture.width, picture.height], [width, height]);
    const { most, mean } = difference(picture, colour);
    assert.ok(most <= 16 && mean <= 2, `${name} differs by up to ${most}, on average ${mean}`);
  });
}

async function refusal(bytes: Uint8Array<ArrayBuffer>, maxPixels?: number): Promise<ImageError> {
  const options = maxPixels === undefined ? { label: "the picture" } : { label: "the picture", maxPixels };
  try {
    await decodeImage(bytes, options);
  } catch (error) {
    assert.ok(error instanceof ImageError, `not an ImageError: ${error}`);
    assert.match(error.message, /the picture/);
    return error;
  }
  assert.fail("it was accepted");
}

/** A PNG of the stated size whose pixels are missing. */
function pngHeader(wide: number, high: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(64);
  bytes.set([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52]);
  const view = new DataView(bytes.buffer);
  view.setUint32(16, wide);
  view.setUint32(20, high);
  bytes.set([8, 2, 0, 0, 0], 24);
  return bytes;
}

const refused: [string, ImageFault, () => Promise<Uint8Array<ArrayBuffer>> | Uint8Array<ArrayBuffer>][] = [
  ["an empty file", "unsupported_type", () => new Uint8Array()],
  ["text", "unsupported_type", () => new TextEncoder().encode("no picture, ".repeat(20))],
  ["a film", "unsupported_type", () => new TextEncoder().encode("\0\0\0\x18ftypisom".padEnd(64, "\0"))],
  ["a 30000 x 30000 PNG", "too_large", () => pngHeader(30000, 30000)],
  ["a 31 x 500 PNG", "too_small", () => pngHeader(31, 500)],
  ["a PNG without pixels", "damaged", () => pngHeader(100, 100)],
];
for (const [what, code, bytes] of refused) {
  Deno.test(`images: ${what} is refused: ${code}`, async () => {
    assert.equal((await refusal(await bytes())).code, code);
  });
}

Deno.test("images: the size limit can be set", async () => {
  assert.equal((await refusal(await read("grey.png"), width * height - 1)).code, "too_large");
  await decodeImage(await read("grey.png"), { label: "grey", maxPixels: width * height });
});

Deno.test("images: a file cut short anywhere is refused", async () => {
  for (const name of ["orientation-1.jpg", "progressive.jpg", "cmyk.jpg", "grey-16.png", "alpha.webp", "lossy.webp"]) {
    const whole = await read(name);
    for (let part = 1; part < 20; part++) {
      const code = (await refusal(whole.slice(0, Math.floor(whole.length * part / 20)))).code;
      assert.ok(code === "damaged" || code === "unsupported_type", `${name} at ${part} / 20: ${code}`);
    }
  }
});

Deno.test("images: damaged bytes give a picture or an ImageError, nothing else", async () => {
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
  for (
    const name of [
      "orientation-6.jpg",
      "orientation-6.png",
      "orientation-6.webp",
      "progressive.jpg",
      "cmyk.jpg",
      "palette-alpha.png",
      "lossy.webp",
    ]
  ) {
    const whole = await read(name);
    for (let trial = 0; trial < 25; trial++) {
      const bytes = whole.slice();
      for (let hit = 0; hit < 4; hit++) bytes[random(bytes.length)] = random(256);
      try {
        await decodeImage(bytes, { label: name });
      } catch (error) {
        assert.ok(error instanceof ImageError, `${name}, trial ${trial}: ${error}`);
      }
    }
  }
});

Deno.test("images: row by row a file gives what it gives whole, either way up and whatever its samples", async () => {
  const turned = [1, 2, 3, 4, 5, 6, 7, 8].flatMap((i) => [`orientation-${i}.png`, `orientation-${i}.jpg`]);
  for (
    const name of [...turned, "alpha-16.png", "grey-16.png", "grey-alpha.png", "kinds/p3-16.png", "kinds/turned.tif"]
  ) {
    const whole = await decode(name);
    const bytes = await read(name);
    const file = await openPictureFile(bytes, { label: name, longest: 36 });
    assert.deepEqual(file.size, { width: whole.width, height: whole.height }, name);
    assert.deepEqual(file.picture, await decodeImage(bytes, { label: name, longest: 36 }), name);
    assert.equal(Math.max((await file.fitted(33)).width, (await file.fitted(33)).height), 33);
    const data = await file.withRows((rows) => {
      assert.deepEqual([rows.width, rows.height], [whole.width, whole.height], name);
      const row = new Float32Array(3 * rows.width);
      const data = new Float32Array(whole.data.length);
      for (let y = 0; y < rows.height; y++) {
        rows.read(y, row);
        for (let c = 0; c < 3; c++) {
          data.set(row.subarray(c * rows.width, (c + 1) * rows.width), (c * rows.height + y) * rows.width);
        }
      }
      return Promise.resolve(data);
    });
    assert.deepEqual(data, whole.data, name);
  }
});
