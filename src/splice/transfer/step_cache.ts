/**
 * Compiled steps, kept between trainings: another one of the same sizes starts at once. What is kept is bounded by bytes, for pictures come in any number of sizes. A step
 * has a thousand kernels and few distinct texts, most of which it shares with steps of other sizes: each text is kept once. Invariant: a key holds everything that its
 * programs depend on.
 */
import type { Compiled, Program } from "../../engine/mod.ts";

interface Text {
  readonly wgsl: string;
  /** How many of the kept steps use it. */
  users: number;
}

interface Kept {
  readonly compiled: Compiled;
  readonly bytes: number;
  readonly texts: ReadonlySet<Text>;
}

export interface StepCache {
  /** By what they are made of, the most recently used last. */
  readonly kept: Map<string, Kept>;
  readonly texts: Map<string, Text>;
  readonly mostBytes: number;
  bytes: number;
}

/** A transfer has at most eighteen steps: three crop sides an image, with and without the whole-image terms; with the largest extractor they take half of this. */
const MOST_BYTES = 128 * 2 ** 20;
/** What a dispatch weighs without its text; measured. */
const DISPATCH_BYTES = 1200;

export function openStepCache(mostBytes = MOST_BYTES): StepCache {
  return { kept: new Map(), texts: new Map(), mostBytes, bytes: 0 };
}

/** What was compiled before of the same parts, or else what `make` compiles of them. `parts` are JSON; without a cache everything is compiled anew. */
export function compileOnce(cache: StepCache | undefined, parts: readonly unknown[], make: () => Compiled): Compiled {
  if (!cache) return make();
  const key = JSON.stringify(parts);
  const known = cache.kept.get(key);
  const kept = known ?? keep(cache, make());
  cache.kept.delete(key);
  cache.kept.set(key, kept);
  for (const [oldest, { bytes, texts }] of cache.kept) {
    if (cache.bytes <= cache.mostBytes || oldest === key) break;
    cache.kept.delete(oldest);
    cache.bytes -= bytes;
    for (const text of texts) release(cache, text);
  }
  return kept.compiled;
}

function keep(cache: StepCache, { prelude, step }: Compiled): Kept {
  const texts = new Set<Text>();
  const shared = (wgsl: string): string => {
    const text = cache.texts.get(wgsl) ?? { wgsl, users: 0 };
    cache.texts.set(wgsl, text);
    texts.add(text);
    return text.wgsl;
  };
  const sharing = (program: Program): Program => ({
    ...program,
    steps: program.steps.map((step) => ({ ...step, kernel: { ...step.kernel, wgsl: shared(step.kernel.wgsl) } })),
  });
  const compiled = { prelude: prelude && sharing(prelude), step: sharing(step) };
  const bytes = DISPATCH_BYTES * (compiled.step.steps.length + (compiled.prelude?.steps.length ?? 0));
  cache.bytes += bytes;
  for (const text of texts) {
    if (text.users++ === 0) cache.bytes += text.wgsl.length;
  }
  return { compiled, bytes, texts };
}

function release(cache: StepCache, text: Text): void {
  if (--text.users > 0) return;
  cache.texts.delete(text.wgsl);
  cache.bytes -= text.wgsl.length;
}
