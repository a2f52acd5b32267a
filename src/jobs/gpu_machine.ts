/** A machine of a cluster that only works: GPU workers between a backend and nobody who asks. */
import type { StoreOptions } from "../weights/store/store.ts";
import { findModelForJob } from "./machine/find_model.ts";
import type { WorkBackend } from "./model/ports.ts";
import { GRACE, openSupervisor } from "./workers/supervisor.ts";

export interface GpuMachineOptions {
  /** @throws Error that says what to do */
  openBackend(options: { readonly stopping: AbortSignal; log(text: string): void }): Promise<WorkBackend>;
  /** What to start for `splice worker`. */
  readonly workerCommand: { readonly command: string; readonly args: readonly string[] };
  /** How many GPU workers. */
  readonly workers: number;
  readonly models: StoreOptions;
  log(text: string): void;
}

/** Joins, and works until `stop`, which saves what runs and gives it back. @throws Error that says what to do */
export async function openGpuMachine(options: GpuMachineOptions): Promise<{ stop(): Promise<void> }> {
  const { models, log } = options;
  const stopping = new AbortController();
  const backend = await options.openBackend({ stopping: stopping.signal, log });
  const supervisor = openSupervisor({
    source: backend.source,
    command: options.workerCommand,
    workers: options.workers,
    findModel: (name) => findModelForJob(name, models),
    onCount: () => {}, // nobody asks a machine that only works
    log,
  });
  backend.join(supervisor);
  return {
    async stop() {
      stopping.abort();
      await supervisor.stop(GRACE);
      await backend.close();
    },
  };
}
