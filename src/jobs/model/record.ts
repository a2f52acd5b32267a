/**
 * What goes into the store and comes out of it, and how a row becomes a job. Addresses are derived, never stored, so that they can change without touching the database.
 */
import type { EventName, Job, JobStatus, Problem } from "./job.ts";
import { type InputName, INPUTS, type JobKind, type Work } from "./work.ts";

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

export type NewJob = Work & {
  readonly id: string;
  readonly webhookUrl: string | null;
  /** The client's key, and the SHA-256 of all it asked for. */
  readonly idempotency: { readonly key: string; readonly digest: string } | null;
  readonly adopted: Adopted;
};

/** What became of the pictures of a job that is about to be created; a backend may add to it what it needs itself. */
export interface Adopted {
  readonly bytes: number;
}

/** All that is kept of a job, by the names that its JSON has; what follows from it, such as addresses and its place in the queue, is not. */
export interface JobState {
  readonly number: number;
  readonly id: string;
  readonly kind: JobKind;
  readonly status: JobStatus;
  readonly options: Job["options"];
  readonly step: number;
  readonly steps: number;
  readonly losses: Job["losses"];
  readonly steps_per_second: number | null;
  readonly eta_seconds: number | null;
  readonly error: Problem | null;
  readonly attempts: number;
  readonly deaths: number;
  readonly preview_step: number | null;
  readonly webhook_url: string | null;
  readonly bytes: number;
  /** ISO 8601, UTC. */
  readonly created_at: string;
  readonly started_at: string | null;
  readonly finished_at: string | null;
}

/** Where the outside finds one job's things. */
export function jobAddress(id: string, what: keyof Job["urls"]): string {
  if (what === "self") return `/v1/jobs/${id}`;
  return what === "apply" ? `/v1/generators/${id}/apply` : `/v1/jobs/${id}/${what}`;
}

/** `position`: its place in the queue, 1 is next; null when not queued. */
export function recordOf(state: JobState, position: number | null): JobRecord {
  const { id, kind, status, step, steps, losses, steps_per_second, eta_seconds, error, attempts } = state;
  const { created_at, started_at, finished_at, number, deaths, bytes } = state;
  const done = status === "succeeded";
  const input = (name: InputName) => INPUTS[kind].includes(name) ? jobAddress(id, name) : null;
  const generates = done && kind === "splice";
  const urls = {
    self: jobAddress(id, "self"),
    events: jobAddress(id, "events"),
    structure: input("structure"),
    appearance: input("appearance"),
    image: input("image"),
    preview: state.preview_step === null ? null : jobAddress(id, "preview"),
    result: done ? jobAddress(id, "result") : null,
    trained: done ? jobAddress(id, "trained") : null,
    generator: generates ? jobAddress(id, "generator") : null,
    apply: generates ? jobAddress(id, "apply") : null,
  };
  const pace = { step, steps, losses, steps_per_second, eta_seconds };
  const times = { created_at, started_at, finished_at };
  const job = { id, kind, status, position, ...pace, error, attempts, ...times, options: state.options, urls } as Job;
  return { job, number, deaths, previewStep: state.preview_step, webhookUrl: state.webhook_url, bytes };
}

/** What the webhook of the job is told of an event; the record already says what the job has become. `delivery` is known to the receiver by it, sent once or twice. */
export function deliveryBody(
  { job }: JobRecord,
  { event, delivery, at }: { readonly event: EventName; readonly delivery: string; readonly at: Date },
): string {
  return JSON.stringify({ event, delivered_id: delivery, created_at: at.toISOString(), job });
}
