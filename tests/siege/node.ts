/** A process of a besieged cluster: `serve` answers over HTTP, `work` is a GPU machine whose workers are stand-ins. All but the training is the program's own. Ends well on SIGTERM. */
import { fileURLToPath } from "node:url";
import { openCluster, openClusterMachine, readPlace } from "../../src/jobs/cluster/backend.ts";
import { openMachinePatiently, openPatiently } from "../../src/jobs/cluster/patient.ts";
import { openGpuMachine } from "../../src/jobs/gpu_machine.ts";
import { openLive } from "../../src/jobs/live.ts";
import { openApp } from "../../src/routes/app.ts";

export interface NodeOptions {
  readonly role: "serve" | "work";
  readonly addresses: string;
  readonly replicas: 1 | 3;
  readonly port: number;
  readonly workers: number;
  readonly data: string;
}

const root = fileURLToPath(new URL("../../", import.meta.url));

async function run({ role, addresses, replicas, port, workers, data }: NodeOptions): Promise<void> {
  const log = (text: string) => console.error(`${new Date().toISOString()} ${role} ${port}: ${text}`);
  const models = { folders: [`${root}models`] };
  const place = readPlace({ addresses, replicas, namespace: "splice", credentials: {}, ca: null });
  const options = { ...place, folder: data, models, name: `siege ${role} ${port}`, log };
  const command = (args: readonly string[]) => ({
    command: Deno.execPath(),
    args: ["run", "-A", "--no-check", `--config=${root}deno.json`, `${root}tests/siege/worker.ts`, ...args],
  });
  const asked = new Promise<void>((resolve) => Deno.addSignalListener("SIGTERM", () => resolve()));
  if (role === "work") {
    const machine = await openGpuMachine({
      openBackend: ({ stopping }) =>
        Promise.resolve(
          openMachinePatiently({ open: () => openClusterMachine({ ...options, stopping }), stopping, log }),
        ),
      workerCommand: command([]),
      workers,
      models,
      log,
    });
    await asked;
    await machine.stop();
    return;
  }
  const live = await openLive({
    openBackend: ({ stopping }) =>
      Promise.resolve(openPatiently({ open: () => openCluster({ ...options, stopping }), stopping, log })),
    workerCommand: command,
    workers,
    queue: 10_000,
    keep: Infinity,
    keepBytes: Infinity,
    models,
    webhookSecret: null,
    allowPrivateWebhooks: true,
    version: "siege",
    log,
  });
  const { fetch } = openApp({
    service: live.service,
    version: "siege",
    keys: [],
    rateLimit: 0,
    cors: [],
    trustProxy: false,
    assets: `${root}src/web/dist`,
    examples: `${root}examples`,
    allowPrivateWebhooks: true,
    stopping: live.stopping,
    log: (record) =>
      record.what === "error" && log(`request failed: ${(record.error as Error)?.stack ?? record.error}`),
  });
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, fetch);
  await asked;
  await live.stop(Promise.race([server.shutdown(), new Promise((resolve) => setTimeout(resolve, 3000))]));
}

if (import.meta.main) {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    console.error("SURPRISE", event.reason);
  });
  await run(JSON.parse(Deno.args[0]));
  Deno.exit(0);
}
