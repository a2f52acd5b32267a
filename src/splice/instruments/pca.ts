/**
 * What the extractor takes for the same and for another thing, as colours: the three main directions in which the rows of the keys' self-similarity differ from each
 * other, one a colour channel. Parts that look alike to the extractor get like colours. (Tumanyan et al. 2022, figure 5b.)
 *
 * Principal components by orthogonal iteration, in f64 on the host: a block of eight columns against a matrix of some hundred rows is little work for a GPU and asks
 * for more digits than f32 has. Scores are scikit-learn's up to sign; here the largest of each component is positive, as
 * scikit-learn had it before version 1.5, which goes by the directions instead.
 */
import type { Picture } from "../../images/picture.ts";
import { randomStream } from "../../engine/mod.ts";
import { type Grid, paintGrid } from "./grid_picture.ts";
import type { ExtractedFeatures } from "./features.ts";
import type { HostTensor } from "../../weights/formats/tensor.ts";

/** Columns that are iterated beside those asked for: the more, the faster the others settle. */
const SPARE = 5;
/** Iterations end when no score moves by more than this part of the largest. */
const SETTLED = 1e-9;
const MOST_ITERATIONS = 2000;

/** Components of the picture: one a colour channel. */
const CHANNELS = 3;

/**
 * Scores of `count` principal components: the rows of `data` [rows, columns], less their mean, along the directions of greatest variance; [rows, count]. Of each column the number
 * of largest size is positive.
 * Where there is less variance than that, scores are 0.
 */
export function principalScores(
  data: ArrayLike<number>,
  { rows, columns, count }: { readonly rows: number; readonly columns: number; readonly count: number },
): Float64Array {
  const centred = centre(data, rows, columns);
  const width = Math.min(count + SPARE, rows, columns);
  const random = randomStream(0);
  let basis = orthonormal(Float64Array.from({ length: columns * width }, random.normal), columns, width);
  let scores = new Float64Array(rows * width);
  for (let i = 0; i < MOST_ITERATIONS; i++) {
    const before = scores;
    scores = product(centred, basis, { rows, inner: columns, columns: width });
    // Within the block's space the components are those of a small matrix; turned to them, columns stop rotating into each other.
    const turn = eigenvectors(gram(scores, rows, width), width);
    scores = product(scores, turn, { rows, inner: width, columns: width });
    basis = product(basis, turn, { rows: columns, inner: width, columns: width });
    align(scores, basis, { rows, columns, width });
    if (moved(before, scores, { rows, width, count }) <= SETTLED) break;
    basis = orthonormal(transposedProduct(centred, scores, { rows, columns, width }), columns, width);
  }
  return Float64Array.from({ length: rows * count }, (_, i) => {
    const [row, k] = [Math.floor(i / count), i % count];
    return k < width ? scores[row * width + k] : 0;
  });
}

function centre(data: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const means = new Float64Array(columns);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) means[c] += data[r * columns + c] / rows;
  return Float64Array.from({ length: rows * columns }, (_, i) => data[i] - means[i % columns]);
}

interface ProductSides {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
}

/** a [rows, inner] by b [inner, columns]. */
function product(a: Float64Array, b: Float64Array, { rows, inner, columns }: ProductSides): Float64Array<ArrayBuffer> {
  const out = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < inner; k++) {
      const factor = a[r * inner + k];
      for (let c = 0; c < columns; c++) out[r * columns + c] += factor * b[k * columns + c];
    }
  }
  return out;
}

/** The transpose of a [rows, columns] by b [rows, width]: [columns, width]. */
function transposedProduct(
  a: Float64Array,
  b: Float64Array,
  { rows, columns, width }: { readonly rows: number; readonly columns: number; readonly width: number },
): Float64Array<ArrayBuffer> {
  const out = new Float64Array(columns * width);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const factor = a[r * columns + c];
      for (let k = 0; k < width; k++) out[c * width + k] += factor * b[r * width + k];
    }
  }
  return out;
}

const gram = (x: Float64Array, rows: number, width: number) => transposedProduct(x, x, { rows, columns: width, width });

/** The columns of x [rows, width], made orthonormal in their order (Gram and Schmidt, twice); a column that is nothing but rounding becomes 0. */
function orthonormal(x: Float64Array<ArrayBuffer>, rows: number, width: number): Float64Array<ArrayBuffer> {
  const along = (a: number, b: number) => {
    let sum = 0;
    for (let r = 0; r < rows; r++) sum += x[r * width + a] * x[r * width + b];
    return sum;
  };
  for (let k = 0; k < width; k++) {
    const size = Math.sqrt(along(k, k));
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < k; j++) {
        const part = along(j, k);
        for (let r = 0; r < rows; r++) x[r * width + k] -= part * x[r * width + j];
      }
    }
    const left = Math.sqrt(along(k, k));
    const scale = left > 1e-14 * size ? 1 / left : 0;
    for (let r = 0; r < rows; r++) x[r * width + k] *= scale;
  }
  return x;
}

/** Eigenvectors of a small symmetric matrix, as columns, that of the largest eigenvalue first (Jacobi's rotations). */
export function eigenvectors(matrix: Float64Array, n: number): Float64Array {
  const a = matrix.slice();
  const v = Float64Array.from({ length: n * n }, (_, i) => i % (n + 1) === 0 ? 1 : 0);
  const rotate = (x: Float64Array, at: (k: number) => [number, number], cos: number, sin: number) => {
    for (let k = 0; k < n; k++) {
      const [i, j] = at(k);
      [x[i], x[j]] = [cos * x[i] - sin * x[j], sin * x[i] + cos * x[j]];
    }
  };
  for (let sweep = 0; sweep < 50; sweep++) {
    let rotated = false;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (Math.abs(a[p * n + q]) <= 1e-17 * Math.sqrt(Math.abs(a[p * n + p] * a[q * n + q]))) continue;
        rotated = true;
        const angle = Math.atan2(2 * a[p * n + q], a[q * n + q] - a[p * n + p]) / 2;
        const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
        rotate(a, (k) => [k * n + p, k * n + q], cos, sin);
        rotate(a, (k) => [p * n + k, q * n + k], cos, sin);
        rotate(v, (k) => [k * n + p, k * n + q], cos, sin);
      }
    }
    if (!rotated) break;
  }
  const order = Array.from({ length: n }, (_, k) => k).sort((i, j) => a[j * n + j] - a[i * n + i]);
  return v.map((_, i) => v[Math.floor(i / n) * n + order[i % n]]);
}

/** Turns columns round whose largest score is negative. */
function align(
  scores: Float64Array,
  basis: Float64Array,
  { rows, columns, width }: { readonly rows: number; readonly columns: number; readonly width: number },
): void {
  for (let k = 0; k < width; k++) {
    let extreme = 0;
    for (let r = 0; r < rows; r++) {
      if (Math.abs(scores[r * width + k]) > Math.abs(extreme)) extreme = scores[r * width + k];
    }
    if (extreme >= 0) continue;
    for (let r = 0; r < rows; r++) scores[r * width + k] *= -1;
    for (let c = 0; c < columns; c++) basis[c * width + k] *= -1;
  }
}

/** By how much the first `count` columns moved, as part of the largest score. */
function moved(
  before: Float64Array,
  now: Float64Array,
  { rows, width, count }: { readonly rows: number; readonly width: number; readonly count: number },
): number {
  let [most, largest] = [0, 0];
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < Math.min(count, width); k++) {
      const i = r * width + k;
      most = Math.max(most, Math.abs(now[i] - before[i]));
      largest = Math.max(largest, Math.abs(now[i]));
    }
  }
  return largest === 0 ? 0 : most / largest;
}

/** The colours of the patches, planar RGB in [0, 1], [3, rows, cols]: three components of the self-similarity of one block, all of them scaled alike, without [CLS]. Registers count for nothing. */
export function pcaColours({ tensors, grid, vit }: ExtractedFeatures, layer: number): Float32Array {
  const { data, tokens } = withoutRegisters(tensors.get(`self_similarity.${layer}`)!, vit.registers);
  const scores = principalScores(data, { rows: tokens, columns: tokens, count: CHANNELS }).subarray(CHANNELS);
  const least = scores.reduce((a, b) => Math.min(a, b), Infinity);
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const patches = grid.rows * grid.cols;
  return Float32Array.from(
    { length: CHANNELS * patches },
    (_, i) => most > least ? (scores[i % patches * CHANNELS + Math.floor(i / patches)] - least) / (most - least) : 0.5,
  );
}

/** Rows and columns of [CLS] and patches alone, of a matrix over all tokens. */
function withoutRegisters(
  { shape: [all], data }: HostTensor,
  registers: number,
): { readonly data: Float32Array; readonly tokens: number } {
  if (registers === 0) return { data, tokens: all };
  const tokens = all - registers;
  const at = (i: number) => i === 0 ? 0 : i + registers;
  const kept = Float32Array.from(
    { length: tokens * tokens },
    (_, i) => data[at(Math.floor(i / tokens)) * all + at(i % tokens)],
  );
  return { data: kept, tokens };
}

/** The same as a picture of this size: that of the photograph whose features these are. */
export function pcaPicture(
  features: ExtractedFeatures,
  layer: number,
  size: { readonly width: number; readonly height: number },
): Picture {
  const grid: Grid = { ...features, ...features.grid };
  return paintGrid(pcaColours(features, layer), grid, size);
}
