/** A compiled step on its way to the device. What it reads of states must be written before, for what is computed once is computed here. */
import type { Compiled, Loaded, Runtime } from "../../engine/mod.ts";

/** Loads a step, and runs what comes before all steps. */
export async function loadStep(runtime: Runtime, { prelude, step }: Compiled): Promise<Loaded> {
  if (prelude) await runtime.run((await runtime.load([prelude]))[0]);
  return (await runtime.load([step]))[0];
}
