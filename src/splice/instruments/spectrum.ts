/**
 * One eigenvector of a symmetric matrix that is only known by what it does to a vector: the one of the largest eigenvalue but one, where the first is known. Lanczos'
 * iteration with full reorthogonalisation, which needs tens of products where a dense decomposition needs n^3 operations. (Golub and Van Loan, ch. 10.)
 */

export interface SecondVectorOptions {
  /** The eigenvector of the largest eigenvalue, of any length. */
  readonly first: Float64Array;
  /** Where the iteration begins; its share of `first` is taken out. */
  readonly begin: Float64Array;
}

/** The residual that ends the iteration, against a matrix of norm 1. */
const TOLERANCE = 1e-11;
/** The tridiagonal problem is solved after so many products each. */
const LOOK_EVERY = 8;

/** Of length 1; its sign is open. `apply` is x -> M x, with eigenvalues of at most about 1. */
export function secondVector(
  apply: (x: Float64Array) => Float64Array,
  { first, begin }: SecondVectorOptions,
): Float64Array {
  const n = first.length;
  const known = normalised(first)!;
  const basis = [normalised(without(begin, [known])) ?? known];
  const diagonal: number[] = [];
  const beside: number[] = [];
  for (;;) {
    const last = basis.at(-1)!;
    const image = apply(last);
    diagonal.push(dot(image, last));
    const rest = without(without(image, [known, ...basis]), [known, ...basis]); // twice is enough (Parlett)
    const length = Math.sqrt(dot(rest, rest));
    const ended = length < TOLERANCE || basis.length >= n - 1;
    if (ended || basis.length % LOOK_EVERY === 0) {
      const top = topOfTridiagonal(diagonal, beside);
      if (ended || Math.abs(length * top.at(-1)!) < TOLERANCE) return combine(basis, top);
    }
    beside.push(length);
    basis.push(rest.map((value) => value / length));
  }
}

/**
 * The eigenvector of the largest eigenvalue of a symmetric tridiagonal matrix. The eigenvalue by bisection (above it all pivots of s - T are positive), the vector by
 * inverse iteration from just above it, where elimination needs no pivoting.
 */
function topOfTridiagonal(diagonal: readonly number[], beside: readonly number[]): Float64Array {
  const n = diagonal.length;
  const reach = (i: number) => Math.abs(beside[i - 1] ?? 0) + Math.abs(i < n - 1 ? beside[i] : 0);
  let high = Math.max(...diagonal.map((value, i) => value + reach(i))) + 1e-14;
  let low = Math.max(...diagonal) - 1e-14;
  const pivots = (shift: number) => {
    const found: number[] = [];
    for (let i = 0; i < n; i++) found.push(shift - diagonal[i] - (i > 0 ? beside[i - 1] ** 2 / found[i - 1] : 0));
    return found;
  };
  for (let halving = 0; halving < 60 && high - low > 1e-15 * Math.max(1, Math.abs(high)); halving++) {
    const middle = (low + high) / 2;
    if (pivots(middle).every((pivot) => pivot > 0)) high = middle;
    else low = middle;
  }
  const d = pivots(high);
  let x = new Float64Array(n).fill(1 / Math.sqrt(n));
  for (let round = 0; round < 4; round++) {
    const y = x.slice();
    for (let i = 1; i < n; i++) y[i] += beside[i - 1] / d[i - 1] * y[i - 1];
    for (let i = n - 1; i >= 0; i--) y[i] = (y[i] + (i < n - 1 ? beside[i] * y[i + 1] : 0)) / d[i];
    x = normalised(y) ?? x;
  }
  return x;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** x less its share of each of these vectors of length 1. */
function without(x: Float64Array, vectors: readonly Float64Array[]): Float64Array<ArrayBuffer> {
  const rest = Float64Array.from(x);
  for (const vector of vectors) {
    const share = dot(rest, vector);
    for (let i = 0; i < rest.length; i++) rest[i] -= share * vector[i];
  }
  return rest;
}

/** Null where there is no direction left. */
function normalised(x: Float64Array): Float64Array<ArrayBuffer> | null {
  const length = Math.sqrt(dot(x, x));
  return length > 0 && Number.isFinite(length) ? Float64Array.from(x, (value) => value / length) : null;
}

function combine(basis: readonly Float64Array[], weights: Float64Array): Float64Array {
  const sum = new Float64Array(basis[0].length);
  for (const [k, vector] of basis.entries()) for (let i = 0; i < sum.length; i++) sum[i] += weights[k] * vector[i];
  return sum;
}
