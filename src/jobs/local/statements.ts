/**
 * Everything the store says to SQLite, prepared once: a function a statement, rows in and out. Each is part of a transaction that the store makes; none decides
 * what a job may do next but by the states its WHERE names, and says by its answer whether there was such a job.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { type EventData, type JobStatus, statusSchema, type StoredEvent } from "../model/job.ts";
import type { JobState, NewJob } from "../model/record.ts";

/** A job as it is read: JSON is text; its place in the queue follows from the others'. */
export type JobRow = Omit<JobState, "options" | "losses" | "error"> & {
  readonly options: string;
  readonly losses: string | null;
  readonly error: string | null;
  readonly position: number | null;
  readonly idempotency_digest: string | null;
  readonly first_event: number;
  readonly last_event: number;
};

export interface Delivery {
  readonly id: number;
  readonly job: string;
  readonly url: string;
  /** JSON that is sent. */
  readonly body: string;
  /** Deliveries tried so far. */
  readonly tries: number;
}

const CLEAR_PACE = "steps_per_second = NULL, eta_seconds = NULL";
const ACTIVE = "status IN ('queued', 'running')";

const JOB = `SELECT *, CASE status WHEN 'queued'
  THEN (SELECT count(*) FROM jobs AS q WHERE q.status = 'queued' AND q.number <= jobs.number) END AS position FROM jobs`;

/** The job that a place in `deliveries` may speak for is the one whose older deliveries are all settled. */
const HEADS = "deliveries AS d WHERE NOT EXISTS (SELECT 1 FROM deliveries AS e WHERE e.job = d.job AND e.id < d.id)";

export function statements(sqlite: DatabaseSync) {
  const prepare = (text: string): StatementSync => sqlite.prepare(text);
  const one = <T>(text: string) => {
    const statement = prepare(text);
    // Rows come without a prototype; spread, they are objects like any other.
    return (...values: SQLInputValue[]): T | undefined => {
      const row = statement.get(...values);
      return row && ({ ...row } as T);
    };
  };
  const all = <T>(text: string) => {
    const statement = prepare(text);
    return (...values: SQLInputValue[]): T[] => statement.all(...values).map((row) => ({ ...row }) as T);
  };
  const run = (text: string) => {
    const statement = prepare(text);
    return (...values: SQLInputValue[]) => Number(statement.run(...values).changes);
  };

  const addJob = run(`INSERT INTO jobs
    (id, kind, status, options, steps, webhook_url, idempotency_key, idempotency_digest, bytes, created_at)
    VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?)`);
  const claim = one<{ id: string }>(`UPDATE jobs SET status = 'running', attempts = attempts + 1
    WHERE number = (SELECT min(number) FROM jobs WHERE status = 'queued') RETURNING id`);
  const start = run(`UPDATE jobs SET step = ?, steps = ?, started_at = coalesce(started_at, ?)
    WHERE id = ? AND status = 'running'`);
  const progress = run(`UPDATE jobs SET step = ?, steps = ?, losses = ?, steps_per_second = ?, eta_seconds = ?
    WHERE id = ? AND status = 'running'`);
  const preview = run("UPDATE jobs SET preview_step = ? WHERE id = ? AND status = 'running'");
  const succeed = run(`UPDATE jobs SET status = 'succeeded', step = steps, eta_seconds = 0, bytes = ?, finished_at = ?
    WHERE id = ? AND status = 'running'`);
  const end = run(`UPDATE jobs SET status = ?, error = ?, finished_at = ?, ${CLEAR_PACE}
    WHERE id = ? AND ${ACTIVE}`);
  const requeue = run(`UPDATE jobs SET status = 'queued', deaths = deaths + ?, ${CLEAR_PACE}
    WHERE id = ? AND status = 'running'`);
  const recover = run(`UPDATE jobs SET status = 'queued', ${CLEAR_PACE} WHERE status = 'running'`);
  const remove = run(`DELETE FROM jobs WHERE id = ? AND NOT ${ACTIVE}`);

  const jobs = all<JobRow>(`${JOB} WHERE number < ? ORDER BY number DESC LIMIT ?`);
  const jobsOf = all<JobRow>(`${JOB} WHERE status = ? AND number < ? ORDER BY number DESC LIMIT ?`);
  const counts = all<{ status: JobStatus; count: number }>(
    "SELECT status, count(*) AS count FROM jobs GROUP BY status",
  );
  const queued = one<{ count: number }>("SELECT count(*) AS count FROM jobs WHERE status = 'queued'");
  const shortestWait = one<{ wait: number | null }>(
    "SELECT min(eta_seconds) AS wait FROM jobs WHERE status = 'running'",
  );
  const bytes = one<{ bytes: number }>("SELECT coalesce(sum(bytes), 0) AS bytes FROM jobs");

  const events = all<StoredEvent>(`SELECT id, name, data FROM events
    WHERE job = (SELECT number FROM jobs WHERE id = ?) AND id > ? ORDER BY id LIMIT ?`);
  const countEvent = one<{ number: number; first_event: number; last_event: number }>(`UPDATE jobs
    SET last_event = last_event + 1, first_event = max(first_event, last_event + 2 - ?)
    WHERE id = ? RETURNING number, first_event, last_event`);

  const deliveriesDue = all<Delivery>(
    `SELECT d.id, (SELECT id FROM jobs WHERE number = d.job) AS job, d.url, d.body, d.tries
    FROM ${HEADS} AND d.due <= ? ORDER BY d.due, d.id LIMIT ?`,
  );
  const delay = run("UPDATE deliveries SET due = ?, tries = tries + 1 WHERE id = ?");
  const nextDelivery = one<{ due: number | null }>(`SELECT min(d.due) AS due FROM ${HEADS} AND d.due > ?`);

  return {
    addJob: ({ id, kind, options, webhookUrl, idempotency, adopted }: NewJob, at: string) =>
      addJob(
        id,
        kind,
        JSON.stringify(options),
        options.steps,
        webhookUrl,
        idempotency?.key ?? null,
        idempotency?.digest ?? null,
        adopted.bytes,
        at,
      ),
    /** The id of the oldest queued job, which is running now. */
    claim: () => claim()?.id ?? null,
    start: (id: string, { step, steps, at }: { step: number; steps: number; at: string }) =>
      start(step, steps, at, id) > 0,
    progress: (id: string, pace: EventData<"progress">) =>
      progress(pace.step, pace.steps, JSON.stringify(pace.losses), pace.steps_per_second, pace.eta_seconds, id) > 0,
    preview: (id: string, step: number) => preview(step, id) > 0,
    succeed: (id: string, { bytes, at }: { bytes: number; at: string }) => succeed(bytes, at, id) > 0,
    end: (id: string, { status, error, at }: { status: "failed" | "canceled"; error: string | null; at: string }) =>
      end(status, error, at, id) > 0,
    requeue: (id: string, deaths: number) => requeue(deaths, id) > 0,
    recover: () => recover(),
    remove: (id: string) => remove(id) > 0,

    job: one<JobRow>(`${JOB} WHERE id = ?`),
    jobOfKey: one<JobRow>(`${JOB} WHERE idempotency_key = ?`),
    jobs: (page: { limit: number; before?: number | undefined; status?: JobStatus | undefined }) => {
      const before = page.before ?? Number.MAX_SAFE_INTEGER;
      return page.status ? jobsOf(page.status, before, page.limit) : jobs(before, page.limit);
    },
    ids: all<{ id: string }>("SELECT id FROM jobs"),
    counts: (): Record<JobStatus, number> => {
      const found = new Map(counts().map(({ status, count }) => [status, count]));
      return Object.fromEntries(statusSchema.options.map((status) => [status, found.get(status) ?? 0])) as Record<
        JobStatus,
        number
      >;
    },
    queued: () => queued()!.count,
    /** Seconds until the first running job ends, null if none knows. */
    shortestWait: () => shortestWait()!.wait,
    bytes: () => bytes()!.bytes,
    ended: all<{ id: string; bytes: number; finished_at: string }>(
      "SELECT id, bytes, finished_at FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at, number",
    ),

    events: (id: string, after: number, limit: number) => events(id, after, limit),
    /** Takes the next id, and forgets the oldest where there are too many. */
    countEvent: (id: string, most: number) => countEvent(most, id)!,
    addEvent: run("INSERT INTO events (job, id, name, data) VALUES (?, ?, ?, ?)"),
    dropEvents: run("DELETE FROM events WHERE job = ? AND id < ?"),

    addDelivery: run("INSERT INTO deliveries (job, url, body, due) VALUES (?, ?, ?, ?)"),
    deliveriesDue: (now: number, limit: number) => deliveriesDue(now, limit),
    nextDelivery: (after: number) => nextDelivery(after)!.due,
    dropDelivery: run("DELETE FROM deliveries WHERE id = ?"),
    delayDelivery: (id: number, due: number) => delay(due, id),
  };
}
