/**
 * Scaling with a Lanczos filter, row by row: the source is asked for one row at a time, so a photograph in 8 bits becomes a small picture in floats without ever being a
 * large one in floats.
 */

/** Where pixels come from, a row at a time. */
export interface Rows {
  readonly width: number;
  readonly height: number;
  /** Writes row y as [3, width] in [0, 1]. Rows are asked for from the top down, once each. */
  read(y: number, into: Float32Array): void;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** The rows of planar RGB, [3, height, width]. */
export function planes({ width, height, data }: Size & { readonly data: Float32Array }): Rows {
  const at = (c: number, y: number) => (c * height + y) * width;
  return {
    width,
    height,
    read(y, into) {
      for (let c = 0; c < 3; c++) into.set(data.subarray(at(c, y), at(c, y + 1)), c * width);
    },
  };
}

/** The size with its longer side `longest`, aspect kept; null where it is no longer than that already. Sides are rounded, and at least 1. */
export function fittedSize({ width, height }: Size, longest: number): Size | null {
  const scale = longest / Math.max(width, height);
  if (scale >= 1) return null;
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/**
 * Planar RGB of this size, up or down; where it shrinks, the filter is widened to the scale, so that fine patterns average out instead of aliasing.
 */
export function scaleRows(rows: Rows, { width: w, height: h }: Size): Float32Array<ArrayBuffer> {
  const { width, height } = rows;
  const columns = lanczosTaps(width, w);
  const lines = lanczosTaps(height, h);
  const row = new Float32Array(3 * width);
  const narrowed = new Float32Array(3 * height * w); // [3, height, w]
  for (let y = 0; y < height; y++) {
    rows.read(y, row);
    for (let c = 0; c < 3; c++) {
      for (let x = 0; x < w; x++) {
        const { first, weights } = columns[x];
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * row[c * width + first + k];
        narrowed[(c * height + y) * w + x] = sum;
      }
    }
  }
  const data = new Float32Array(3 * h * w);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < h; y++) {
      const { first, weights } = lines[y];
      for (let x = 0; x < w; x++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * narrowed[(c * height + first + k) * w + x];
        data[(c * h + y) * w + x] = Math.min(1, Math.max(0, sum)); // Lanczos overshoots at edges
      }
    }
  }
  return data;
}

interface Taps {
  readonly first: number;
  readonly weights: Float64Array;
}

/** For each of `to` output pixels, the first input pixel of `from` it reads and the weights (summing to 1) from there on. */
function lanczosTaps(from: number, to: number): Taps[] {
  const lobes = 3;
  const scale = Math.max(1, from / to); // of the filter
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * (from / to);
    const first = Math.max(0, Math.round(centre - lobes * scale));
    const end = Math.min(from, Math.round(centre + lobes * scale));
    const weights = Float64Array.from(
      { length: end - first },
      (_, k) => lanczos((first + k + 0.5 - centre) / scale, lobes),
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

/** sinc(x) sinc(x / lobes) inside |x| < lobes, else 0. */
function lanczos(x: number, lobes: number): number {
  if (x === 0) return 1;
  if (Math.abs(x) >= lobes) return 0;
  const t = Math.PI * x;
  return lobes * Math.sin(t) * Math.sin(t / lobes) / (t * t);
}
