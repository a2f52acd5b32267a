/**
 * EXIF orientation: which way up a PNG is (Deno's decoder heeds it in JPEG and WebP alone), and how a picture is turned upright. Nothing here throws: unreadable means
 * "as if not said".
 */
import type { Picture } from "./picture.ts";

/** The EXIF orientation (1..8) in a PNG's eXIf chunk; 1 where there is none or it makes no sense. */
export function pngOrientation(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    if (view.getUint32(at + 4) !== 0x65584966) continue; // eXIf
    const length = Math.min(view.getUint32(at), bytes.length - at - 8);
    return tiffOrientation(new DataView(bytes.buffer, bytes.byteOffset + at + 8, length));
  }
  return 1;
}

/** Tag 0x112 of the first directory of an EXIF (TIFF) block. */
function tiffOrientation(tiff: DataView): number {
  if (tiff.byteLength < 8) return 1;
  const little = tiff.getUint16(0) === 0x4949;
  const directory = tiff.getUint32(4, little);
  if (directory + 2 > tiff.byteLength) return 1;
  const entries = tiff.getUint16(directory, little);
  for (let i = 0; i < entries; i++) {
    const entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.byteLength) return 1;
    if (tiff.getUint16(entry, little) !== 0x112) continue;
    const value = tiff.getUint16(entry + 8, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/** Turns a picture stored with EXIF `orientation` (1..8) upright. */
export function orient(picture: Picture, orientation: number): Picture {
  if (orientation === 1) return picture;
  const { width: w, height: h, data } = picture;
  const turned = orientation >= 5; // rows are stored as columns
  const mirrorX = [2, 3, 7, 8].includes(orientation); // applied to stored x, y
  const mirrorY = [3, 4, 6, 7].includes(orientation);
  const [width, height] = turned ? [h, w] : [w, h];
  const out = new Float32Array(data.length);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [sx, sy] = turned ? [y, x] : [x, y];
        const from = (c * h + (mirrorY ? h - 1 - sy : sy)) * w + (mirrorX ? w - 1 - sx : sx);
        out[(c * height + y) * width + x] = data[from];
      }
    }
  }
  return { width, height, data: out };
}
