/** Where jobs are kept, as the command line says: in a folder of this machine, or in a cluster. The one place where this is decided. */
import { hostname } from "node:os";
import type { GpuMachineOptions } from "../../jobs/gpu_machine.ts";
import type { Backend } from "../../jobs/model/ports.ts";
import type { StoreOptions } from "../../weights/store/store.ts";
import type { ClusterPlace } from "../terminal/cluster_flags.ts";
import { UsageError } from "../terminal/usage.ts";

interface Surroundings {
  /** Aborted when the process begins to stop. */
  readonly stopping: AbortSignal;
  log(text: string): void;
}

interface Here {
  /** The folder for jobs, or for what is under way of them. */
  readonly data: string;
  readonly models: StoreOptions;
}

/** In a folder of this machine. */
export async function localBackend(
  { data: dataFolder, models }: Here,
): Promise<(here: Surroundings) => Promise<Backend>> {
  const { openLocal } = await import("../../jobs/local/backend.ts");
  return (surroundings) => openLocal({ ...surroundings, dataFolder, models });
}

/** In a cluster, which may be away when it is opened. @throws UsageError for a place that cannot be one */
export async function clusterBackend(
  place: ClusterPlace,
  { data: folder, models }: Here,
): Promise<(here: Surroundings) => Promise<Backend>> {
  const { openCluster, readPlace } = await import("../../jobs/cluster/backend.ts");
  const { openPatiently } = await import("../../jobs/cluster/patient.ts");
  const options = { ...asUsage(() => readPlace(place)), folder, models, name: `splice serve ${hostname()}` };
  return ({ stopping, log }) =>
    Promise.resolve(openPatiently({ open: () => openCluster({ ...options, stopping, log }), stopping, log }));
}

/** The same for a machine that only works. @throws UsageError */
export async function clusterMachine(
  place: ClusterPlace,
  { data: folder, models }: Here,
): Promise<GpuMachineOptions["openBackend"]> {
  const { openClusterMachine, readPlace } = await import("../../jobs/cluster/backend.ts");
  const { openMachinePatiently } = await import("../../jobs/cluster/patient.ts");
  const options = { ...asUsage(() => readPlace(place)), folder, models, name: `splice work ${hostname()}` };
  return ({ stopping, log }) =>
    Promise.resolve(
      openMachinePatiently({ open: () => openClusterMachine({ ...options, stopping, log }), stopping, log }),
    );
}

function asUsage<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UsageError([error instanceof Error ? error.message : String(error)]);
  }
}
