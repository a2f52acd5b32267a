/**
 * EXIF orientation: which way up a PNG or a WebP picture is (of other kinds their decoders tell) and where its pixels lie upright. The page asks here too, because
 * browsers do not heed all of it. Nothing here throws: unreadable means "as if not said".
 */
/** The EXIF orientation (1..8) in a PNG's eXIf chunk or a WebP's EXIF chunk, wherever it stands; 1 where there is none or it makes no sense, and for other kinds. */
export function orientationOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const begins = (...values: number[]) => values.every((value, i) => bytes[i] === value);
  const isPng = begins(0x89, 0x50, 0x4e, 0x47);
  if (!isPng && !begins(0x52, 0x49, 0x46, 0x46)) return 1;
  for (let at = isPng ? 8 : 12; at + 8 <= bytes.length;) {
    const length = isPng ? view.getUint32(at) : view.getUint32(at + 4, true);
    const name = view.getUint32(isPng ? at + 4 : at);
    if (name === (isPng ? 0x65584966 : 0x45584946)) { // eXIf, EXIF
      const body = bytes.subarray(at + 8, at + 8 + Math.min(length, bytes.length - at - 8));
      const from = body[0] === 0x45 ? 6 : 0; // some write JPEG's "Exif\0\0" before it
      return tiffOrientation(
        new DataView(body.buffer, body.byteOffset + Math.min(from, body.length), Math.max(0, body.length - from)),
      );
    }
    at += isPng ? 12 + length : 8 + length + length % 2;
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

/** Where pixels that are stored with EXIF `orientation` (1..8) lie upright: the one at x, y of the file at `first + x * alongX + y * alongY` of a picture this wide and high. */
export interface Placement {
  readonly width: number;
  readonly height: number;
  readonly first: number;
  readonly alongX: number;
  readonly alongY: number;
}

export function placement({ width: w, height: h }: { width: number; height: number }, orientation: number): Placement {
  const turned = orientation >= 5; // rows are stored as columns
  const mirrorX = [2, 3, 7, 8].includes(orientation); // of what is stored
  const mirrorY = [3, 4, 6, 7].includes(orientation);
  const [width, height] = turned ? [h, w] : [w, h];
  const [x, y] = turned ? [width, 1] : [1, width];
  const first = (mirrorX ? (w - 1) * x : 0) + (mirrorY ? (h - 1) * y : 0);
  return { width, height, first, alongX: mirrorX ? -x : x, alongY: mirrorY ? -y : y };
}

/** The other way round: the pixel at x, y of the upright picture, which is this wide and high, is stored as number `first + x * alongX + y * alongY` of the file. */
export function storage({ width: w, height: h }: { width: number; height: number }, orientation: number): Placement {
  const mirrorX = [2, 3, 7, 8].includes(orientation); // of what is stored
  const mirrorY = [3, 4, 6, 7].includes(orientation);
  const [x, y] = [mirrorX ? -1 : 1, mirrorY ? -w : w];
  const first = (mirrorX ? w - 1 : 0) + (mirrorY ? (h - 1) * w : 0);
  if (orientation < 5) return { width: w, height: h, first, alongX: x, alongY: y };
  return { width: h, height: w, first, alongX: y, alongY: x }; // rows are stored as columns
}
