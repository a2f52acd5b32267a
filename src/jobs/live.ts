/**
 * The jobs' side of a running server: opens the data folder, the store, the workers, the inspector, webhooks and retention, and is the `JobService` that routes ask.
 * Invariant: whatever was running when the process before this one ended is queued again before the first request is answered.
 */
import { copyAt } from "../weights/store/record.ts";
import { listModels, type StoreOptions } from "../weights/store/store.ts";
import { createJob } from "./creation.ts";
import { findModelForJob } from "./workers/find_model.ts";
import { openFeeds } from "./delivery/feed.ts";
import { openFiles } from "./local/files.ts";
import { whenEnded } from "./delivery/when_ended.ts";
import { type CountedEvent, Fault, isFinal, type Job } from "./model/job.ts";
import type { ImageFormatName } from "./model/messages.ts";
import { openPictureCalls, served, SUFFIX } from "./workers/picture_calls.ts";
import { openRetention } from "./local/retention.ts";
import type { JobService } from "./model/service.ts";
import { onDisk } from "./local/storage_fault.ts";
import { openStore } from "./local/store.ts";
import { openSupervisor } from "./workers/supervisor.ts";
import { tend } from "./workers/tended.ts";
import { checkWebhookUrl, openWebhooks } from "./delivery/webhook.ts";
import { type InputName, INPUTS } from "./model/work.ts";

export interface LiveOptions {
  readonly dataFolder: string;
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
  /** Signs webhooks; null for one that is made once and kept in the data folder. */
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

/** How long a worker may take to finish its step and save, in ms. */
const GRACE = 25_000;

/** Opens everything. @throws Error that says what to do: the folder is in use, cannot be written, ... */
export async function openLive(options: LiveOptions): Promise<Live> {
  const { log, models } = options;
  const files = openFiles(options.dataFolder);
  const lock = files.lockData();
  const store = openStore(files.database);
  const resumed = store.recover();
  if (resumed > 0) log(`${resumed} interrupted ${resumed === 1 ? "job goes" : "jobs go"} on`);
  await files.sweep(store.ids());
  const feeds = openFeeds(store);
  const listeners = new Set<(event: CountedEvent) => void>();
  const onCount = (event: CountedEvent) => listeners.forEach((listener) => listener(event));
  const stopping = new AbortController();
  let stopped: Promise<void> | undefined;

  const supervisor = openSupervisor({
    store,
    files,
    command: options.workerCommand([]),
    workers: options.workers,
    findModel: (name) => findModelForJob(name, models),
    onCount,
    log,
  });
  const inspector = tend({
    name: "inspector",
    command: options.workerCommand(["--inspect"]),
    onMessage: () => {},
    onDeath: () => onCount({ what: "restart" }),
    patience: () => Infinity, // its calls have their own limit
    callsAtOnce: 1,
    log,
  });
  const pictures = openPictureCalls({ inspector, models, work: (task) => supervisor.call(task) });
  const webhooks = openWebhooks({
    store,
    files,
    secret: options.webhookSecret,
    allowPrivate: options.allowPrivateWebhooks,
    version: options.version,
    log,
  });
  const retention = openRetention({ store, files, keep: options.keep, keepBytes: options.keepBytes, log });
  const creation = {
    store,
    files,
    models,
    queue: options.queue,
    inspect: pictures.inspect,
    device: () => ({ device: supervisor.device(), plannedBytes: supervisor.plannedBytes() }),
    checkWebhook: (url: string) => checkWebhookUrl(url, { allowPrivate: options.allowPrivateWebhooks }),
  };

  function record(id: string) {
    const found = store.get(id);
    if (!found) {
      throw new Fault("unknown_job", `There is no job ${id.slice(0, 60)}; it may have been removed, or was never made`);
    }
    return found;
  }
  /** @throws Fault unless the job has succeeded */
  function succeeded(id: string): Job {
    const { job } = record(id);
    if (job.status === "succeeded") return job;
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
  function generates(id: string): void {
    if (succeeded(id).kind === "splice") return;
    throw new Fault("not_found", "An inversion leaves a picture and no generator: only transfers have one");
  }
  /** Its files may be removed at any moment. @throws Fault unknown_job, not_found */
  async function ofJob<T>(id: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      record(id);
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Fault("not_found", "The file has gone from the server's data folder; start the job again");
    }
  }
  const isThere = (path: string) => Deno.stat(path).then(() => true, () => false);
  async function converted(id: string, name: "result" | "trained", format: ImageFormatName): Promise<string> {
    const from = files.jobFile(id, `${name}.png`);
    if (format === "png") return from;
    await Deno.stat(from);
    const to = files.jobFile(id, `${name}.${SUFFIX[format]}`);
    if (await isThere(to)) return to;
    await pictures.convert(from, to, { format, of: "result" });
    return to;
  }
  /** An input in another format, kept beside it. */
  async function shownInput(id: string, name: InputName, format: ImageFormatName): Promise<string> {
    const to = files.jobFile(id, `${name}.${SUFFIX[format]}`);
    if (await isThere(to)) return to;
    const from = files.jobFile(id, name);
    await Deno.stat(from);
    await pictures.convert(from, to, { format, of: "image" });
    return to;
  }

  const service: JobService = {
    async openUpload() {
      const upload = await onDisk(() => files.openUpload());
      return { ...upload, write: (field, bytes) => onDisk(() => upload.write(field, bytes)) };
    },
    async create(request) {
      if (stopping.signal.aborted) {
        throw new Fault("unavailable", "The server is being restarted; try again in a moment", { retryAfter: 10 });
      }
      const created = await onDisk(() => createJob(request, creation));
      supervisor.assign();
      return { job: record(created.job.id).job, replayed: created.replayed };
    },
    get: (id) => record(id).job,
    list({ limit, before, status }) {
      const records = store.list({
        limit: limit + 1,
        status,
        before: before === undefined ? undefined : Number(before),
      });
      const page = records.slice(0, limit);
      return { jobs: page.map(({ job }) => job), next: records.length > limit ? String(page.at(-1)!.number) : null };
    },
    async remove(id) {
      const { job } = record(id);
      if (job.status === "running") {
        supervisor.cancel(id);
        return { did: "canceling", job };
      }
      if (job.status === "queued") {
        if (await onDisk(() => store.cancel(id))) onCount({ what: "ended", outcome: "canceled" });
        await files.dropCheckpoint(id);
        return { did: "canceled", job: record(id).job };
      }
      if (await onDisk(() => store.remove(id))) {
        await files.removeJob(id).catch((error) => log(`the files of job ${id} stay until the next start: ${error}`));
      }
      return { did: "removed" };
    },
    feed: (id, after) => feeds.open(id, after),
    finished: (id) => whenEnded(id, { store, stopping: stopping.signal }),
    async result(id, format) {
      succeeded(id);
      return await ofJob(id, async () => await served(await converted(id, "result", format), `image/${format}`));
    },
    async trained(id, format) {
      succeeded(id);
      const name = await isThere(files.jobFile(id, "trained.png")) ? "trained" : "result";
      return await ofJob(id, async () => await served(await converted(id, name, format), `image/${format}`));
    },
    async preview(id) {
      if (record(id).previewStep === null) {
        throw new Fault("not_found", "The job has no preview yet; its events tell when there is one");
      }
      return await ofJob(id, () => served(files.jobFile(id, "preview.jpg"), "image/jpeg"));
    },
    async generator(id) {
      generates(id);
      return await ofJob(id, () => served(files.jobFile(id, "generator.safetensors"), "application/octet-stream"));
    },
    async input(id, name, format) {
      const { kind } = record(id).job;
      if (!INPUTS[kind].includes(name)) {
        throw new Fault(
          "not_found",
          `The job has no picture ${name}: it is of kind ${kind}, and has ${INPUTS[kind].join(" and ")}`,
        );
      }
      return await ofJob(
        id,
        async () =>
          format === undefined
            ? await served(files.jobFile(id, name), "application/octet-stream")
            : await served(await shownInput(id, name, format), `image/${format}`),
      );
    },
    show: pictures.show,
    async apply(id, upload, options) {
      generates(id);
      const generator = files.jobFile(id, "generator.safetensors");
      await ofJob(id, () => Deno.stat(generator));
      return await ofJob(id, () => pictures.apply(generator, upload, options));
    },
    features: pictures.features,
    look: pictures.look,
    async models() {
      const all = await listModels(models);
      const best = all.find(({ path, entry }) => path !== null && entry !== null)?.name;
      return await Promise.all(all.map(async ({ name, path, entry }) => ({
        name,
        present: path !== null,
        default: name === best,
        about: entry?.about ?? null,
        licence: entry?.licence ?? (path && (await copyAt(path).catch(() => null))?.licence) ?? null,
        megabytes: entry?.megabytes ?? null,
      })));
    },
    health: () => ({
      ready: supervisor.ready(),
      workers: options.workers,
      adapter: supervisor.device()?.adapter ?? null,
    }),
    gauges() {
      const { queued, running } = store.counts();
      return { queued, running, plannedBytes: supervisor.plannedBytes(), plannedByJob: supervisor.largestPlan() };
    },
    onCount(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
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
    store.close();
    lock.release();
  }
}
