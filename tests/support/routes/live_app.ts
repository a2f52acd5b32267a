/** The real routes and jobs' side with real processes: the inspector as it is, and GPU workers that are stood in for. Asked without a socket. */
import { fileURLToPath } from "node:url";
import { type Live, openLive } from "../../../src/jobs/live.ts";
import { openLocal } from "../../../src/jobs/local/backend.ts";
import { type LogRecord, openApp } from "../../../src/routes/app.ts";
import { standIn } from "../jobs/stand_in.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

export interface LiveApp {
  readonly live: Live;
  readonly data: string;
  ask(path: string, init?: RequestInit): Promise<Response>;
  /** What the jobs' side logged. */
  readonly logged: string[];
  /** What went wrong inside. */
  readonly errors: unknown[];
}

export interface LiveAppOptions {
  readonly queue?: number;
  readonly workers?: number;
  readonly models?: string;
  /** What to start for a worker; default: stand-ins. */
  command?(args: readonly string[]): { command: string; args: string[] };
}

/** The server as it is without options, but for where it keeps things and what it starts. Whoever opens it closes it. */
export async function openLiveApp(
  { data, keys = [], log, onError, ...options }: LiveAppOptions & {
    readonly data: string;
    readonly keys?: readonly string[];
    log(text: string): void;
    onError(error: unknown): void;
  },
) {
  const models = { folders: [options.models ?? `${root}models`] };
  const live = await openLive({
    openBackend: (surroundings) => openLocal({ ...surroundings, dataFolder: data, models }),
    workerCommand: options.command ?? standIn,
    workers: options.workers ?? 1,
    queue: options.queue ?? 100,
    keep: Infinity,
    keepBytes: Infinity,
    models,
    webhookSecret: null,
    allowPrivateWebhooks: false,
    version: "test",
    log,
  });
  const app = openApp({
    service: live.service,
    version: "test",
    keys,
    rateLimit: 0,
    cors: [],
    trustProxy: false,
    assets: `${root}src/web/dist`,
    examples: `${root}examples`,
    allowPrivateWebhooks: false,
    stopping: live.stopping,
    log: (record: LogRecord) => record.what === "error" && onError(record.error),
  });
  return { live, app };
}

export async function withLiveApp(options: LiveAppOptions, use: (app: LiveApp) => Promise<void>): Promise<void> {
  const data = await Deno.makeTempDir();
  const logged: string[] = [];
  const errors: unknown[] = [];
  const { live, app } = await openLiveApp({
    ...options,
    data,
    log: (text) => logged.push(text),
    onError: (error) => errors.push(error),
  });
  try {
    await use({
      live,
      data,
      ask: async (path, init) => await app.fetch(new Request(`http://127.0.0.1${path}`, init)),
      logged,
      errors,
    });
  } finally {
    await live.stop();
    app.close();
    await Deno.remove(data, { recursive: true });
  }
}
