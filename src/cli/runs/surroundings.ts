/**
 * What commands find around them: the model store's folders, the GPU and the memory it may use, and the wish to stop.
 */
import { join } from "node:path";
import { openGpu, openRuntime, type Runtime } from "../../engine/mod.ts";
import type { StoreOptions } from "../../weights/store/store.ts";
import { ownModels, programFolder } from "../launch.ts";
import { onStopSignal } from "../terminal/signals.ts";
import { shellWord } from "../terminal/usage.ts";

/** The bundled models, then the user's own: in the folder that --models gave, or the usual one. */
export function modelStore(given?: string): StoreOptions & { readonly own: string | null } {
  const own = ownModels(given);
  const bundled = join(programFolder(), "models");
  const named = given === undefined ? {} : { named: ` --models ${shellWord(given)}` };
  return { folders: own ? [bundled, own] : [bundled], own, ...named };
}

/** Runs `use` with a GPU that is closed afterwards, and the bytes it may use where that is known: software adapters use the machine's own. */
export async function withRuntime<T>(
  use: (runtime: Runtime, memoryLimit: number | undefined) => Promise<T>,
): Promise<T> {
  const runtime = openRuntime(await openGpu());
  if (runtime.gpu.info.opengl) {
    console.error(
      "splice: no Vulkan driver works here, so OpenGL computes: several times slower, and the first start takes minutes; `splice doctor` tells more",
    );
  }
  try {
    return await use(runtime, runtime.gpu.info.software ? Deno.systemMemoryInfo().available : undefined);
  } finally {
    runtime.close();
  }
}

/** Runs `use` with a signal that Ctrl-C (or SIGTERM, or the closing of the terminal) aborts; a second one ends the process at once. */
export async function interruptible<T>(use: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const deaf = onStopSignal(() => controller.abort());
  try {
    return await use(controller.signal);
  } finally {
    deaf();
  }
}
