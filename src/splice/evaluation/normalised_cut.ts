/**
 * What of a picture is in front, by the extractor alone: a normalised cut of its patches, after TokenCut (Wang et al., CVPR 2022, arXiv:2202.11539; the cut is
 * Shi and Malik's, 2000). Patches are joined where their keys point the same way; the second smallest solution of (D - W) x = lambda D x divides them; the side with
 * the patch of the largest |x| is in front, of it the largest connected part. Where there is nothing to cut, Otsu's threshold of [CLS]'s attention stands in.
 *
 * TokenCut keeps another part: the one that holds that patch. On the coarse grids here |x| is nearly even over a side, and its largest often falls on a splinter: of ten
 * photographs at fourteen sizes the two parts differ nine times; six times the largest is the thing and that one a scrap of it, three times neither is.
 *
 * All of it in f64 on the host: a thousand patches take a fifth of a second. Invariant: the same numbers give the same mask.
 */
import { randomStream } from "../../engine/mod.ts";
import { secondVector } from "../instruments/spectrum.ts";

/** Patches whose keys' cosine is above this are joined; all others only by EPSILON, so that the graph is one. */
const TAU = 0.2;
const EPSILON = 1e-5;

export interface Patches {
  readonly rows: number;
  readonly cols: number;
  /** Cosine of all pairs of keys, [t, t] with [CLS] first: t = 1 + rows * cols. */
  readonly similarity: ArrayLike<number>;
  /** [CLS]'s attention to each patch, [rows * cols]. */
  readonly attention: ArrayLike<number>;
}

export interface Foreground {
  readonly rows: number;
  readonly cols: number;
  /** [rows * cols]: 1 in front, 0 behind. */
  readonly mask: Uint8Array;
  /** The largest connected part of the other side of the cut; null where there was none. */
  readonly behind: Uint8Array | null;
  /** `attention` where the graph could not be cut: all patches alike, or no two. */
  readonly by: "cut" | "attention";
}

export function foregroundOf({ rows, cols, similarity, attention }: Patches): Foreground {
  const n = rows * cols;
  const joined = new Uint8Array(n * n);
  let edges = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      edges += joined[i * n + j] = i === j || similarity[(i + 1) * (n + 1) + j + 1] > TAU ? 1 : 0;
    }
  }
  const cut = edges === n * n || edges === n ? null : cutOf(joined, n);
  const side = cut ?? aboveOtsu(attention);
  const part = (mask: Uint8Array) => largestPart(mask, { rows, cols });
  const behind = cut && part(cut.map((value) => 1 - value));
  return { rows, cols, mask: part(side), behind, by: cut ? "cut" : "attention" };
}

/** The side of the most salient patch, [n]. */
function cutOf(joined: Uint8Array, n: number): Uint8Array {
  const root = new Float64Array(n); // of the degrees
  for (let i = 0; i < n; i++) {
    let edges = 0;
    for (let j = 0; j < n; j++) edges += joined[i * n + j];
    root[i] = Math.sqrt(edges + EPSILON * (n - edges));
  }
  /** D^-1/2 W D^-1/2 x: its second largest solution y gives the cut's, D^-1/2 y. */
  function apply(x: Float64Array): Float64Array {
    const scaled = x.map((value, i) => value / root[i]);
    const all = EPSILON * scaled.reduce((sum, value) => sum + value, 0);
    return scaled.map((_, i) => {
      let near = 0;
      for (let j = 0, at = i * n; j < n; j++, at++) if (joined[at]) near += scaled[j];
      return (all + (1 - EPSILON) * near) / root[i];
    });
  }
  const random = randomStream(0);
  const begin = Float64Array.from({ length: n }, () => random.normal());
  const vector = secondVector(apply, { first: root, begin }).map((value, i) => value / root[i]);
  const mean = vector.reduce((sum, value) => sum + value, 0) / n;
  let seed = 0;
  for (let i = 1; i < n; i++) if (Math.abs(vector[i]) > Math.abs(vector[seed])) seed = i;
  const above = vector[seed] > mean;
  return Uint8Array.from(vector, (value) => (value > mean) === above ? 1 : 0);
}

/** Otsu's threshold (1979): of two classes, the parting with the largest variance between them. 1 where the value is above it. */
export function aboveOtsu(values: ArrayLike<number>): Uint8Array {
  const sorted = Float64Array.from(values).sort();
  const total = sorted.reduce((sum, value) => sum + value, 0);
  let [below, best, threshold] = [0, -1, Infinity];
  for (let k = 1; k < sorted.length; k++) {
    below += sorted[k - 1];
    if (sorted[k] === sorted[k - 1]) continue;
    const between = k * (sorted.length - k) * (below / k - (total - below) / (sorted.length - k)) ** 2;
    if (between > best) [best, threshold] = [between, sorted[k - 1]];
  }
  return Uint8Array.from(values, (value) => value > threshold ? 1 : 0);
}

/** The largest part of a mask whose patches touch along their sides; the first of equals. */
export function largestPart(mask: Uint8Array, { rows, cols }: { rows: number; cols: number }): Uint8Array {
  const part = new Int32Array(mask.length);
  let [count, best, most] = [0, 0, 0];
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || part[start]) continue;
    count++;
    part[start] = count;
    const queue = [start];
    for (let next = 0; next < queue.length; next++) {
      const at = queue[next];
      const [row, col] = [Math.floor(at / cols), at % cols];
      const beside = [row > 0 && at - cols, row < rows - 1 && at + cols, col > 0 && at - 1, col < cols - 1 && at + 1];
      for (const to of beside) {
        if (to === false || !mask[to] || part[to]) continue;
        part[to] = count;
        queue.push(to);
      }
    }
    if (queue.length > most) [best, most] = [count, queue.length];
  }
  return Uint8Array.from(part, (value) => value !== 0 && value === best ? 1 : 0);
}

/** |both| / |either| of two masks of one grid; 1 where both are empty. */
export function intersectionOverUnion(a: Uint8Array, b: Uint8Array): number {
  let [both, either] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    both += a[i] & b[i];
    either += a[i] | b[i];
  }
  return either === 0 ? 1 : both / either;
}
