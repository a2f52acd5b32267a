/** Numbers for tests: the same in every run, all of them exact in f32, so that a GPU and an f64 oracle are fed alike. */
import { type Graph, randomStream, sizeOf } from "../../../src/engine/mod.ts";
import { valuesOf } from "../../../src/engine/ir/graph.ts";

/** Where the numbers of an operand lie: `whole` are integers, which tests neither scale nor differentiate. */
export type Domain = "any" | "positive" | "whole";

/** `any`: in (-2, 2); `positive`: in [0.5, 2); `whole`: in -3 ... 3. */
export function noise(length: number, seed: number, domain: Domain = "any"): Float64Array {
  const { uniform } = randomStream(seed);
  return Float64Array.from({ length }, () => {
    const x = uniform();
    return Math.fround(domain === "any" ? 4 * x - 2 : domain === "positive" ? 0.5 + 1.5 * x : Math.floor(7 * x) - 3);
  });
}

/** Small numbers for every input and state of a graph. */
export function feedsOf(graph: Graph): Map<string, Float64Array> {
  const feeds = new Map<string, Float64Array>();
  for (const value of valuesOf(graph)) {
    if (value.kind !== "input" && value.kind !== "state") continue;
    feeds.set(value.name, noise(sizeOf(value.type.shape), feeds.size + 1).map((x) => Math.fround(0.3 * x)));
  }
  return feeds;
}

/** ||got - want|| / ||want||, or ||got|| where nothing is wanted; NaN anywhere makes it NaN. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Infinity;
  let [error, size] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    error += (got[i] - want[i]) ** 2;
    size += want[i] ** 2;
  }
  return Math.sqrt(error / (size || 1));
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
