/**
 * Compiled steps, kept between trainings: another one of the same sizes starts at once. Invariant: a key holds everything that its programs depend on.
 */
import type { Compiled } from "../../engine/mod.ts";

/** By what they are made of, the most recently used last. */
export type StepCache = Map<string, Compiled>;

/** A transfer has at most eighteen: three crop sides an image, with and without the whole-image terms. */
const MOST_CACHED = 64;

/** What was compiled before of the same parts, or else what `make` compiles of them. `parts` are JSON; without a cache everything is compiled anew. */
export function compileOnce(cache: StepCache | undefined, parts: readonly unknown[], make: () => Compiled): Compiled {
  if (!cache) return make();
  const key = JSON.stringify(parts);
  const compiled = cache.get(key) ?? make();
  cache.delete(key);
  cache.set(key, compiled);
  if (cache.size > MOST_CACHED) cache.delete(cache.keys().next().value!);
  return compiled;
}
