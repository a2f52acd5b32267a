/** `splice serve`: the HTTP server, its queue and its workers, until it is told to stop. */
import { join } from "node:path";
import type { Command } from "commander";
import config from "../../../deno.json" with { type: "json" };
import { listen, type Listener } from "../runs/listener.ts";
import { dataFolder, programFolder, selfCommand } from "../launch.ts";
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

interface ServeOptions extends Common, ModelsOption, ClusterFlags {
  readonly host: string;
  readonly port: number;
  readonly data?: string;
  readonly workers?: number;
  readonly queue: number;
  readonly keep: string;
  readonly keepSize: string;
  readonly rateLimit: number;
  readonly cors?: readonly string[];
  readonly trustProxy?: boolean;
  readonly allowPrivateWebhooks?: boolean;
}

/** Clients that do not read hold a connection open for ever; after this they are left, in ms. */
const LAST_ANSWERS = 5000;

export function addServe(program: Command, finish: (code: number) => void): void {
  const command = program.command("serve")
    .summary("the HTTP server: a page, an API, a queue of jobs")
    .description(
      "Serves the page and the HTTP API. Jobs wait in a queue on the disk and survive restarts; SIGTERM or Ctrl-C saves what is running.",
    )
    .option("--host <address>", "address to listen on; 0.0.0.0 for all", "127.0.0.1")
    .option("--port <number>", "port to listen on; 0 for any that is free", wholeNumber(0, 65535), 8080)
    .option("--data <folder>", "where jobs are kept (default: splice/server in the user's data folder)")
    .option(...modelsFlag)
    .option(
      "--workers <number>",
      "GPU workers, each a process with a job of its own (default: 1, or none with --cluster)",
      wholeNumber(0, 64),
    )
    .option("--queue <number>", "jobs that may wait", wholeNumber(1, 100_000), 100)
    .option("--keep <age>", "ended jobs are removed after this: 12h, 7d, ... or forever", "7d")
    .option("--keep-size <size>", "the oldest ended jobs are removed when all take more: 500M, 20G, ... or none", "20G")
    .option("--rate-limit <number>", "new jobs a minute from one client; 0 for no limit", wholeNumber(0, 1e6), 120)
    .option("--cors <origin>", "a site whose pages may use this server; may be repeated", collect)
    .option("--trust-proxy", "a proxy stands in front: take the client's address from its X-Forwarded-For")
    .option("--allow-private-webhooks", "webhooks may call private addresses too");
  addClusterFlags(command)
    .option(...verboseFlag)
    .addHelpText(
      "after",
      "\nEnvironment:\n  SPLICE_API_KEYS        keys, separated by commas; with any, /v1 and /metrics need `Authorization: Bearer KEY`\n" +
        "  SPLICE_WEBHOOK_SECRET  signs webhooks (default: one made once and kept with the jobs)\n" +
        CLUSTER_ENVIRONMENT +
        "\nExample:\n  splice serve --port 8080 --keep 30d\n" +
        "  splice serve --cluster nats://a:4222,nats://b:4222,nats://c:4222 --replicas 3    # one of many: see docs/cluster.md",
    )
    .action(async (options: ServeOptions) => finish(await serve(options)));
}

async function serve(options: ServeOptions): Promise<number> {
  const { parseAge, parseSize } = await import("../../jobs/retention.ts");
  const problems: string[] = [];
  const read = <T>(flag: string, parse: () => T): T | undefined => {
    try {
      return parse();
    } catch (error) {
      problems.push(`Cannot use ${flag}: ${error instanceof Error ? error.message : error}`);
    }
  };
  const keep = read("--keep", () => parseAge(options.keep));
  const keepBytes = read("--keep-size", () => parseSize(options.keepSize));
  const cors = options.cors ?? [];
  for (const origin of cors) {
    if (origin !== "*" && !isOrigin(origin)) {
      problems.push(`Cannot use --cors ${origin}: it must be an origin, as https://example.org, or *`);
    }
  }
  const keys = (Deno.env.get("SPLICE_API_KEYS") ?? "").split(",").map((key) => key.trim()).filter((key) => key !== "");
  if (keys.some((key) => key.length < 16)) {
    problems.push(
      "Cannot use SPLICE_API_KEYS: a key has fewer than 16 characters and could be guessed; choose longer ones",
    );
  }
  const place = await readCluster(options);
  const { workers = place === null ? 1 : 0 } = options;
  if (workers === 0 && place === null) {
    problems.push(
      "Cannot use --workers 0 without --cluster: nobody would work; it is for servers whose GPU machines are others",
    );
  }
  if (problems.length > 0 || keep === undefined || keepBytes === undefined) throw new UsageError(problems);

  const { openLog } = await import("../terminal/server_log.ts");
  const { openLive } = await import("../../jobs/live.ts");
  const { clusterBackend, localBackend } = await import("../runs/backend.ts");
  const { openApp } = await import("../../routes/app.ts");
  const { modelStore } = await import("../runs/surroundings.ts");
  const log = await openLog();
  surviveSurprises((error) => log.record({ what: "error", request: "-", error }));
  const stopped = new Promise<void>((resolve) => onStopSignal(resolve)); // from now on, for workers are about to be started
  const data = dataFolder(options.data);
  const models = modelStore(options.models);
  const live = await openLive({
    openBackend: place === null ? await localBackend({ data, models }) : await clusterBackend(place, { data, models }),
    workerCommand: (args) => selfCommand(["worker", ...args, "--data", data], { data, models: options.models }),
    workers,
    queue: options.queue,
    keep,
    keepBytes,
    models,
    webhookSecret: Deno.env.get("SPLICE_WEBHOOK_SECRET") || null,
    allowPrivateWebhooks: options.allowPrivateWebhooks ?? false,
    version: config.version,
    log: log.text,
  });
  const { app } = openApp({
    service: live.service,
    version: config.version,
    keys,
    rateLimit: options.rateLimit,
    cors,
    trustProxy: options.trustProxy ?? false,
    assets: join(programFolder(), "src/web/dist"),
    examples: join(programFolder(), "examples"),
    allowPrivateWebhooks: options.allowPrivateWebhooks ?? false,
    stopping: live.stopping,
    log: log.record,
  });
  let listener: Listener;
  try {
    listener = listen({
      hostname: options.host,
      port: options.port,
      handler: (request, info) => app.fetch(request, info),
      onError(error) {
        log.record({ what: "error", request: "-", error });
        return new Response("Something went wrong inside the server\n", { status: 500 });
      },
      log: log.text,
    });
  } catch (cause) {
    await live.stop();
    const why = cause instanceof Deno.errors.AddrInUse
      ? "another program listens there; choose another --port"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new Error(`Cannot listen on ${options.host} port ${options.port}: ${why}`, { cause });
  }
  const { hostname, port } = listener;
  console.log(`Splice listens on http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}/`);
  console.log(`Jobs are kept in ${place === null ? data : `the cluster at ${addressesOf(place)}`}`);
  if (keys.length === 0 && !["127.0.0.1", "::1", "localhost"].includes(options.host)) {
    log.text(`anyone who reaches ${options.host} may use this server; SPLICE_API_KEYS asks for a key`);
  }
  await stopped;
  log.text("stopping: running jobs are saved and go on after the next start; a second signal ends at once");
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise((resolve) => timer = setTimeout(resolve, LAST_ANSWERS));
  await live.stop(Promise.race([listener.shutdown(), late]));
  clearTimeout(timer);
  await log.flush();
  return EXIT.done;
}

/** An error that nobody waited for would end the process, with all its streams; it is a bug, and goes to the log. */
function surviveSurprises(tell: (error: unknown) => void): void {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    tell(event.reason);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    tell(event.error);
  });
}

const collect = (value: string, before: readonly string[] = []) => [...before, value];

function isOrigin(text: string): boolean {
  try {
    return new URL(text).origin === text;
  } catch {
    return false;
  }
}
