/**
 * The truth about jobs: SQLite in WAL mode. Every method is one transaction, on the disk when it returns (progress and previews: at the latest with the next of another
 * kind, unless the machine itself fails); what a method changes and the events that tell of it are written together. Knows rows, not files (see `files.ts`), not processes, not HTTP.
 */
import { openDatabase } from "./database.ts";
import {
  type CountedEvent,
  type EventData,
  type EventName,
  type JobStatus,
  type Problem,
  type StoredEvent,
} from "../model/job.ts";
import { keyConflict, queueFull } from "../model/faults.ts";
import { openListeners } from "../model/listeners.ts";
import type { ListOptions } from "../model/ports.ts";
import { deliveryBody, jobAddress, type JobRecord, type NewJob, recordOf } from "../model/record.ts";
import { type Delivery, type JobRow, statements } from "./statements.ts";

export interface Ledger {
  /** Queues a job. With a key that is known: the job it belongs to, `replayed`. @throws Fault queue_full, idempotency_conflict */
  create(job: NewJob, limits: { queue: number }): { record: JobRecord; replayed: boolean };
  /** The job of an idempotency key, without creating anything. @throws Fault idempotency_conflict */
  find(idempotency: { key: string; digest: string }): JobRecord | null;
  get(id: string): JobRecord | null;
  /** Newest first; `before` is the `number` the page begins below. */
  list(options: ListOptions): JobRecord[];
  /** All of them. */
  ids(): string[];
  counts(): Readonly<Record<JobStatus, number>>;

  /** The oldest queued job becomes running, and those behind it move up. Null if none is queued. */
  claim(): JobRecord | null;
  started(id: string, event: EventData<"started">): void;
  /** `seconds`: what each step took since the last of these. */
  progress(id: string, event: EventData<"progress">, seconds: readonly number[]): void;
  /** Remembered, not stored as an event. */
  preview(id: string, step: number): void;
  succeed(id: string, bytes: number): void;
  fail(id: string, error: Problem): void;
  /** Ends a queued or running job, and says which it was. Null if it is unknown or had ended before. */
  cancel(id: string): "queued" | "running" | null;
  /** A running job goes back to its old place in the queue; `died` counts a death of its worker. */
  requeue(id: string, options: { died: boolean }): void;
  /** After a start: whatever was running goes back to the queue, without a death. Returns how many. */
  recover(): number;
  /** Forgets an ended job, its events and its deliveries. False if it is active or unknown. */
  remove(id: string): boolean;
  /** Ended jobs to remove, oldest first: those that ended before `endedBefore`, then as many as bring the sum of bytes to `mostBytes`. */
  expired(options: { endedBefore: Date; mostBytes: number }): string[];

  /** Events with ids above `after`, in order. */
  events(id: string, options: { after: number; limit: number }): StoredEvent[];
  /** The job, and the ids of the events that are kept of it; null for an unknown job. */
  sight(id: string): { record: JobRecord; first: number; last: number } | null;

  /** At most one of each job, its oldest: a job's deliveries arrive in order. */
  deliveriesDue(now: Date, limit: number): Delivery[];
  /** The earliest time after `now` at which a delivery falls due, null if there is none. */
  nextDelivery(now: Date): Date | null;
  /** It arrived, or was given up: forgets it. */
  delivered(id: number): void;
  /** It was tried in vain. */
  deliverLater(id: number, at: Date): void;

  /** Called after every commit with the jobs that it changed, and with null where places in the queue did. Returns what ends it. */
  onChange(listener: (id: string | null) => void): () => void;
  /** Called after every commit with what is worth counting of it. Returns what ends it. */
  onCount(listener: (event: CountedEvent) => void): () => void;
  /** More than once does no harm. */
  close(): void;
}

export interface LedgerOptions {
  /** How many events a job keeps; older ones are forgotten. */
  readonly eventsKept?: number;
  readonly now?: () => Date;
  /** Told of what a listener throws, which must not reach whoever changed the job. */
  readonly complain?: (message: string) => void;
}

/** What a transaction is to be told of once it is done. */
interface News {
  /** Jobs, and null where places in the queue are new. */
  readonly changed: Set<string | null>;
  readonly counted: CountedEvent[];
}

/** At four a second, what forty minutes of training tell. */
const EVENTS_KEPT = 10_000;

/** Opens the database, or creates it. @throws Error where the file is of a newer version or no database */
export function openLedger(path: string, options: LedgerOptions = {}): Ledger {
  const { eventsKept = EVENTS_KEPT, now = () => new Date(), complain = console.error } = options;
  const database = openDatabase(path);
  const sql = statements(database.sqlite);
  const changes = openListeners<string | null>("the job store", complain);
  const counts = openListeners<CountedEvent>("the job store", complain);

  function change<T>(work: (news: News) => T, options?: { light: boolean }): T {
    const news: News = { changed: new Set(), counted: [] };
    const result = database.transaction(() => work(news), options);
    news.changed.forEach(changes.tell);
    news.counted.forEach(counts.tell);
    return result;
  }

  const known = (row: JobRow | undefined): JobRecord | null => row === undefined ? null : recordOfRow(row);
  const get = (id: string): JobRecord | null => known(sql.job(id));

  function append<N extends EventName>(id: string, name: N, data: EventData<N>): void {
    const { number, first_event, last_event } = sql.countEvent(id, eventsKept);
    sql.addEvent(number, last_event, name, JSON.stringify(data));
    sql.dropEvents(number, first_event);
  }

  /** Has the webhook of the job told of an event. The row already says what the job has become. */
  function tell(id: string, event: EventName): void {
    const record = get(id);
    if (!record?.webhookUrl) return;
    const at = now();
    const body = deliveryBody(record, { event, delivery: crypto.randomUUID(), at });
    sql.addDelivery(record.number, record.webhookUrl, body, at.getTime());
  }

  function ofKey(idempotency: { key: string; digest: string }): JobRecord | null {
    const row = sql.jobOfKey(idempotency.key);
    if (row === undefined || row.idempotency_digest === idempotency.digest) return known(row);
    throw keyConflict(row.id);
  }

  function refuseOverfull(limit: number): void {
    if (sql.queued() < limit) return;
    throw queueFull(limit, sql.shortestWait());
  }

  return {
    create: (job, limits) =>
      change(({ changed }) => {
        const before = job.idempotency && ofKey(job.idempotency);
        if (before) return { record: before, replayed: true };
        refuseOverfull(limits.queue);
        sql.addJob(job, now().toISOString());
        const record = get(job.id)!;
        append(job.id, "queued", { id: job.id, position: record.job.position! });
        changed.add(job.id);
        return { record, replayed: false };
      }),
    find: ofKey,
    get,
    list: (page) => sql.jobs(page).map(recordOfRow),
    ids: () => sql.ids().map(({ id }) => id),
    counts: sql.counts,

    claim: () =>
      change(({ changed }) => {
        const id = sql.claim();
        if (id === null) return null;
        changed.add(id).add(null);
        return get(id);
      }),
    started: (id, { adapter, model, steps, step }) =>
      change(({ changed }) => {
        const first = sql.job(id)?.started_at === null;
        if (!sql.start(id, { step, steps, at: now().toISOString() })) return;
        append(id, "started", { adapter, model, steps, step });
        if (first) tell(id, "started");
        changed.add(id);
      }),
    progress: (id, { step, steps, losses, steps_per_second, eta_seconds }, seconds) =>
      change(({ changed, counted }) => {
        const pace = { step, steps, losses, steps_per_second, eta_seconds };
        if (!sql.progress(id, pace)) return;
        append(id, "progress", pace);
        changed.add(id);
        counted.push({ what: "steps", seconds });
      }, { light: true }),
    preview: (id, step) =>
      change(({ changed }) => {
        if (sql.preview(id, step)) changed.add(id);
      }, { light: true }),
    succeed: (id, bytes) =>
      change((news) => {
        if (!sql.succeed(id, { bytes, at: now().toISOString() })) return;
        append(id, "succeeded", { result: jobAddress(id, "result") });
        ended(id, "succeeded", news);
      }),
    fail: (id, error) =>
      change((news) => {
        if (!sql.end(id, { status: "failed", error: JSON.stringify(error), at: now().toISOString() })) return;
        append(id, "failed", { error });
        ended(id, "failed", news);
      }),
    cancel: (id) =>
      change((news) => {
        const before = sql.job(id)?.status;
        if (!sql.end(id, { status: "canceled", error: null, at: now().toISOString() })) return null;
        append(id, "canceled", {});
        ended(id, "canceled", news);
        if (before === "queued") news.changed.add(null);
        return before as "queued" | "running";
      }),
    requeue: (id, { died }) =>
      change(({ changed }) => {
        if (sql.requeue(id, died ? 1 : 0)) changed.add(id).add(null);
      }),
    recover: () =>
      change(({ changed }) => {
        changed.add(null);
        return sql.recover();
      }),
    remove: (id) =>
      change(({ changed }) => {
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
    sight(id) {
      const row = sql.job(id);
      return row === undefined ? null : { record: recordOfRow(row), first: row.first_event, last: row.last_event };
    },

    deliveriesDue: (at, limit) => sql.deliveriesDue(at.getTime(), limit),
    nextDelivery(after) {
      const due = sql.nextDelivery(after.getTime());
      return due === null ? null : new Date(due);
    },
    delivered: (id) => database.transaction(() => sql.dropDelivery(id)),
    deliverLater: (id, at) => database.transaction(() => sql.delayDelivery(id, at.getTime())),

    onChange: changes.add,
    onCount: counts.add,
    close() {
      if (database.sqlite.isOpen) database.sqlite.close();
    },
  };

  function ended(id: string, outcome: "succeeded" | "failed" | "canceled", { changed, counted }: News): void {
    tell(id, outcome);
    changed.add(id);
    counted.push({ what: "ended", outcome });
  }
}

function recordOfRow({ position, options, losses, error, ...row }: JobRow): JobRecord {
  const parsed = <T>(json: string | null): T | null => json === null ? null : JSON.parse(json);
  return recordOf({ ...row, options: JSON.parse(options), losses: parsed(losses), error: parsed(error) }, position);
}
