/**
 * What a picture is to the rest of the program, the one error that pictures raise, and the scaling that is done before training. Not about files: reading and
 * writing them is decode.ts and encode.ts. A picture is always opaque sRGB in upright orientation; nothing here changes one in place.
 */

/** An opaque picture: `data` is planar RGB in [0, 1], shape [3, height, width]. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array<ArrayBuffer>;
}

/** Why a picture is refused. */
export type ImageFault = "unsupported_type" | "too_large" | "too_small" | "damaged";

/** A picture file that cannot be used: `code` for programs, `message` (what, why, what to do) for people. */
export class ImageError extends Error {
  override readonly name = "ImageError";
  readonly code: ImageFault;

  constructor(code: ImageFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Scales a picture down so that its longer side is `longest` pixels, aspect kept. A picture that is already no longer than that is returned as it is: nothing is
 * enlarged. Sides are rounded, and at least 1.
 */
export function fitPicture(picture: Picture, longest: number): Picture {
  const { width, height } = picture;
  const scale = longest / Math.max(width, height);
  if (scale >= 1) return picture;
  return scalePicture(picture, {
    width: Math.max(1, Math.round(width * scale)),
    height: Math.max(1, Math.round(height * scale)),
  });
}

/**
 * Scales a picture to this size, in pixels, up or down, with a Lanczos filter; where it shrinks, the filter is widened to the scale, so that fine patterns average
 * out instead of aliasing.
 */
export function scalePicture(picture: Picture, size: { readonly width: number; readonly height: number }): Picture {
  const { width, height } = picture;
  const { width: w, height: h } = size;
  const columns = lanczosTaps(width, w);
  const rows = lanczosTaps(height, h);
  const data = new Float32Array(3 * h * w);
  const narrowed = new Float32Array(height * w);
  for (let c = 0; c < 3; c++) {
    const plane = picture.data.subarray(c * height * width, (c + 1) * height * width);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < w; x++) {
        const { first, weights } = columns[x];
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * plane[y * width + first + k];
        narrowed[y * w + x] = sum;
      }
    }
    for (let y = 0; y < h; y++) {
      const { first, weights } = rows[y];
      for (let x = 0; x < w; x++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * narrowed[(first + k) * w + x];
        data[(c * h + y) * w + x] = Math.min(1, Math.max(0, sum)); // Lanczos overshoots at edges
      }
    }
  }
  return { width: w, height: h, data };
}

/** For each of `to` output pixels, the first input pixel of `from` it reads and the weights (summing to 1) from there on. */
function lanczosTaps(from: number, to: number): { first: number; weights: Float64Array }[] {
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
