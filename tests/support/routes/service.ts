/**
 * The jobs' side without processes: the real store, files, creation and feeds, and a worker that does what a test tells it to. Pictures that come out are fixtures.
 */
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { createJob } from "../../../src/jobs/creation.ts";
import { openFeeds } from "../../../src/jobs/delivery/feed.ts";
import { readFeatureFields } from "../../../src/jobs/model/feature_fields.ts";
import { openFiles } from "../../../src/jobs/local/files.ts";
import { type CountedEvent, Fault, type FaultCode, isFinal, type Job } from "../../../src/jobs/model/job.ts";
import type { JobService, Served, Upload } from "../../../src/jobs/model/service.ts";
import { type JobStore, openStore } from "../../../src/jobs/local/store.ts";
import { checkWebhookUrl } from "../../../src/jobs/delivery/webhook.ts";
import { INPUTS } from "../../../src/jobs/model/work.ts";
import { type AppOptions, type LogRecord, openApp } from "../../../src/routes/app.ts";

export const root = fileURLToPath(new URL("../../../", import.meta.url));
export const fixture = (name: string) => Deno.readFileSync(`${root}tests/fixtures/images/${name}`);

/** What a worker would do, one call each; the oldest queued job is the one that starts. */
export interface Worker {
  start(): string;
  step(id: string, step: number): void;
  preview(id: string, step: number): Promise<void>;
  succeed(id: string): Promise<void>;
  fail(id: string, code: FaultCode, detail: string): void;
}

export interface Stage {
  readonly service: JobService;
  readonly worker: Worker;
  readonly store: JobStore;
  readonly folder: string;
  /** What lies in the folder of uploads. */
  uploads(): string[];
  /** As a server that is told to stop does. */
  stop(): void;
  readonly stopping: AbortSignal;
  /** Workers that are ready. */
  ready: number;
  /** Makes the next call of `models` throw this. */
  broken: unknown;
}

const outcomes = { png: "rgb-16.png", jpeg: "grey.jpg", webp: "lossy.webp" } as const;
const models = { folders: [`${root}models`] };

async function openStage(options: { queue: number }): Promise<{ stage: Stage; close(): Promise<void> }> {
  const folder = await Deno.makeTempDir();
  const files = openFiles(folder);
  const store = openStore(files.database);
  const feeds = openFeeds(store);
  const counting = new Set<(event: CountedEvent) => void>();
  const stopping = new AbortController();
  const count = (event: CountedEvent) => counting.forEach((listener) => listener(event));
  const record = (id: string) => {
    const found = store.get(id);
    if (found === null) throw new Fault("unknown_job", `There is no job ${id.slice(0, 60)}`);
    return found;
  };
  const succeeded = (id: string) => {
    const { status } = record(id).job;
    if (status !== "succeeded") throw new Fault(isFinal(status) ? "no_result" : "not_finished", `The job is ${status}`);
  };
  const generates = (id: string) => {
    succeeded(id);
    if (record(id).job.kind !== "splice") throw new Fault("not_found", "The job leaves no generator");
  };
  const served = async (path: string, type: string): Promise<Served> => {
    const { size, mtime } = await Deno.stat(path);
    return { path, type, bytes: size, modified: mtime };
  };
  const answer = async (upload: Upload, { name, bytes, type }: { name: string; bytes: Uint8Array; type: string }) => {
    await Deno.stat(join(upload.folder, "image"));
    await Deno.writeFile(join(upload.folder, name), bytes);
    return await served(join(upload.folder, name), type);
  };

  const service: JobService = {
    openUpload: () => files.openUpload(),
    create: async (request) => {
      const { job, replayed } = await createJob(request, {
        store,
        files,
        models,
        queue: options.queue,
        inspect: () => Promise.resolve(),
        device: () => ({ device: null, plannedBytes: 0 }),
        checkWebhook: (url) => checkWebhookUrl(url, { allowPrivate: false }),
      });
      return { job: record(job.id).job, replayed };
    },
    get: (id) => record(id).job,
    list({ limit, before, status }) {
      const found = store.list({ limit: limit + 1, status, before: before === undefined ? undefined : Number(before) });
      const page = found.slice(0, limit);
      return { jobs: page.map(({ job }) => job), next: found.length > limit ? String(page.at(-1)!.number) : null };
    },
    async remove(id) {
      const { job } = record(id);
      if (job.status === "running") return { did: "canceling", job };
      if (job.status === "queued") {
        store.cancel(id);
        return { did: "canceled", job: record(id).job };
      }
      store.remove(id);
      await files.removeJob(id);
      return { did: "removed" };
    },
    feed: (id, after) => feeds.open(id, after),
    finished: (id) =>
      new Promise<Job>((resolve, reject) => {
        const look = () => {
          const job = store.get(id)?.job;
          if (job === undefined || !isFinal(job.status)) return;
          forget();
          resolve(job);
        };
        const forget = store.onChange(look);
        const interrupted = () => {
          forget();
          reject(new Fault("unavailable", "The server is being restarted", { retryAfter: 10 }));
        };
        stopping.signal.addEventListener("abort", interrupted);
        if (stopping.signal.aborted) interrupted();
        look();
      }),
    async result(id, format) {
      succeeded(id);
      const path = files.jobFile(id, `result.${format}`);
      await Deno.writeFile(path, fixture(outcomes[format]));
      await Deno.utime(path, 1e9, 1e9);
      return await served(path, `image/${format}`);
    },
    trained: (id, format) => service.result(id, format),
    async preview(id) {
      if (record(id).previewStep === null) throw new Fault("not_found", "The job has no preview yet");
      return await served(files.jobFile(id, "preview.jpg"), "image/jpeg");
    },
    async generator(id) {
      generates(id);
      return await served(files.jobFile(id, "generator.safetensors"), "application/octet-stream");
    },
    async input(id, name, format) {
      if (!INPUTS[record(id).job.kind].includes(name)) throw new Fault("not_found", `The job has no picture ${name}`);
      return await served(
        files.jobFile(id, name),
        format === undefined ? "application/octet-stream" : `image/${format}`,
      );
    },
    async show(upload, format) {
      return await answer(upload, {
        name: `shown.${format}`,
        bytes: fixture(outcomes[format]),
        type: `image/${format}`,
      });
    },
    async apply(id, upload, { format }) {
      generates(id);
      const bytes = fixture(outcomes[format]);
      return await answer(upload, { name: `result.${format}`, bytes, type: `image/${format}` });
    },
    async features(upload, fields) {
      const bytes = new TextEncoder().encode(JSON.stringify(readFeatureFields(fields).layers));
      return await answer(upload, { name: "features.safetensors", bytes, type: "application/octet-stream" });
    },
    async look(_, upload, { format }) {
      return await answer(upload, {
        name: `look.${format}`,
        bytes: fixture(outcomes[format]),
        type: `image/${format}`,
      });
    },
    models() {
      if (stage.broken !== null) throw stage.broken;
      const one = { name: "splice-tiny8", present: true, default: true, about: null, licence: "MIT", megabytes: 1 };
      return Promise.resolve([one]);
    },
    health: () => ({ ready: stage.ready, workers: 1, adapter: stage.ready > 0 ? "a scripted one" : null }),
    gauges() {
      const { queued, running } = store.counts();
      return { queued, running, plannedBytes: running * 1000, plannedByJob: 1000 };
    },
    onCount(listener) {
      counting.add(listener);
      return () => void counting.delete(listener);
    },
  };

  const worker: Worker = {
    start() {
      const { id, options: { model = "", steps } } = store.claim()!.job;
      store.started(id, { adapter: "a scripted one", model, steps, step: 0 });
      return id;
    },
    step(id, step) {
      const { steps } = record(id).job;
      store.progress(id, { step, steps, losses: { total: 1 / step }, steps_per_second: 2, eta_seconds: steps - step });
      count({ what: "steps", seconds: [0.5] });
    },
    async preview(id, step) {
      await Deno.writeFile(files.jobFile(id, "preview.jpg"), fixture("grey.jpg"));
      store.preview(id, step);
    },
    async succeed(id) {
      await Deno.writeFile(files.jobFile(id, "result.png"), fixture(outcomes.png));
      await Deno.writeFile(files.jobFile(id, "generator.safetensors"), new Uint8Array(100));
      store.succeed(id, await files.sizeOf(id));
      count({ what: "ended", outcome: "succeeded" });
    },
    fail(id, code, detail) {
      store.fail(id, new Fault(code, detail).problem);
      count({ what: "ended", outcome: "failed" });
    },
  };

  const stage: Stage = {
    service,
    worker,
    store,
    folder,
    uploads: () => Array.from(Deno.readDirSync(join(folder, "uploads")), ({ name }) => name),
    stop() {
      stopping.abort();
      feeds.interrupt();
    },
    stopping: stopping.signal,
    ready: 1,
    broken: null,
  };
  return {
    stage,
    async close() {
      if (!stopping.signal.aborted) stage.stop();
      store.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

export interface Theatre extends Stage {
  /** Asks the app without a socket. */
  ask(path: string, init?: RequestInit & { from?: string }): Promise<Response>;
  /** Starts a server, and returns its address. */
  serve(): string;
  readonly records: LogRecord[];
}

/** Runs `use` with an app on a stage of its own; what was served is shut down afterwards. */
export async function onStage(
  options: Partial<AppOptions> & { queue?: number },
  use: (theatre: Theatre) => Promise<void>,
): Promise<void> {
  const { stage, close } = await openStage({ queue: options.queue ?? 100 });
  const records: LogRecord[] = [];
  const { fetch, close: closeApp } = openApp({
    service: stage.service,
    version: "1.2.3",
    keys: [],
    rateLimit: 0,
    cors: [],
    trustProxy: false,
    assets: `${stage.folder}/page`,
    examples: `${root}examples`,
    allowPrivateWebhooks: false,
    stopping: stage.stopping,
    log: (record) => records.push(record),
    ...options,
  });
  const servers: Deno.HttpServer<Deno.NetAddr>[] = [];
  try {
    await use({
      ...stage,
      get ready() {
        return stage.ready;
      },
      set ready(count) {
        stage.ready = count;
      },
      get broken() {
        return stage.broken;
      },
      set broken(error) {
        stage.broken = error;
      },
      records,
      ask(path, { from = "127.0.0.1", ...init } = {}) {
        const remoteAddr: Deno.NetAddr = { transport: "tcp", hostname: from, port: 1 };
        return Promise.resolve(fetch(new Request(new URL(path, "http://localhost:8080"), init), { remoteAddr }));
      },
      serve() {
        const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, fetch);
        servers.push(server);
        return `http://127.0.0.1:${server.addr.port}`;
      },
    });
  } finally {
    if (!stage.stopping.aborted) stage.stop();
    for (const server of servers) await server.shutdown();
    closeApp();
    await close();
  }
}

/** A form as browsers send it: bytes become files, everything else text. */
export function formOf(fields: Readonly<Record<string, string | number | Uint8Array<ArrayBuffer>>>): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Uint8Array) form.append(name, new Blob([value]), `${name}.png`);
    else form.append(name, String(value));
  }
  return form;
}

/** The smallest good form, and what is to be different. */
export const pairForm = (fields: Parameters<typeof formOf>[0] = {}) =>
  formOf({ structure: fixture("orientation-1.png"), appearance: fixture("orientation-1.jpg"), ...fields });

/** The smallest good form of an inversion, and what is to be different. */
export const inversionForm = (fields: Parameters<typeof formOf>[0] = {}) =>
  formOf({ kind: "invert", feature: "keys", image: fixture("orientation-1.png"), ...fields });

/** Queues a job, and returns it. */
export async function queued({ ask }: Theatre, fields: Parameters<typeof formOf>[0] = {}): Promise<Job> {
  const response = await ask("/v1/jobs", { method: "POST", body: pairForm(fields) });
  if (response.status !== 202) throw new Error(await response.text());
  return await response.json();
}
