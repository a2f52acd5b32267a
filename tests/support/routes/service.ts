/**
 * The jobs' side without processes: the real store, files, creation and feeds, and a worker that does what a test tells it to. Pictures that come out are fixtures.
 */
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { createJob } from "../../../src/jobs/creation.ts";
import { openFeeds } from "../../../src/jobs/delivery/feed.ts";
import { readFeatureFields } from "../../../src/jobs/model/feature_fields.ts";
import { openFiles } from "../../../src/jobs/local/files.ts";
import { Fault, type FaultCode, isFinal, type Job } from "../../../src/jobs/model/job.ts";
import { openJobFiles } from "../../../src/jobs/local/job_files.ts";
import { type Ledger, openLedger } from "../../../src/jobs/local/ledger.ts";
import { ownMachines } from "../../../src/jobs/local/own_machines.ts";
import { openStore } from "../../../src/jobs/local/store.ts";
import { serveFile } from "../../../src/jobs/machine/serve_file.ts";
import type { JobService, Upload } from "../../../src/jobs/model/service.ts";
import { checkWebhookUrl } from "../../../src/jobs/delivery/webhook.ts";
import { whenEnded } from "../../../src/jobs/delivery/when_ended.ts";
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
  readonly ledger: Ledger;
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
  const data = openFiles(folder);
  const ledger = openLedger(data.database);
  const store = openStore({ ledger, files: data, log: () => {} });
  const files = openJobFiles(data);
  const feeds = openFeeds(store);
  const stopping = new AbortController();
  const machines = ownMachines({
    workers: () => 2,
    ready: () => stage.ready,
    device: () => null,
    plannedBytes: () => 0,
    largestPlan: () => 1000,
    call: () => Promise.reject(new Error("nobody works here")),
  }, models);
  const record = async (id: string) => {
    const found = await store.get(id);
    if (found === null) throw new Fault("unknown_job", `There is no job ${id.slice(0, 60)}`);
    return found;
  };
  const succeeded = async (id: string) => {
    const found = await record(id);
    const { status } = found.job;
    if (status !== "succeeded") throw new Fault(isFinal(status) ? "no_result" : "not_finished", `The job is ${status}`);
    return found;
  };
  const generates = async (id: string) => {
    const found = await succeeded(id);
    if (found.job.kind !== "splice") throw new Fault("not_found", "The job leaves no generator");
    return found;
  };
  const answer = async (upload: Upload, { name, bytes, type }: { name: string; bytes: Uint8Array; type: string }) => {
    await Deno.stat(join(upload.folder, "image"));
    await Deno.writeFile(join(upload.folder, name), bytes);
    return await serveFile(join(upload.folder, name), type);
  };

  const service: JobService = {
    openUpload: () => data.openUpload(),
    create: (request) =>
      createJob(request, {
        store,
        files,
        machines,
        queue: options.queue,
        inspect: () => Promise.resolve(),
        checkWebhook: (url) => checkWebhookUrl(url, { allowPrivate: false }),
      }),
    get: async (id) => (await record(id)).job,
    async list({ limit, before, status }) {
      const beforeNumber = before === undefined ? undefined : Number(before);
      const found = await store.list({ limit: limit + 1, status, before: beforeNumber });
      const page = found.slice(0, limit);
      return { jobs: page.map(({ job }) => job), next: found.length > limit ? String(page.at(-1)!.number) : null };
    },
    async remove(id) {
      await record(id);
      const was = await store.cancel(id);
      if (was !== null) return { did: "canceled", was, job: (await record(id)).job };
      await store.remove(id);
      return { did: "removed" };
    },
    feed: (id, after) => feeds.open(id, after),
    finished: (id) => whenEnded(id, { store, stopping: stopping.signal }),
    async result(id, format) {
      await succeeded(id);
      const path = data.jobFile(id, `result.${format}`);
      await Deno.writeFile(path, fixture(outcomes[format]));
      await Deno.utime(path, 1e9, 1e9);
      return await serveFile(path, `image/${format}`);
    },
    trained: (id, format) => service.result(id, format),
    async preview(id) {
      const found = await record(id);
      if (found.previewStep === null) throw new Fault("not_found", "The job has no preview yet");
      return (await files.open(found, "preview"))!;
    },
    generator: async (id) => (await files.open(await generates(id), "generator"))!,
    async input(id, name) {
      const found = await files.input(await record(id), name);
      if (found === null) throw new Fault("not_found", `The job has no picture ${name}`);
      return found;
    },
    async inputAs(id, name, format) {
      await service.input(id, name);
      return await serveFile(data.jobFile(id, name), `image/${format}`);
    },
    async show(upload, format) {
      return await answer(upload, {
        name: `shown.${format}`,
        bytes: fixture(outcomes[format]),
        type: `image/${format}`,
      });
    },
    async apply(id, upload, { format }) {
      await generates(id);
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
    onCount: store.onCount,
  };

  const worker: Worker = {
    start() {
      const { id, options: { model = "", steps } } = ledger.claim()!.job;
      ledger.started(id, { adapter: "a scripted one", model, steps, step: 0 });
      return id;
    },
    step(id, step) {
      const { steps } = ledger.get(id)!.job;
      ledger.progress(
        id,
        { step, steps, losses: { total: 1 / step }, steps_per_second: 2, eta_seconds: steps - step },
        [0.5],
      );
    },
    async preview(id, step) {
      await Deno.writeFile(data.jobFile(id, "preview.jpg"), fixture("grey.jpg"));
      ledger.preview(id, step);
    },
    async succeed(id) {
      await Deno.writeFile(data.jobFile(id, "result.png"), fixture(outcomes.png));
      await Deno.writeFile(data.jobFile(id, "generator.safetensors"), new Uint8Array(100));
      ledger.succeed(id, await data.sizeOf(id));
    },
    fail(id, code, detail) {
      ledger.fail(id, new Fault(code, detail).problem);
    },
  };

  const stage: Stage = {
    service,
    worker,
    ledger,
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
      ledger.close();
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
