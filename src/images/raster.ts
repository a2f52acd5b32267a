/**
 * Pixels as a decoder leaves them, and how they become a picture: laid on white where they are transparent, by the colours that the file says, upright, scaled down on the
 * way where that is wanted. A raster is plain data, so that it can come from another thread.
 */
import type { Colours } from "./colours/codes.ts";
import { type Placement, placement, storage } from "./orientation.ts";
import type { Picture } from "./picture.ts";
import { fittedSize, planes, type Rows, scaleRows, type Size } from "./scale.ts";

/** `bytes`: samples interleaved [height, width, channels] in 0..`max`, 16 bits big-endian; channels 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; alpha straight. */
export interface Raster {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 2 | 3 | 4;
  readonly max: 255 | 65535;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** EXIF orientation, 1..8, that the pixels are still stored in. */
  readonly orientation: number;
  /** Null: the samples are sRGB. */
  readonly colours: Colours | null;
}

/** The raster's size once it is upright. */
export function uprightSize(raster: Raster): Size {
  const { width, height } = placement(raster, raster.orientation);
  return { width, height };
}

/** The rows of the opaque, upright picture, read from the raster's own samples. */
export function uprightRows(raster: Raster): Rows {
  return rowsOf(raster, storage(raster, raster.orientation));
}

/** An opaque, upright picture; its longer side at most `longest` where that is given. */
export function pictureOf(raster: Raster, longest: number | undefined): Picture {
  const rows = rowsOf(raster);
  const size = longest === undefined ? null : fittedSize(raster, longest);
  if (size === null) return upright(rows, raster.orientation);
  const { width, height } = size;
  const data = scaleRows(rows, size);
  if (raster.orientation === 1) return { width, height, data };
  return upright(planes({ width, height, data }), raster.orientation);
}

function upright(rows: Rows, orientation: number): Picture {
  const { width, height, first, alongX, alongY } = placement(rows, orientation);
  const data = new Float32Array(3 * width * height);
  const row = new Float32Array(3 * rows.width);
  for (let y = 0; y < rows.height; y++) {
    rows.read(y, row);
    for (let c = 0; c < 3; c++) {
      const line = row.subarray(c * rows.width, (c + 1) * rows.width);
      const from = c * width * height + first + y * alongY;
      if (alongX === 1) data.set(line, from);
      else for (let x = 0; x < line.length; x++) data[from + x * alongX] = line[x];
    }
  }
  return { width, height, data };
}

/** By default as they are stored. */
function rowsOf(raster: Raster, { width, height, first, alongX, alongY }: Placement = storage(raster, 1)): Rows {
  const { channels, max, bytes, colours } = raster;
  const step = alongX * channels;
  const alphaAt = channels === 2 || channels === 4 ? channels - 1 : undefined;
  const sample = max === 255 ? (i: number) => bytes[i] : (i: number) => bytes[2 * i] * 256 + bytes[2 * i + 1];
  return {
    width,
    height,
    read(y, into) {
      const start = (first + y * alongY) * channels;
      for (let c = 0; c < 3; c++) {
        const channel = channels < 3 ? 0 : c;
        for (let x = 0, i = start; x < width; x++, i += step) {
          const stored = sample(i + channel);
          into[c * width + x] = colours === null ? stored / max : colours.light[stored];
        }
      }
      if (colours !== null) showAsSrgb(into, width, colours.matrix);
      if (alphaAt === undefined) return;
      for (let x = 0, i = start + alphaAt; x < width; x++, i += step) {
        const alpha = sample(i) / max;
        if (alpha === 1) continue;
        for (let c = 0; c < 3; c++) into[c * width + x] = into[c * width + x] * alpha + (1 - alpha);
      }
    },
  };
}

/** Light in other primaries, [3, width], becomes sRGB in place; what sRGB cannot show is cut off at its borders. */
function showAsSrgb(row: Float32Array, width: number, m: readonly number[]): void {
  for (let x = 0; x < width; x++) {
    const [r, g, b] = [row[x], row[width + x], row[2 * width + x]];
    row[x] = srgb(m[0] * r + m[1] * g + m[2] * b);
    row[width + x] = srgb(m[3] * r + m[4] * g + m[5] * b);
    row[2 * width + x] = srgb(m[6] * r + m[7] * g + m[8] * b);
  }
}

function srgb(light: number): number {
  if (light <= 0) return 0;
  if (light >= 1) return 1;
  return light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055;
}
