/**
 * What colours alone can do: a photograph with the mean and covariance of another's pixels. Nothing is trained and nothing is seen; where sky and meadow are, it does not
 * know. It stands beside results, so that what meaning adds can be told from what any change of colours gives.
 *
 * Pixels are whitened and coloured anew, with symmetric roots of both covariances: x -> S_b^(1/2) S_a^(-1/2) (x - m_a) + m_b. (Li et al. 2017, arXiv:1705.08086, eqs. 1 and
 * 2, on pixels instead of features; what WCT2, Yoo et al. 2019, arXiv:1903.09760, comes to without a network.) Invariant: but for what is cut off at black and white,
 * the result has the appearance's mean, and its covariance as far as the structure has colours at all.
 */
import type { Picture } from "../../images/picture.ts";
import { eigenvectors } from "../instruments/pca.ts";

const CHANNELS = [0, 1, 2] as const;

/** The variance of rounding to 8 bits: a direction of less has no colours that could be stretched, but noise. */
const NOTHING = 1 / 12 / 255 ** 2;

/** The structure picture in the colours of the appearance picture; both of any size. Values stay in [0, 1]. */
export function transferColours(structure: Picture, appearance: Picture): Picture {
  const [a, b] = [momentsOf(structure), momentsOf(appearance)];
  const whiten = symmetric(a.covariance, (variance) => variance > NOTHING ? 1 / Math.sqrt(variance) : 0);
  const colour = symmetric(b.covariance, (variance) => Math.sqrt(Math.max(variance, 0)));
  const map = product(colour, whiten);
  const { width, height, data } = structure;
  const area = width * height;
  const out = new Float32Array(data.length);
  for (const c of CHANNELS) {
    for (let i = 0; i < area; i++) {
      let value = b.mean[c];
      for (const k of CHANNELS) value += map[3 * c + k] * (data[k * area + i] - a.mean[k]);
      out[c * area + i] = Math.min(1, Math.max(0, value));
    }
  }
  return { width, height, data: out };
}

/** Mean and covariance of the pixels: [3], [3, 3]. */
function momentsOf({ data }: Picture): { readonly mean: readonly number[]; readonly covariance: Float64Array } {
  const area = data.length / 3;
  const planes = CHANNELS.map((c) => data.subarray(c * area, (c + 1) * area));
  const mean = planes.map((plane) => plane.reduce((sum, value) => sum + value, 0) / area);
  const covariance = Float64Array.from({ length: 9 }, (_, at) => {
    const [i, j] = [Math.floor(at / 3), at % 3];
    let sum = 0;
    for (let k = 0; k < area; k++) sum += (planes[i][k] - mean[i]) * (planes[j][k] - mean[j]);
    return sum / area;
  });
  return { mean, covariance };
}

/** V f(L) V^T of a symmetric matrix V L V^T, [3, 3]. */
function symmetric(matrix: Float64Array, f: (eigenvalue: number) => number): Float64Array {
  const vectors = eigenvectors(matrix, 3); // as columns
  const turned = product(transposed(vectors), product(matrix, vectors)); // L
  return product(vectors, product(turned.map((value, at) => at % 4 === 0 ? f(value) : 0), transposed(vectors)));
}

const transposed = (x: Float64Array) => x.map((_, at) => x[at % 3 * 3 + Math.floor(at / 3)]);

function product(x: Float64Array, y: Float64Array): Float64Array {
  return x.map((_, at) => CHANNELS.reduce<number>((sum, k) => sum + x[at - at % 3 + k] * y[3 * k + at % 3], 0));
}
