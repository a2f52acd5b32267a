/**
 * Pictures out: PNG (lossless, the same bytes for the same pixels) and JPEG by Deno's own encoders, WebP by another: Deno answers a request for it with a PNG.
 * Samples are rounded to 8 bits here and nowhere else.
 */
import { ImageError, type Picture } from "./picture.ts";
import { planes, type Rows } from "./scale.ts";
import { encodeWebp } from "./webp.ts";

export type ImageFormat = "png" | "jpeg" | "webp";

export interface EncodeOptions {
  /** JPEG and WebP quality in [0, 1]; PNG has none. Default 0.92. */
  readonly quality?: number;
}

/** Pixels a side: WebP's own limit, and that of the encoders of the others. */
const LONGEST = { webp: 16_383, png: 65_535, jpeg: 65_535 } as const satisfies Record<ImageFormat, number>;
const NAMES = { webp: "WebP", png: "PNG", jpeg: "JPEG" } as const satisfies Record<ImageFormat, string>;

/** Why a picture of this size, in pixels, cannot be written as `format`, and what to do, to be said behind `Cannot write ...: `; null where it can. */
export function sizeProblem(
  { width, height }: { readonly width: number; readonly height: number },
  format: ImageFormat,
): string | null {
  const longest = Math.max(width, height);
  if (longest <= LONGEST[format]) return null;
  const remedy = longest <= LONGEST.png ? "choose PNG or JPEG" : "make it smaller";
  return `a picture of ${width} x ${height} pixels is too large for ${NAMES[format]}, which ends here at ${
    LONGEST[format]
  } a side; ${remedy}`;
}

/**
 * Writes a picture, or one that comes row by row, as a file of `format`: each sample clamped to [0, 1], then round(sample * 255).
 * @throws ImageError too_large where `sizeProblem` has one
 */
export async function encodeImage(
  picture: Picture | Rows,
  format: ImageFormat,
  { quality = 0.92 }: EncodeOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const problem = sizeProblem(picture, format);
  if (problem !== null) throw new ImageError("too_large", `Cannot write this as ${NAMES[format]}: ${problem}`);
  const rows = "read" in picture ? picture : planes(picture);
  if (format === "webp") return await encodeWebp(await toRgba(rows), quality);
  const bitmap = await createImageBitmap(new Blob([await toBmp(rows)], { type: "image/bmp" }));
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("bitmaprenderer")!.transferFromImageBitmap(bitmap);
  const blob = await canvas.convertToBlob({ type: `image/${format}`, quality });
  return new Uint8Array(await blob.arrayBuffer());
}

/** A 24-bit BMP: unlike ImageData it has no alpha, so the encoders write RGB, a quarter smaller. Rows go from the bottom up, padded to 4 bytes, as B G R. */
async function toBmp(rows: Rows): Promise<Uint8Array<ArrayBuffer>> {
  const { width, height } = rows;
  const header = 54;
  const stride = Math.ceil(width * 3 / 4) * 4;
  const bmp = new Uint8ClampedArray(header + stride * height);
  const view = new DataView(bmp.buffer);
  view.setUint16(0, 0x424d); // "BM"
  view.setUint32(2, bmp.length, true);
  view.setUint32(10, header, true);
  view.setUint32(14, 40, true); // the length of this second header
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true); // planes
  view.setUint16(28, 24, true); // bits a pixel
  const last = header + (height - 1) * stride;
  await quantise(rows, bmp, (c, y) => ({ first: last - y * stride + 2 - c, step: 3 }));
  return new Uint8Array(bmp.buffer);
}

async function toRgba(rows: Rows): Promise<ImageData> {
  const { width, height } = rows;
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  await quantise(rows, rgba, (c, y) => ({ first: 4 * width * y + c, step: 4 }));
  return new ImageData(rgba, width, height);
}

/** Others get a turn after so many samples: a large picture that is computed while it is written takes seconds. */
const TURN = 3e6;

/** Writes every sample in 8 bits; `place` says where those of channel c in row y lie. */
async function quantise(
  rows: Rows,
  into: Uint8ClampedArray,
  place: (c: number, y: number) => { readonly first: number; readonly step: number },
): Promise<void> {
  const { width, height } = rows;
  const row = new Float32Array(3 * width);
  for (let y = 0, done = 0; y < height; y++) {
    rows.read(y, row);
    for (let c = 0; c < 3; c++) {
      const { first, step } = place(c, y);
      for (let x = 0, i = first; x < width; x++, i += step) into[i] = Math.round(row[c * width + x] * 255);
    }
    if ((done += row.length) < TURN) continue;
    done = 0;
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
