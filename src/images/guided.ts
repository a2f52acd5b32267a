/**
 * Enlargement guided by a photograph: a small picture that was painted over a small photograph, at the size of the photograph itself. Around each pixel the painted colours
 * are taken for a linear function of the photograph's, which is fitted to the small pictures and applied to the large one: so edges and textures come from the photograph, and colours from
 * the painting. He and Sun, Fast Guided Filter (arXiv:1505.00996), with a guide in colour (He, Sun, Tang, Guided Image Filtering, TPAMI 2013, section 3.5).
 *
 * Invariant: all of it goes from the top down, row by row; no plane of sums or coefficients is ever held whole, so memory follows the pictures' widths.
 */
import type { Picture } from "./picture.ts";
import type { Rows } from "./scale.ts";

export interface Guided {
  /** The photograph as small as the painted picture. */
  readonly seen: Picture;
  readonly painted: Picture;
  /** The photograph, of the same proportions. */
  readonly full: Rows;
}

export interface GuidedOptions {
  /** Of the windows, in pixels of the small pictures: they are 2 radius + 1 wide and high, and cut off at the border. Default: see `usualRadius`. */
  readonly radius?: number;
  /** Variances of colours below this, in [0, 1], count as none: what is flatter takes the mean of the painted colours. Above 0. */
  readonly epsilon?: number;
}

const EPSILON = 1e-3;

/** 2 at 170 pixels. By the root of the size: of a larger painting more is to be kept, but its windows hold less of the photograph's contrast. */
const usualRadius = ({ width, height }: Picture) =>
  Math.max(1, Math.round(2 * Math.sqrt(Math.max(width, height) / 170)));

/** Of a picture or of what is computed from it: one row at a time, each pixel's `channels` numbers together. */
interface Lines {
  readonly channels: number;
  readonly width: number;
  readonly height: number;
  /** Writes row y as [width, channels]. Rows are asked for from the top down, once each. */
  read(y: number, into: Float64Array): void;
}

/** The painted picture at the photograph's size, in [0, 1]. @throws RangeError unless `seen` and `painted` are of one size */
export function guidedRows({ seen, painted, full }: Guided, options: GuidedOptions = {}): Rows {
  if (seen.width !== painted.width || seen.height !== painted.height) {
    throw new RangeError(
      `Bug: Cannot enlarge a picture of ${painted.width} x ${painted.height} by one of ${seen.width} x ${seen.height}: they must be of one size`,
    );
  }
  const { radius = usualRadius(seen), epsilon = EPSILON } = options;
  const moments = windowMeans(momentsOf(seen, painted), radius);
  return applied(windowMeans(fitted(moments, epsilon), radius), full);
}

/** Offsets in a pixel's moments: of I, the photograph; of p, the painting; of I p, by I's channel; of I I, its upper triangle. */
const [I, P, IP, II, MOMENTS] = [0, 3, 6, 15, 21];

function momentsOf(seen: Picture, painted: Picture): Lines {
  const { width, height } = seen;
  const plane = width * height;
  return {
    channels: MOMENTS,
    width,
    height,
    read(y, into) {
      for (let x = 0, i = y * width, at = 0; x < width; x++, i++, at += MOMENTS) {
        let square = at + II;
        for (let k = 0; k < 3; k++) {
          const value = seen.data[k * plane + i];
          into[at + I + k] = value;
          into[at + P + k] = painted.data[k * plane + i];
          for (let c = 0; c < 3; c++) into[at + IP + 3 * k + c] = value * painted.data[c * plane + i];
          for (let l = k; l < 3; l++) into[square++] = value * seen.data[l * plane + i];
        }
      }
    },
  };
}

/** A linear function of a pixel's colour, for each of three channels: the factors of red, green and blue, then what is added. */
const FUNCTION = 12;

/** The functions that fit each window best: a = (cov(I, I) + epsilon)^-1 cov(I, p), b = mean(p) - a mean(I). */
function fitted(moments: Lines, epsilon: number): Lines {
  const { width, height } = moments;
  const means = new Float64Array(MOMENTS * width);
  return {
    channels: FUNCTION,
    width,
    height,
    read(y, into) {
      moments.read(y, means);
      for (let x = 0, m = 0, at = 0; x < width; x++, m += MOMENTS, at += FUNCTION) {
        const [r, g, b] = [means[m + I], means[m + I + 1], means[m + I + 2]];
        const rr = means[m + II] - r * r + epsilon;
        const rg = means[m + II + 1] - r * g;
        const rb = means[m + II + 2] - r * b;
        const gg = means[m + II + 3] - g * g + epsilon;
        const gb = means[m + II + 4] - g * b;
        const bb = means[m + II + 5] - b * b + epsilon;
        // The inverse of a symmetric matrix by its cofactors.
        const [c00, c01, c02] = [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg];
        const [c11, c12, c22] = [rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg];
        const determinant = rr * c00 + rg * c01 + rb * c02;
        for (let c = 0; c < 3; c++) {
          const p = means[m + P + c];
          const rp = means[m + IP + c] - r * p;
          const gp = means[m + IP + 3 + c] - g * p;
          const bp = means[m + IP + 6 + c] - b * p;
          const ar = (c00 * rp + c01 * gp + c02 * bp) / determinant;
          const ag = (c01 * rp + c11 * gp + c12 * bp) / determinant;
          const ab = (c02 * rp + c12 * gp + c22 * bp) / determinant;
          into[at + 4 * c] = ar;
          into[at + 4 * c + 1] = ag;
          into[at + 4 * c + 2] = ab;
          into[at + 4 * c + 3] = p - ar * r - ag * g - ab * b;
        }
      }
    },
  };
}

/** Means over the windows around each pixel, by running sums: the cost does not depend on the radius. */
function windowMeans(lines: Lines, radius: number): Lines {
  const { channels, width, height } = lines;
  const length = channels * width;
  // The rows of a window, in turn; and their sum.
  const held = Array.from({ length: Math.min(height, 2 * radius + 1) }, () => new Float64Array(length));
  const columns = new Float64Array(length);
  const sum = new Float64Array(channels);
  let next = 0; // the first row that was not read yet
  return {
    channels,
    width,
    height,
    read(y, into) {
      const leaving = y - radius - 1;
      if (leaving >= 0) accumulate(columns, held[leaving % held.length], -1);
      for (; next <= Math.min(height - 1, y + radius); next++) {
        const row = held[next % held.length];
        lines.read(next, row);
        accumulate(columns, row, 1);
      }
      const rows = next - Math.max(0, y - radius);
      sum.fill(0);
      for (let x = 0; x < Math.min(radius, width); x++) addPixel(sum, columns, x * channels, 1);
      for (let x = 0; x < width; x++) {
        if (x + radius < width) addPixel(sum, columns, (x + radius) * channels, 1);
        if (x - radius - 1 >= 0) addPixel(sum, columns, (x - radius - 1) * channels, -1);
        const count = rows * (Math.min(width - 1, x + radius) - Math.max(0, x - radius) + 1);
        for (let k = 0; k < channels; k++) into[x * channels + k] = sum[k] / count;
      }
    },
  };
}

function accumulate(columns: Float64Array, row: Float64Array, sign: number): void {
  for (let i = 0; i < columns.length; i++) columns[i] += sign * row[i];
}

function addPixel(sum: Float64Array, columns: Float64Array, at: number, sign: number): void {
  for (let k = 0; k < sum.length; k++) sum[k] += sign * columns[at + k];
}

/** The functions, interpolated between the small picture's pixels, of the photograph's colours. */
function applied(functions: Lines, full: Rows): Rows {
  const { width, height } = full;
  const across = between(functions.width, width);
  const down = between(functions.height, height);
  const length = FUNCTION * functions.width;
  const held = [new Float64Array(length), new Float64Array(length)]; // even rows, odd rows
  const line = new Float64Array(length);
  const photograph = new Float32Array(3 * width);
  let next = 0;
  return {
    width,
    height,
    read(y, into) {
      const above = down.first[y];
      const below = Math.min(above + 1, functions.height - 1);
      for (; next <= below; next++) functions.read(next, held[next % 2]);
      const [upper, lower, share] = [held[above % 2], held[below % 2], down.share[y]];
      for (let i = 0; i < length; i++) line[i] = upper[i] + share * (lower[i] - upper[i]);
      full.read(y, photograph);
      for (let x = 0; x < width; x++) {
        const [r, g, b] = [photograph[x], photograph[width + x], photograph[2 * width + x]];
        const t = across.share[x];
        const i = FUNCTION * across.first[x];
        const j = across.first[x] + 1 < functions.width ? i + FUNCTION : i;
        for (let c = 0, k = 0; c < 3; c++, k += 4) {
          const left = line[i + k] * r + line[i + k + 1] * g + line[i + k + 2] * b + line[i + k + 3];
          const right = line[j + k] * r + line[j + k + 1] * g + line[j + k + 2] * b + line[j + k + 3];
          const value = left + t * (right - left);
          into[c * width + x] = value < 0 ? 0 : value > 1 ? 1 : value;
        }
      }
    },
  };
}

/** For each of `to` pixels, the one of `from` before it, and how far it is from there to the next: centres lie at halves, and the outermost go on to the border. */
function between(from: number, to: number): { readonly first: Int32Array; readonly share: Float64Array } {
  const places = Float64Array.from(
    { length: to },
    (_, i) => Math.min(from - 1, Math.max(0, (i + 0.5) * from / to - 0.5)),
  );
  const first = Int32Array.from(places, Math.floor);
  return { first, share: places.map((place, i) => place - first[i]) };
}
