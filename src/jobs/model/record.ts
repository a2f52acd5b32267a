/**
 * What goes into the store and comes out of it, and how a row becomes a job. Addresses are derived, never stored, so that they can change without touching the database.
 */
import type { Job, JobStatus } from "./job.ts";
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
  readonly bytes: number;
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

/** A row of the table `jobs`: JSON is text. */
export interface JobRow {
  readonly number: number;
  readonly id: string;
  readonly kind: JobKind;
  readonly status: JobStatus;
  readonly position: number | null;
  readonly options: string;
  readonly step: number;
  readonly steps: number;
  readonly losses: string | null;
  readonly steps_per_second: number | null;
  readonly eta_seconds: number | null;
  readonly error: string | null;
  readonly attempts: number;
  readonly deaths: number;
  readonly preview_step: number | null;
  readonly webhook_url: string | null;
  readonly idempotency_digest: string | null;
  readonly bytes: number;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly finished_at: string | null;
}

/** Where the outside finds one job's things. */
export function jobAddress(id: string, what: keyof Job["urls"]): string {
  if (what === "self") return `/v1/jobs/${id}`;
  return what === "apply" ? `/v1/generators/${id}/apply` : `/v1/jobs/${id}/${what}`;
}

export function recordOf(row: JobRow): JobRecord {
  const { id, kind, status } = row;
  const done = status === "succeeded";
  const input = (name: InputName) => INPUTS[kind].includes(name) ? jobAddress(id, name) : null;
  const generates = done && kind === "splice";
  const job: Job = {
    id,
    kind,
    status,
    position: row.position,
    step: row.step,
    steps: row.steps,
    losses: parsed(row.losses),
    steps_per_second: row.steps_per_second,
    eta_seconds: row.eta_seconds,
    error: parsed(row.error),
    attempts: row.attempts,
    created_at: row.created_at,
    started_at: row.started_at,
    finished_at: row.finished_at,
    options: JSON.parse(row.options),
    urls: {
      self: jobAddress(id, "self"),
      events: jobAddress(id, "events"),
      structure: input("structure"),
      appearance: input("appearance"),
      image: input("image"),
      preview: row.preview_step === null ? null : jobAddress(id, "preview"),
      result: done ? jobAddress(id, "result") : null,
      trained: done ? jobAddress(id, "trained") : null,
      generator: generates ? jobAddress(id, "generator") : null,
      apply: generates ? jobAddress(id, "apply") : null,
    },
  };
  const { number, deaths, bytes } = row;
  return { job, number, deaths, previewStep: row.preview_step, webhookUrl: row.webhook_url, bytes };
}

function parsed<T>(json: string | null): T | null {
  return json === null ? null : JSON.parse(json);
}
