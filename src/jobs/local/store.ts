/**
 * The truth about jobs: SQLite in WAL mode. Every method is one transaction, on the disk when it returns (progress and previews: at the latest with the next of another
 * kind, unless the machine itself fails); what a method changes and the events that tell of it are written together. Knows rows, not files (see `files.ts`), not processes, not HTTP.
 */
import { openDatabase } from "./database.ts";
import { type EventData, type EventName, Fault, type JobStatus, type Problem, type StoredEvent } from "../model/job.ts";
import { type Delivery, jobAddress, type JobRecord, type NewJob, recordOf } from "../model/record.ts";
import { statements } from "./statements.ts";
export type { Delivery, JobRecord, NewJob } from "../model/record.ts";

export interface JobStore {
  /** Queues a job. With a key that is known: the job it belongs to, `replayed`. @throws Fault queue_full, idempotency_conflict */
  create(job: NewJob, limits: { queue: number }): { record: JobRecord; replayed: boolean };
  /** The job of an idempotency key, without creating anything. @throws Fault idempotency_conflict */
  find(idempotency: { key: string; digest: string }): JobRecord | null;
  get(id: string): JobRecord | null;
  /** Newest first; `before` is the `number` the page begins below. */
  list(options: { limit: number; before?: number | undefined; status?: JobStatus | undefined }): JobRecord[];
  /** All of them. */
  ids(): string[];
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

  /** At most one of each job, its oldest: a job's deliveries arrive in order. */
  deliveriesDue(now: Date, limit: number): Delivery[];
  /** The earliest time after `now` at which a delivery falls due, null if there is none. */
  nextDelivery(now: Date): Date | null;
  /** It arrived, or was given up: forgets it. */
  delivered(id: number): void;
  /** It was tried in vain. */
  deliverLater(id: number, at: Date): void;

  /** Called after every commit that changed the job. Returns what ends it. */
  onChange(listener: (id: string) => void): () => void;
  /** More than once does no harm. */
  close(): void;
}

export interface StoreOptions {
  /** How many events a job keeps; older ones are forgotten. */
  readonly eventsKept?: number;
  readonly now?: () => Date;
  /** Told of what a listener throws, which must not reach whoever changed the job. */
  readonly complain?: (message: string) => void;
}

/** At four a second, what forty minutes of training tell. */
const EVENTS_KEPT = 10_000;
/** Seconds to wait for a place in a full queue, where nobody knows how long the running jobs will take. */
const USUAL_WAIT = 30;

/** Opens the database, or creates it. @throws Error where the file is of a newer version or no database */
export function openStore(path: string, options: StoreOptions = {}): JobStore {
  const { eventsKept = EVENTS_KEPT, now = () => new Date(), complain = console.error } = options;
  const database = openDatabase(path);
  const sql = statements(database.sqlite);
  const listeners = new Set<(id: string) => void>();

  /** `changed` takes the ids of the jobs that listeners hear of after the commit. */
  function change<T>(work: (changed: Set<string>) => T, options?: { light: boolean }): T {
    const changed = new Set<string>();
    const result = database.transaction(() => work(changed), options);
    for (const id of changed) {
      for (const listener of listeners) {
        try {
          listener(id);
        } catch (error) {
          complain(`A listener of the job store failed on job ${id}: ${error instanceof Error ? error.stack : error}`);
        }
      }
    }
    return result;
  }

  function get(id: string): JobRecord | null {
    const row = sql.job(id);
    return row === undefined ? null : recordOf(row);
  }

  function append<N extends EventName>(id: string, name: N, data: EventData<N>): void {
    const { number, first_event, last_event } = sql.countEvent(id, eventsKept);
    sql.addEvent(number, last_event, name, JSON.stringify(data));
    sql.dropEvents(number, first_event);
  }

  /** Gives each queued job its place, and tells those whose place is new. */
  function moveUp(changed: Set<string>): void {
    for (const { id, place } of sql.misplaced()) {
      sql.place(id, place);
      append(id, "queued", { id, position: place });
      changed.add(id);
    }
  }

  /** What the webhook of the job is to be told. The row already says what the job has become. */
  function tell(id: string, event: EventName): void {
    const record = get(id);
    if (!record?.webhookUrl) return;
    const created = now();
    const body = { event, delivered_id: crypto.randomUUID(), created_at: created.toISOString(), job: record.job };
    sql.addDelivery(record.number, record.webhookUrl, JSON.stringify(body), created.getTime());
  }

  function known(idempotency: { key: string; digest: string }): JobRecord | null {
    const row = sql.jobOfKey(idempotency.key);
    if (row === undefined) return null;
    if (row.idempotency_digest === idempotency.digest) return recordOf(row);
    throw new Fault(
      "idempotency_conflict",
      `Cannot create the job: its Idempotency-Key belongs to job ${row.id}, which was asked for with other pictures or ` +
        "options; use a new key for a new request, or send the first request unchanged",
    );
  }

  function refuseOverfull(limit: number): void {
    if (sql.queued() < limit) return;
    const wait = Math.min(Math.max(Math.ceil(sql.shortestWait() ?? USUAL_WAIT), 5), 600);
    throw new Fault(
      "queue_full",
      `Cannot queue the job: ${limit} are waiting, which is all the queue takes; try again in ${wait} seconds`,
      { retryAfter: wait },
    );
  }

  return {
    create: (job, limits) =>
      change((changed) => {
        const before = job.idempotency && known(job.idempotency);
        if (before) return { record: before, replayed: true };
        refuseOverfull(limits.queue);
        sql.addJob(job, now().toISOString());
        moveUp(changed);
        return { record: recordOf(sql.job(job.id)!), replayed: false };
      }),
    find: known,
    get,
    list: (page) => sql.jobs(page).map(recordOf),
    ids: () => sql.ids().map(({ id }) => id),
    counts: sql.counts,

    claim: () =>
      change((changed) => {
        const id = sql.claim();
        if (id === null) return null;
        changed.add(id);
        moveUp(changed);
        return get(id);
      }),
    started: (id, { adapter, model, steps, step }) =>
      change((changed) => {
        const first = sql.job(id)?.started_at === null;
        if (!sql.start(id, { step, steps, at: now().toISOString() })) return;
        append(id, "started", { adapter, model, steps, step });
        if (first) tell(id, "started");
        changed.add(id);
      }),
    progress: (id, { step, steps, losses, steps_per_second, eta_seconds }) =>
      change((changed) => {
        const pace = { step, steps, losses, steps_per_second, eta_seconds };
        if (!sql.progress(id, pace)) return;
        append(id, "progress", pace);
        changed.add(id);
      }, { light: true }),
    preview: (id, step) =>
      change((changed) => {
        if (sql.preview(id, step)) changed.add(id);
      }, { light: true }),
    succeed: (id, bytes) =>
      change((changed) => {
        if (!sql.succeed(id, { bytes, at: now().toISOString() })) return;
        append(id, "succeeded", { result: jobAddress(id, "result") });
        tell(id, "succeeded");
        changed.add(id);
      }),
    fail: (id, error) =>
      change((changed) => {
        if (!sql.end(id, { status: "failed", error: JSON.stringify(error), at: now().toISOString() })) return;
        append(id, "failed", { error });
        tell(id, "failed");
        changed.add(id);
        moveUp(changed);
      }),
    cancel: (id) =>
      change((changed) => {
        if (!sql.end(id, { status: "canceled", error: null, at: now().toISOString() })) return false;
        append(id, "canceled", {});
        tell(id, "canceled");
        changed.add(id);
        moveUp(changed);
        return true;
      }),
    requeue: (id, { died }) =>
      change((changed) => {
        if (sql.requeue(id, died ? 1 : 0)) moveUp(changed);
        const record = get(id);
        if (record === null) throw new Fault("unknown_job", `Cannot queue job ${id} again: there is no such job`);
        return record;
      }),
    recover: () =>
      change((changed) => {
        const count = sql.recover();
        moveUp(changed);
        return count;
      }),
    remove: (id) =>
      change((changed) => {
        if (!sql.remove(id)) return false;
        changed.add(id);
        return true;
      }),
    expired({ endedBefore, mostBytes }) {
      const ids: string[] = [];
      const before = endedBefore.toISOString();
      let bytes = sql.bytes();
      for (const job of sql.ended()) {
        if (job.finished_at >= before && bytes <= mostBytes) break;
        bytes -= job.bytes;
        ids.push(job.id);
      }
      return ids;
    },

    events: (id, { after, limit }) => sql.events(id, after, limit),
    kept: sql.kept,

    deliveriesDue: (at, limit) => sql.deliveriesDue(at.getTime(), limit),
    nextDelivery(after) {
      const due = sql.nextDelivery(after.getTime());
      return due === null ? null : new Date(due);
    },
    delivered: (id) => database.transaction(() => sql.dropDelivery(id)),
    deliverLater: (id, at) => database.transaction(() => sql.delayDelivery(id, at.getTime())),

    onChange(listener) {
      // Wrapped, so that one listener given twice is heard twice and ended one by one.
      const heard = (id: string) => listener(id);
      listeners.add(heard);
      return () => void listeners.delete(heard);
    },
    close() {
      if (database.sqlite.isOpen) database.sqlite.close();
    },
  };
}
