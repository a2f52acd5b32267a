/**
 * What the jobs' side needs of whatever keeps jobs: one interface for those who ask (HTTP), one for those who work (GPU machines), and what both share. Two backends stand behind them,
 * `local/` (SQLite and a folder) and `cluster/` (NATS JetStream), held to one contract by one suite of tests. Nothing above these knows which it has.
 *
 * Every method may throw Fault `unavailable` where what keeps the jobs cannot be reached, or takes nothing more; nothing of what was asked has then happened, or it is safe to ask again.
 */
import type { CountedEvent, EventData, JobStatus, Problem, StoredEvent } from "./job.ts";
import type { Device, Task } from "./messages.ts";
import type { Adopted, JobRecord, NewJob } from "./record.ts";
import type { FileName, ModelReport, Served, ServedPicture, Upload } from "./service.ts";
import type { InputName } from "./work.ts";
import type { VitDescription } from "../../weights/formats/vit_family.ts";

/** The truth about jobs, for those who ask. What a method changes and the event that tells of it are one write, durable when it resolves. */
export interface JobStore {
  /**
   * Queues a job whose pictures were adopted. With a key that is known: the job it belongs to, `replayed`, and what was adopted for this one is gone.
   * @throws Fault queue_full, idempotency_conflict; what was adopted is then gone too
   */
  create(job: NewJob, limits: { readonly queue: number }): Promise<{ record: JobRecord; replayed: boolean }>;
  /** The job of an idempotency key, without creating anything. @throws Fault idempotency_conflict */
  find(idempotency: { readonly key: string; readonly digest: string }): Promise<JobRecord | null>;
  /** As it is now, whoever changed it last. */
  get(id: string): Promise<JobRecord | null>;
  /** Newest first; `before` is the `number` the page begins below. */
  list(options: ListOptions): Promise<JobRecord[]>;
  /** Ends a queued or a running job at once: whoever works on it is told, and can write nothing more. What it was before; null where it is unknown or had ended. */
  cancel(id: string): Promise<"queued" | "running" | null>;
  /** Forgets an ended job with its events, deliveries and files. False if it is active or unknown. */
  remove(id: string): Promise<boolean>;
  /** Ended jobs to remove, oldest first: those that ended before `endedBefore`, then as many as bring the sum of all jobs' bytes to `mostBytes`. */
  expired(options: { readonly endedBefore: Date; readonly mostBytes: number }): Promise<string[]>;
  /** Events with ids above `after`, in order. */
  events(id: string, options: { readonly after: number; readonly limit: number }): Promise<StoredEvent[]>;
  /** The job, and the ids of the events that are kept of it; null where there is none. `record.job.position` is as of now. */
  sight(id: string): Promise<{ record: JobRecord; first: number; last: number } | null>;
  /** As last heard of, for gauges. */
  counts(): Readonly<Record<JobStatus, number>>;
  /**
   * `listener` is called after every change of a job with its id, and with null where places in the queue have changed. It may be called late, or too often, never too
   * rarely for long. Returns what ends it.
   */
  onChange(listener: (id: string | null) => void): () => void;
  /** What is worth counting, of all jobs, once each (`steps` and `ended`). Returns what ends it. */
  onCount(listener: (event: CountedEvent) => void): () => void;
}

export interface ListOptions {
  readonly limit: number;
  readonly before?: number | undefined;
  readonly status?: JobStatus | undefined;
}

/** Where those who work get jobs from. */
export interface JobSource {
  /** The oldest job that waits, as soon as there is one; it is running then, and the caller's. Null once `signal` is aborted: then no job has been taken. Never rejects: it tries again by itself. */
  next(signal: AbortSignal): Promise<Lease | null>;
}

/**
 * A job that is somebody's to work on. Everything written through it is in order. Once `ended` is aborted, nothing more can be written, and what is tried does nothing.
 */
export interface Lease {
  /** As it was when it was taken. */
  readonly record: JobRecord;
  /** On this machine; holds the pictures under their names and, where there was one, the newest checkpoint. */
  readonly folder: string;
  /** Aborted when the job is not the holder's any more: reason "canceled", or "lost" to another who took it over. */
  readonly ended: AbortSignal;

  /** Training never waits for these, and of progress and previews the newest wins where they cannot be kept as fast as they come. */
  started(event: EventData<"started">): void;
  progress(event: EventData<"progress">, seconds: readonly number[]): void;
  /** The file preview.jpg in the folder is of this step. */
  preview(step: number): void;
  /** A checkpoint of this step lies in the folder. */
  saved(step: number): void;

  /**
   * The end of it. These insist: they resolve once it is kept, however often it has to be tried, or the lease has ended, or the source is closing (the job then goes on
   * as after a death of the machine). They may be called once, one of them.
   */
  succeed(): Promise<void>;
  fail(problem: Problem): Promise<void>;
  /** It can go on elsewhere. `died`: over it died a worker; the third such death fails it. */
  giveBack(how: { readonly died: boolean }): Promise<void>;
  /** The lease had ended, and its worker has let go: the folder is nobody's any more. */
  letGo(): Promise<void>;
}

/** The files of jobs, for those who ask. */
export interface JobFiles {
  /** Makes the upload's pictures those of a job that is about to be created: durable when this resolves. */
  adopt(upload: Upload, id: string, names: readonly InputName[]): Promise<Adopted>;
  /** Removes what was adopted for a job that was never made. */
  drop(id: string): Promise<void>;
  /** Null where the job has no such file. */
  open(record: JobRecord, name: FileName): Promise<Served | null>;
  input(record: JobRecord, name: InputName): Promise<ServedPicture | null>;
  /** The file on this machine, for as long as `use` runs. @throws Fault not_found */
  use<T>(record: JobRecord, name: FileName | InputName, use: (path: string) => Promise<T>): Promise<T>;
  /** The picture in another format: made by `make` where it is not kept from an earlier time. @throws Fault not_found */
  converted(record: JobRecord, name: FileName | InputName, options: {
    readonly suffix: string;
    readonly type: string;
    make(from: string, to: string): Promise<void>;
  }): Promise<Served>;
}

/** Webhooks that are due. */
export interface Outbox {
  /** The next delivery to try, as soon as one is due whose job has no older one left. Null once `signal` is aborted. Each has to be settled by one of its methods. */
  next(signal: AbortSignal): Promise<Due | null>;
  /** Signs what is sent: made once, the same for all who serve these jobs. */
  secret(): Promise<string>;
}

export interface Due {
  readonly job: string;
  readonly url: string;
  /** JSON that is sent. */
  readonly body: string;
  /** Deliveries tried before. */
  readonly tries: number;
  /** It arrived, or is given up. */
  delivered(): Promise<void>;
  /** It was tried in vain; due again in `ms`. */
  later(ms: number): Promise<void>;
  /** It was not tried to the end, for the server stops: due as if it had never been taken. */
  putBack(): Promise<void>;
}

/** GPU workers: those of this process, or all that there are anywhere. */
export interface Workers {
  /** How many there are, and how many of them have opened their device. */
  workers(): number;
  ready(): number;
  /** The device to plan for: of several machines' the one that holds the most; null while none is open. */
  device(): Device | null;
  /** Bytes planned for the jobs that run on the machine of that device. */
  plannedBytes(): number;
  /** The most bytes that one job has planned. */
  largestPlan(): number;
  /** Has a task done by one of them: from files of this machine to a file of this machine; a model goes by its name. @throws Fault */
  call(task: Task): Promise<void>;
}

/** Who works on jobs, and what they can. */
export interface Machines extends Workers {
  /** A model that workers have, the best one where no name is given. @throws Fault unknown_model */
  model(name: string | undefined): Promise<KnownModel>;
  models(): Promise<ModelReport[]>;
}

/** A model as those see it who make jobs for it. */
export interface KnownModel {
  readonly name: string;
  /** Its file on this machine, or its sizes where it lies on others. */
  readonly extractor: string | VitDescription;
}

/** All of it, for a process that serves, or works, or both. */
export interface Backend {
  readonly store: JobStore;
  readonly files: JobFiles;
  readonly source: JobSource;
  readonly outbox: Outbox;
  openUpload(): Promise<Upload>;
  /** The workers of this process, with the models of this machine, are among those who work on these jobs from now on. Returns all who do. */
  join(own: OwnWorkers): Machines;
  /** After the last request and the last lease. */
  close(): Promise<void>;
}

/** What a process needs that only works. */
export type WorkBackend = Pick<Backend, "source" | "close"> & { join(own: OwnWorkers): void };

export interface OwnWorkers extends Workers {
  /** The jobs that they work on. */
  jobs(): string[];
}
