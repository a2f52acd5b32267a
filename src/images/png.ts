/**
 * Just enough PNG to read what Deno's own encoder writes: grey, grey + alpha, RGB or RGBA, 8 or 16 bits, not interlaced. It is how decoded pixels come out of an
 * OffscreenCanvas whole (its BMP drops the alpha of grey pictures and refuses 16 bits); users' PNG files are decoded by Deno, never here. So anything else
 * in the file is our own bug, not the user's. (The package fast-png 8.0 gives the same pixels in about the same time, for three packages in place of these lines.)
 */
import type { Raster } from "./raster.ts";

const channelsOf: Readonly<Record<number, Raster["channels"]>> = { 0: 1, 2: 3, 4: 2, 6: 4 };

/** Reads a PNG made by Deno's encoder. Throws an Error beginning `Bug:` for any other kind. */
export async function readPng(file: Uint8Array<ArrayBuffer>): Promise<Raster> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const width = view.getUint32(16);
  const height = view.getUint32(20);
  const [depth, colourType, , , interlace] = file.subarray(24, 29);
  const channels = channelsOf[colourType];
  if (!channels || (depth !== 8 && depth !== 16) || interlace) {
    throw new Error(
      `Bug: Cannot read a PNG of colour type ${colourType}, ${depth} bits, interlace ${interlace}: the canvas never wrote one before`,
    );
  }
  const packed: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 8; at < file.length;) {
    const length = view.getUint32(at);
    if (view.getUint32(at + 4) === 0x49444154) packed.push(file.subarray(at + 8, at + 8 + length)); // IDAT
    at += 12 + length;
  }
  const pixel = channels * depth / 8;
  const filtered = await inflate(packed, height * (1 + width * pixel));
  return {
    width,
    height,
    channels,
    max: depth === 8 ? 255 : 65535,
    bytes: unfilter(filtered, width * pixel, height, pixel),
    orientation: 1,
    colours: null,
  };
}

async function inflate(packed: readonly Uint8Array<ArrayBuffer>[], size: number): Promise<Uint8Array> {
  const out = new Uint8Array(size);
  let at = 0;
  for await (const part of new Blob([...packed]).stream().pipeThrough(new DecompressionStream("deflate"))) {
    out.set(part, at);
    at += part.length;
  }
  if (at !== size) {
    throw new Error(`Bug: a PNG from the canvas holds ${at} bytes of pixels where its header says ${size}`);
  }
  return out;
}

/** Undoes the per-row prediction (PNG specification, section 9); each row of `filtered` is one filter byte and `stride` bytes. */
function unfilter(filtered: Uint8Array, stride: number, height: number, pixel: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(height * stride);
  for (let y = 0; y < height; y++) {
    const filter = filtered[y * (stride + 1)];
    const from = y * (stride + 1) + 1;
    const to = y * stride;
    for (let i = 0; i < stride; i++) {
      const left = i >= pixel ? out[to + i - pixel] : 0;
      const up = y > 0 ? out[to + i - stride] : 0;
      const corner = i >= pixel && y > 0 ? out[to + i - stride - pixel] : 0;
      const guess = filter === 1
        ? left
        : filter === 2
        ? up
        : filter === 3
        ? (left + up) >> 1
        : filter === 4
        ? paeth(left, up, corner)
        : 0;
      out[to + i] = filtered[from + i] + guess;
    }
  }
  return out;
}

/** Of the three neighbours, the one nearest to left + up - corner. */
function paeth(left: number, up: number, corner: number): number {
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - 2 * corner);
  return toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
}
