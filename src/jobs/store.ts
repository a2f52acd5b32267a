/**
 * The truth about jobs: SQLite in WAL mode. Every method is one transaction, on the disk when it returns; what a method changes and the events that tell of it are
 * written together. Knows rows, not files (see `files.ts`), not processes, not HTTP.
 */
import type { Recipe } from "../splice/recipe.ts";
import type { EventData, Job, JobStatus, Problem, StoredEvent } from "./job.ts";

/** A job, and what the outside does not see of it. */
export interface JobRecord {
  readonly job: Job;
  /** Counts up in the order of creation. */
  readonly number: number;
  /** How often its worker died under it. */
  readonly deaths: number;
  /** The step of the newest preview, null before the first. */
  readonly previewStep: number | null;
  readonly webhookUrl: string | null;
  /** Bytes of its files, as last counted. */
  readonly bytes: number;
}

export interface NewJob {
  readonly id: string;
  readonly options: Recipe;
  readonly webhookUrl: string | null;
  /** The client's key, and the SHA-256 of all it asked for. */
  readonly idempotency: { readonly key: string; readonly digest: string } | null;
  readonly bytes: number;
}

export interface Delivery {
  readonly id: number;
  readonly job: string;
  readonly url: string;
  /** JSON that is sent. */
  readonly body: string;
  /** Deliveries tried so far. */
  readonly tries: number;
}

export interface JobStore {
  /** Queues a job. With a key that is known: the job it belongs to, `replayed`. @throws Fault queue_full, idempotency_conflict */
  create(job: NewJob, limits: { queue: number }): { record: JobRecord; replayed: boolean };
  /** The job of an idempotency key, without creating anything. @throws Fault idempotency_conflict */
  find(idempotency: { key: string; digest: string }): JobRecord | null;
  get(id: string): JobRecord | null;
  /** Newest first; `before` is the `number` the page begins below. */
  list(options: { limit: number; before?: number | undefined; status?: JobStatus | undefined }): JobRecord[];
  counts(): Readonly<Record<JobStatus, number>>;

  /** The oldest queued job becomes running, and those behind it move up (each gets a `queued` event). Null if none is queued. */
  claim(): JobRecord | null;
  started(id: string, event: EventData<"started">): void;
  progress(id: string, event: EventData<"progress">): void;
  /** Remembered, not stored as an event. */
  preview(id: string, step: number): void;
  succeed(id: string, bytes: number): void;
  fail(id: string, error: Problem): void;
  /** Ends a queued or running job. False if it had ended before. */
  cancel(id: string): boolean;
  /** A running job goes back to its old place in the queue; `died` counts a death of its worker. */
  requeue(id: string, options: { died: boolean }): JobRecord;
  /** After a start: whatever was running goes back to the queue, without a death. Returns how many. */
  recover(): number;
  /** Forgets an ended job, its events and its deliveries. False if it is active or unknown. */
  remove(id: string): boolean;
  /** Ended jobs to remove, oldest first: those that ended before `endedBefore`, then as many as bring the sum of bytes to `mostBytes`. */
  expired(options: { endedBefore: Date; mostBytes: number }): string[];

  /** Events with ids above `after`, in order. */
  events(id: string, options: { after: number; limit: number }): StoredEvent[];
  /** The ids that are kept; null for an unknown job. */
  kept(id: string): { first: number; last: number } | null;

  deliveriesDue(now: Date, limit: number): Delivery[];
  /** When the next delivery is due, null if none waits. */
  nextDelivery(): Date | null;
  delivered(id: number): void;
  deliverLater(id: number, at: Date): void;

  /** Called after every commit that changed the job. Returns what ends it. */
  onChange(listener: (id: string) => void): () => void;
  close(): void;
}
