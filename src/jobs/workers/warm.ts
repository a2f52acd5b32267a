/**
 * What a worker keeps between jobs, so that the second of a kind starts at once: compiled steps, the extractor, and the one device of its process.
 */
import type { Runtime } from "../../engine/mod.ts";
import type { Extractor } from "../../splice/transfer/extractor.ts";
import { openStepCache, type StepCache } from "../../splice/transfer/step_cache.ts";
import { loadVit } from "../../weights/store/store.ts";

export interface Warm {
  readonly steps: StepCache;
  /** The extractor last used. */
  extractor(path: string): Promise<Extractor>;
  /** Runs `use` with buffers of its own on the one device, and the bytes it may use where that is known. */
  withRuntime<T>(use: (runtime: Runtime, memoryLimit: number | undefined) => Promise<T>): Promise<T>;
}

/** `onRemark` gets what was chosen or had to be assumed of an extractor. */
export function keepWarm(withRuntime: Warm["withRuntime"], onRemark: (text: string) => void): Warm {
  async function load(path: string): Promise<Extractor> {
    const { tensors, vit, remarks } = await loadVit(path);
    remarks.forEach(onRemark);
    return { tensors, vit };
  }

  let last: { path: string; modified: number; extractor: Promise<Extractor> } | null = null;
  return {
    steps: openStepCache(),
    withRuntime,
    async extractor(path) {
      const modified = (await Deno.stat(path)).mtime?.getTime() ?? 0;
      if (last?.path !== path || last.modified !== modified) {
        last = { path, modified, extractor: load(path) };
      }
      try {
        return await last.extractor;
      } catch (error) {
        last = null;
        throw error;
      }
    },
  };
}
