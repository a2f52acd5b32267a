/**
 * The jobs' side of a running server: workers, inspector, webhooks and retention around whatever keeps the jobs, as the `JobService` that routes ask. Knows no backend by name.
 */
import type { StoreOptions } from "../weights/store/store.ts";
import { createJob } from "./creation.ts";
import { openFeeds } from "./delivery/feed.ts";
import { checkWebhookUrl, openWebhooks } from "./delivery/webhook.ts";
import { whenEnded } from "./delivery/when_ended.ts";
import { type CountedEvent, Fault, isFinal } from "./model/job.ts";
import { openListeners } from "./model/listeners.ts";
import type { ImageFormatName } from "./model/messages.ts";
import type { Backend } from "./model/ports.ts";
import type { JobRecord } from "./model/record.ts";
import type { FileName, JobService, Served } from "./model/service.ts";
import { type InputName, INPUTS } from "./model/work.ts";
import { openRetention } from "./retention.ts";
import { findModelForJob } from "./machine/find_model.ts";
import { openPictureCalls, SUFFIX } from "./workers/picture_calls.ts";
import { GRACE, openSupervisor } from "./workers/supervisor.ts";
import { tend } from "./workers/tended.ts";

export interface LiveOptions {
  /** Opens what keeps the jobs. @throws Error that says what to do */
  openBackend(options: { readonly stopping: AbortSignal; log(text: string): void }): Promise<Backend>;
  /** What to start for `splice worker` and these further arguments. */
  workerCommand(args: readonly string[]): { command: string; args: string[] };
  /** How many GPU workers. */
  readonly workers: number;
  /** How many jobs may wait. */
  readonly queue: number;
  /** Ended jobs are removed after this many ms, and the oldest when all take more than `keepBytes`. */
  readonly keep: number;
  readonly keepBytes: number;
  readonly models: StoreOptions;
  /** Signs webhooks; null for one that is made once and kept with the jobs. */
  readonly webhookSecret: string | null;
  readonly allowPrivateWebhooks: boolean;
  readonly version: string;
  log(text: string): void;
}

export interface Live {
  readonly service: JobService;
  /** Aborted when the server begins to stop. */
  readonly stopping: AbortSignal;
  /** Saves running jobs, which go back to the queue, and ends every process. The store is there until `answered`, for requests that are under way. */
  stop(answered?: Promise<unknown>): Promise<void>;
}

/** Opens everything. @throws Error that says what to do: the folder is in use, cannot be written, ... */
export async function openLive(options: LiveOptions): Promise<Live> {
  const { log, models } = options;
  const stopping = new AbortController();
  const backend = await options.openBackend({ stopping: stopping.signal, log });
  const { store, files } = backend;
  const feeds = openFeeds(store);
  const counting = openListeners<CountedEvent>("what is counted", log);
  const onCount = counting.tell;
  store.onCount(onCount);
  let stopped: Promise<void> | undefined;

  const supervisor = openSupervisor({
    source: backend.source,
    command: options.workerCommand([]),
    workers: options.workers,
    findModel: (name) => findModelForJob(name, models),
    onCount,
    log,
  });
  const machines = backend.join(supervisor);
  const inspector = tend({
    name: "inspector",
    command: options.workerCommand(["--inspect"]),
    onMessage: () => {},
    onDeath: () => onCount({ what: "restart" }),
    patience: () => Infinity, // its calls have their own limit
    callsAtOnce: 1,
    log,
  });
  const pictures = openPictureCalls({ inspector, machines });
  const webhooks = openWebhooks({
    outbox: backend.outbox,
    secret: options.webhookSecret,
    allowPrivate: options.allowPrivateWebhooks,
    version: options.version,
    log,
  });
  const retention = openRetention({ store, keep: options.keep, keepBytes: options.keepBytes, log });
  const creation = {
    store,
    files,
    machines,
    queue: options.queue,
    inspect: pictures.inspect,
    checkWebhook: (url: string) => checkWebhookUrl(url, { allowPrivate: options.allowPrivateWebhooks }),
  };

  async function recordOf(id: string): Promise<JobRecord> {
    const found = await store.get(id);
    if (!found) {
      throw new Fault("unknown_job", `There is no job ${id.slice(0, 60)}; it may have been removed, or was never made`);
    }
    return found;
  }
  /** @throws Fault unless the job has succeeded */
  async function succeeded(id: string): Promise<JobRecord> {
    const record = await recordOf(id);
    const { job } = record;
    if (job.status === "succeeded") return record;
    if (!isFinal(job.status)) {
      throw new Fault(
        "not_finished",
        `The job is ${job.status}, at step ${job.step} of ${job.steps}; ${job.urls.events} tells when it is done`,
      );
    }
    const why = job.error ? `it failed: ${job.error.detail}` : "it was canceled";
    throw new Fault("no_result", `The job has no result, for ${why}`);
  }
  /** @throws Fault unless the job has succeeded, and was to train a generator */
  async function generates(id: string): Promise<JobRecord> {
    const record = await succeeded(id);
    if (record.job.kind === "splice") return record;
    throw new Fault("not_found", "An inversion leaves a picture and no generator: only transfers have one");
  }
  /** Its files may be removed at any moment, with it or without. @throws Fault unknown_job, not_found */
  async function ofJob<T>({ job }: JobRecord, work: () => Promise<T | null>): Promise<T> {
    try {
      const found = await work();
      if (found !== null) return found;
    } catch (error) {
      await recordOf(job.id);
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    await recordOf(job.id);
    throw new Fault("not_found", "The file has gone from where the server keeps its jobs; start the job again");
  }
  const fileOf = (record: JobRecord, name: FileName) => ofJob(record, () => files.open(record, name));
  function converted(
    record: JobRecord,
    name: FileName | InputName,
    { format, of }: { readonly format: ImageFormatName; readonly of: "result" | "image" },
  ): Promise<Served> {
    const suffix = SUFFIX[format];
    const make = (from: string, to: string) => pictures.convert(from, to, { format, of });
    return ofJob(record, () => files.converted(record, name, { suffix, type: `image/${format}`, make }));
  }
  function painted(record: JobRecord, name: "result" | "trained", format: ImageFormatName): Promise<Served> {
    return format === "png" ? fileOf(record, name) : converted(record, name, { format, of: "result" });
  }
  async function withInput(id: string, name: InputName): Promise<JobRecord> {
    const record = await recordOf(id);
    const { kind } = record.job;
    if (INPUTS[kind].includes(name)) return record;
    const detail = `The job has no picture ${name}: it is of kind ${kind}, and has ${INPUTS[kind].join(" and ")}`;
    throw new Fault("not_found", detail);
  }

  const service: JobService = {
    openUpload: () => backend.openUpload(),
    async create(request) {
      if (stopping.signal.aborted) {
        throw new Fault("unavailable", "The server is being restarted; try again in a moment", { retryAfter: 10 });
      }
      return await createJob(request, creation);
    },
    get: async (id) => (await recordOf(id)).job,
    async list({ limit, before, status }) {
      const beforeNumber = before === undefined ? undefined : Number(before);
      const records = await store.list({ limit: limit + 1, status, before: beforeNumber });
      const page = records.slice(0, limit);
      return { jobs: page.map(({ job }) => job), next: records.length > limit ? String(page.at(-1)!.number) : null };
    },
    async remove(id) {
      await recordOf(id);
      const was = await store.cancel(id);
      if (was !== null) return { did: "canceled", was, job: (await recordOf(id)).job };
      await store.remove(id);
      return { did: "removed" };
    },
    feed: (id, after) => feeds.open(id, after),
    finished: (id) => whenEnded(id, { store, stopping: stopping.signal }),
    result: async (id, format) => await painted(await succeeded(id), "result", format),
    async trained(id, format) {
      const record = await succeeded(id);
      const name = await files.open(record, "trained") === null ? "result" : "trained";
      return await painted(record, name, format);
    },
    async preview(id) {
      const record = await recordOf(id);
      if (record.previewStep === null) {
        throw new Fault("not_found", "The job has no preview yet; its events tell when there is one");
      }
      return await fileOf(record, "preview");
    },
    generator: async (id) => await fileOf(await generates(id), "generator"),
    async input(id, name) {
      const record = await withInput(id, name);
      return await ofJob(record, () => files.input(record, name));
    },
    inputAs: async (id, name, format) => await converted(await withInput(id, name), name, { format, of: "image" }),
    show: pictures.show,
    async apply(id, upload, options) {
      const record = await generates(id);
      return await ofJob(
        record,
        () => files.use(record, "generator", (generator) => pictures.apply(generator, upload, options)),
      );
    },
    features: pictures.features,
    look: pictures.look,
    models: () => machines.models(),
    health: () => ({
      ready: machines.ready(),
      workers: machines.workers(),
      adapter: machines.device()?.adapter ?? null,
    }),
    gauges() {
      const { queued, running } = store.counts();
      return { queued, running, plannedBytes: machines.plannedBytes(), plannedByJob: machines.largestPlan() };
    },
    onCount: counting.add,
  };

  return {
    service,
    stopping: stopping.signal,
    stop: (answered) => stopped ??= stop(answered),
  };

  async function stop(answered?: Promise<unknown>): Promise<void> {
    stopping.abort();
    feeds.interrupt();
    await Promise.all([supervisor.stop(GRACE), inspector.stop(1000), webhooks.close(), retention.close(), answered]);
    await backend.close();
  }
}
