/**
 * A message of a job's log: the whole record of the job, as it is after what the message tells. What may become of a record, each step a pure function; what it is to the outside,
 * a job and an event. Knows no server. Invariant: `n` counts the events that are told with an id, so that each message follows from the one before it without a gap.
 */
import {
  type EventData,
  type EventName,
  isFinal,
  type JobStatus,
  type Problem,
  type StoredEvent,
} from "../model/job.ts";
import { type Adopted, jobAddress, type JobRecord, type JobState, type NewJob, recordOf } from "../model/record.ts";
import type { FileName } from "../model/service.ts";
import type { InputName } from "../model/work.ts";

/** Of the record's form: a server that reads a higher one than it knows leaves the job alone. */
const SCHEMA = 1;

/** A file in the stream of files, by where it lies and what it is. */
export interface FileRef {
  /** Of all its chunks, and of no other message. */
  readonly subject: string;
  /** The sequences of its chunks, in order: so many from each first. */
  readonly runs: readonly (readonly [first: number, count: number])[];
  readonly bytes: number;
  /** Of all its bytes, in hexadecimal digits. */
  readonly sha256: string;
}

export interface InputRef {
  readonly file: FileRef;
  /** As its bytes say. */
  readonly type: string;
  /** Whether every program shows it the right way up. */
  readonly upright: boolean;
}

/** What became of uploaded pictures: they lie in the files of `folder`. */
export interface AdoptedFiles extends Adopted {
  readonly folder: string;
  readonly inputs: Partial<Readonly<Record<InputName, InputRef>>>;
}

export interface Snapshot extends Omit<JobState, "status"> {
  readonly schema: number;
  /** Counts the messages of this log. The log sets it, and `nonce`, which tells a message from another writer's of the same count. */
  readonly v: number;
  readonly nonce: string;
  /** The id of the newest event that has one. */
  readonly n: number;
  /** What this message tells; null where it tells nothing outside. */
  readonly name: EventName | null;
  /** Whether the job's webhook is told of it. */
  readonly hook: boolean;
  /** `removed`: nothing is left of it but this, until every node has heard so. */
  readonly status: JobStatus | "removed";
  /** Who works on it: another with every claim. */
  readonly owner: string | null;
  /** How often in a row an owner fell silent, with no newer checkpoint in between. */
  readonly silences: number;
  /** Its place in the queue as it was created. */
  readonly place: number;
  /** Of the newest `started`. */
  readonly adapter: string | null;
  readonly model: string | null;
  /** Wall time of each step since the progress before this one. */
  readonly seconds: readonly number[];
  /** Whose files it has: its own id but where it took over what another had uploaded. */
  readonly folder: string;
  readonly inputs: AdoptedFiles["inputs"];
  readonly files: Partial<Readonly<Record<FileName, FileRef>>>;
  readonly checkpoint: { readonly step: number; readonly file: FileRef } | null;
  /** SHA-256 of the idempotency key, in hexadecimal. */
  readonly key: string | null;
}

/** The first message of a job. */
export function created(
  job: NewJob & { readonly adopted: AdoptedFiles },
  { place, key, at }: { readonly place: number; readonly key: string | null; readonly at: Date },
): Snapshot {
  return {
    schema: SCHEMA,
    v: 0,
    nonce: "",
    n: 1,
    name: "queued",
    hook: false,
    number: 0,
    id: job.id,
    kind: job.kind,
    status: "queued",
    options: job.options,
    step: 0,
    steps: job.options.steps,
    losses: null,
    steps_per_second: null,
    eta_seconds: null,
    error: null,
    attempts: 0,
    deaths: 0,
    silences: 0,
    owner: null,
    place,
    adapter: null,
    model: null,
    seconds: [],
    preview_step: null,
    webhook_url: job.webhookUrl,
    bytes: job.adopted.bytes,
    folder: job.adopted.folder,
    inputs: job.adopted.inputs,
    files: {},
    checkpoint: null,
    key,
    created_at: at.toISOString(),
    started_at: null,
    finished_at: null,
  };
}

/** What follows `snap`: `told` has an id, but a preview. */
function next(snap: Snapshot, told: EventName | null, change: Partial<Snapshot>): Snapshot {
  const n = told === null || told === "preview" ? snap.n : snap.n + 1;
  return { ...snap, n, name: told, hook: false, seconds: [], ...change };
}

const NO_PACE = { steps_per_second: null, eta_seconds: null };

/** Somebody works on it: for the first time, again, or because whoever did fell silent. */
export function claimed(snap: Snapshot, owner: string): Snapshot {
  const silences = snap.status === "running" ? snap.silences + 1 : snap.silences;
  return next(snap, null, { status: "running", owner, attempts: snap.attempts + 1, silences, ...NO_PACE });
}

export function started(snap: Snapshot, event: EventData<"started">, at: Date): Snapshot {
  const first = snap.started_at === null;
  const hook = first && snap.webhook_url !== null;
  return next(snap, "started", { ...event, hook, started_at: first ? at.toISOString() : snap.started_at });
}

export function progressed(snap: Snapshot, pace: EventData<"progress">, seconds: readonly number[]): Snapshot {
  return next(snap, "progress", { ...pace, seconds });
}

export function previewed(snap: Snapshot, step: number, preview: FileRef): Snapshot {
  return next(snap, "preview", { preview_step: step, files: { ...snap.files, preview } });
}

export function checkpointed(snap: Snapshot, checkpoint: NonNullable<Snapshot["checkpoint"]>): Snapshot {
  const newer = checkpoint.step > (snap.checkpoint?.step ?? 0);
  return next(snap, null, { checkpoint, silences: newer ? 0 : snap.silences });
}

/** It goes on elsewhere. */
export function requeued(snap: Snapshot, { died }: { readonly died: boolean }): Snapshot {
  return next(snap, null, { status: "queued", owner: null, deaths: snap.deaths + Number(died), ...NO_PACE });
}

export function succeeded(
  snap: Snapshot,
  { files, bytes, at }: { readonly files: Snapshot["files"]; readonly bytes: number; readonly at: Date },
): Snapshot {
  const done = { step: snap.steps, eta_seconds: 0, files: { ...snap.files, ...files }, bytes };
  return next(snap, "succeeded", { ...ended(snap, "succeeded", at), ...done });
}

export function failed(snap: Snapshot, error: Problem, at: Date): Snapshot {
  return next(snap, "failed", { ...ended(snap, "failed", at), ...NO_PACE, error });
}

export function canceled(snap: Snapshot, at: Date): Snapshot {
  return next(snap, "canceled", { ...ended(snap, "canceled", at), ...NO_PACE });
}

/** Forgotten; what is left names what has to be erased. */
export function removed(snap: Snapshot): Snapshot {
  return next(snap, null, { status: "removed" });
}

function ended(snap: Snapshot, status: "succeeded" | "failed" | "canceled", at: Date): Partial<Snapshot> {
  return { status, owner: null, checkpoint: null, hook: snap.webhook_url !== null, finished_at: at.toISOString() };
}

/** It waits or somebody works on it. */
export function isActive({ status }: Snapshot): boolean {
  return status !== "removed" && !isFinal(status);
}

/** All files that a record names. */
export function filesOf({ inputs, files, checkpoint }: Snapshot): FileRef[] {
  const pictures = Object.values(inputs).map(({ file }) => file);
  return [...pictures, ...Object.values(files), ...checkpoint ? [checkpoint.file] : []];
}

/** The job as the outside sees it; null where it is removed. `position`: its place in the queue. */
export function recordOfSnapshot(snap: Snapshot, position: number | null): JobRecord | null {
  const { status } = snap;
  if (status === "removed") return null;
  return recordOf({ ...snap, status }, status === "queued" ? position : null);
}

/** The event that a message tells, where it has an id. */
export function eventOf(snap: Snapshot): StoredEvent | null {
  const data = dataOf(snap);
  return data === null || snap.name === null ? null : { id: snap.n, name: snap.name, data: JSON.stringify(data) };
}

function dataOf(snap: Snapshot): EventData<EventName> | null {
  const { id, step, steps, losses, steps_per_second, eta_seconds } = snap;
  switch (snap.name) {
    case "queued":
      return { id, position: snap.place };
    case "started":
      return { adapter: snap.adapter!, model: snap.model!, steps, step };
    case "progress":
      return { step, steps, losses: losses!, steps_per_second, eta_seconds };
    case "succeeded":
      return { result: jobAddress(id, "result") };
    case "failed":
      return { error: snap.error! };
    case "canceled":
      return {};
    default:
      return null;
  }
}

/** What a message of the log says; null where this version cannot read it. The first knows its number only from where it lies. */
export function parseSnapshot(text: string, seq: number): Snapshot | null {
  const snap = JSON.parse(text) as Snapshot;
  if (!(snap.schema <= SCHEMA)) return null;
  return snap.number === 0 ? { ...snap, number: seq } : snap;
}
