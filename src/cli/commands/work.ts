/** `splice work`: a GPU machine of a cluster, until it is told to leave. It takes jobs, trains them, and answers nobody. */
import type { Command } from "commander";
import { dataFolder, selfCommand } from "../launch.ts";
import {
  addClusterFlags,
  addressesOf,
  CLUSTER_ENVIRONMENT,
  type ClusterFlags,
  readCluster,
} from "../terminal/cluster_flags.ts";
import { onStopSignal } from "../terminal/signals.ts";
import {
  type Common,
  EXIT,
  modelsFlag,
  type ModelsOption,
  UsageError,
  verboseFlag,
  wholeNumber,
} from "../terminal/usage.ts";

interface WorkOptions extends Common, ModelsOption, ClusterFlags {
  readonly data?: string;
  readonly workers: number;
}

export function addWork(program: Command, finish: (code: number) => void): void {
  const command = program.command("work")
    .summary("a GPU machine of a cluster: takes jobs that any of its servers queued, and trains them")
    .description(
      "Joins a cluster as a GPU machine: takes jobs, trains them, and leaves on SIGTERM or Ctrl-C after saving what runs. `splice serve --cluster` is who asks. docs/cluster.md tells all of it.",
    );
  addClusterFlags(command)
    .option("--workers <number>", "GPU workers, each a process with a job of its own", wholeNumber(1, 64), 1)
    .option("--data <folder>", "for the jobs that are under way (default: splice/server in the user's data folder)")
    .option(...modelsFlag)
    .option(...verboseFlag)
    .addHelpText(
      "after",
      `\nEnvironment:\n${CLUSTER_ENVIRONMENT}\nExample:\n  splice work --cluster nats://a:4222,nats://b:4222,nats://c:4222 --replicas 3`,
    )
    .action(async (options: WorkOptions) => finish(await work(options)));
}

async function work(options: WorkOptions): Promise<number> {
  const place = await readCluster(options);
  if (place === null) {
    throw new UsageError([
      "Cannot work without --cluster: name the servers that keep the jobs, as --cluster nats://a:4222",
    ]);
  }
  const { openLog } = await import("../terminal/server_log.ts");
  const { openGpuMachine } = await import("../../jobs/gpu_machine.ts");
  const { clusterMachine } = await import("../runs/backend.ts");
  const { modelStore } = await import("../runs/surroundings.ts");
  const log = await openLog();
  const stopped = new Promise<void>((resolve) => onStopSignal(resolve)); // from now on, for workers are about to be started
  const data = dataFolder(options.data);
  const models = modelStore(options.models);
  const machine = await openGpuMachine({
    openBackend: await clusterMachine(place, { data, models }),
    workerCommand: selfCommand(["worker", "--data", data], { data, models: options.models }),
    workers: options.workers,
    models,
    log: log.text,
  });
  console.log(`Splice works for the cluster at ${addressesOf(place)}`);
  await stopped;
  log.text("leaving: running jobs are saved and go on elsewhere; a second signal ends at once");
  await machine.stop();
  await log.flush();
  return EXIT.done;
}
