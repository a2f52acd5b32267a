/**
 * What a job is to everyone who speaks of one: the store, the worker, the routes and the page share these states, events and problems, and no other.
 * Schemas, so that what comes from a file, a pipe or the network is checked by the same text that documents it. Knows no database, process or HTTP library.
 */
import { z } from "zod";
import { inversionSchema } from "../../splice/instruments/inversion_options.ts";
import { recipeSchema } from "../../splice/transfer/recipe.ts";
import type { JobKind } from "./work.ts";

export const statusSchema = z.enum(["queued", "running", "succeeded", "failed", "canceled"]);
export type JobStatus = z.infer<typeof statusSchema>;

/** Succeeded, failed or canceled: nothing will happen to it any more. */
export const isFinal = (status: JobStatus): boolean => status !== "queued" && status !== "running";

/**
 * Everything that can be wrong with a request or a job, as the outside sees it. `status` is HTTP's; a job that fails later carries the same problem that
 * an immediate refusal would have been.
 */
export const FAULTS = {
  bad_request: { status: 400, title: "The request cannot be read" },
  unauthorized: { status: 401, title: "An API key is needed" },
  forbidden: { status: 403, title: "The request comes from where it may not" },
  not_found: { status: 404, title: "There is nothing at this address" },
  unknown_job: { status: 404, title: "There is no such job" },
  method_not_allowed: { status: 405, title: "This address does not answer that method" },
  not_acceptable: { status: 406, title: "The picture cannot be had in that format" },
  too_slow: { status: 408, title: "The upload stopped arriving" },
  not_finished: { status: 409, title: "The job has no result yet" },
  no_result: { status: 409, title: "The job ended without a result" },
  canceled: { status: 409, title: "The job was canceled" },
  idempotency_conflict: { status: 409, title: "The idempotency key belongs to another request" },
  payload_too_large: { status: 413, title: "The upload is too large" },
  unsupported_body: { status: 415, title: "The body is not a form" },
  unsupported_type: { status: 415, title: "The file is not a picture that can be read" },
  invalid_options: { status: 422, title: "The request has invalid fields" },
  too_large: { status: 422, title: "The picture has too many pixels" },
  too_small: { status: 422, title: "The picture is too small" },
  damaged: { status: 422, title: "The picture is damaged" },
  unknown_model: { status: 422, title: "The model is not here" },
  memory: { status: 422, title: "The job does not fit into the device's memory" },
  untrainable: { status: 422, title: "The pictures and the options do not go together" },
  rate_limited: { status: 429, title: "Too many requests" },
  crashed: { status: 500, title: "The GPU worker died again and again" },
  internal: { status: 500, title: "Something went wrong inside the server" },
  queue_full: { status: 503, title: "The queue is full" },
  unavailable: { status: 503, title: "The server cannot do this now" },
} as const satisfies Record<string, { status: number; title: string }>;
export type FaultCode = keyof typeof FAULTS;

export const fieldErrorSchema = z.strictObject({ field: z.string(), message: z.string() });
export type FieldError = z.infer<typeof fieldErrorSchema>;

/** RFC 9457, with `errors` naming fields. `type` is an address on this server that explains the kind of problem. */
export const problemSchema = z.strictObject({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  errors: z.array(fieldErrorSchema).optional(),
});
export type Problem = z.infer<typeof problemSchema>;

/** What stops a request or a job; `message` (what, why, what to do) becomes the problem's `detail`. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly code: FaultCode;
  readonly errors: readonly FieldError[];
  /** Seconds after which it is worth trying again. */
  readonly retryAfter: number | undefined;

  constructor(
    code: FaultCode,
    detail: string,
    options: { errors?: readonly FieldError[]; retryAfter?: number | undefined; cause?: unknown } = {},
  ) {
    super(detail, { cause: options.cause });
    this.code = code;
    this.errors = options.errors ?? [];
    this.retryAfter = options.retryAfter;
  }

  get problem(): Problem {
    const { status, title } = FAULTS[this.code];
    const problem = { type: `/problems/${this.code}`, title, status, detail: this.message };
    return this.errors.length > 0 ? { ...problem, errors: [...this.errors] } : problem;
  }
}

const nullable = <T extends z.ZodType>(schema: T) => schema.nullable();
const count = z.number().int().min(0);
const time = z.iso.datetime().describe("RFC 3339, UTC");

const lossesSchema = z.record(z.string(), z.number()).describe(
  "unweighted mean squared errors of the terms that counted at the last step, and the weighted `total`",
);

const pace = {
  step: count.describe("steps done"),
  steps: count.describe("steps to do"),
  losses: lossesSchema,
  steps_per_second: nullable(z.number()).describe("null until a step has been timed"),
  eta_seconds: nullable(z.number()).describe(
    "time left, null until a step has been timed; of the last step: until the picture has the photograph's size",
  ),
};

const address = z.string().describe("an address on this server");
const urlsSchema = z.strictObject({
  self: address,
  events: address,
  structure: nullable(address).describe("null for an inversion"),
  appearance: nullable(address).describe("null for an inversion"),
  image: nullable(address).describe("the photograph whose features are inverted; null for a transfer"),
  preview: nullable(address).describe("the newest rendering; null before the first"),
  result: nullable(address).describe("null until the job has succeeded"),
  trained: nullable(address).describe(
    "the picture as large as it was trained, before `detail` gave it the photograph's size; null until the job has succeeded",
  ),
  generator: nullable(address).describe(
    "the trained generator, safetensors; null until the job has succeeded, and for an inversion",
  ),
  apply: nullable(address).describe(
    "POST a picture here to render it with the trained generator; null until the job has succeeded, and for an inversion",
  ),
});

const jobFields = {
  id: z.string(),
  status: statusSchema,
  position: nullable(count).describe("place in the queue, 1 is next; null when not queued"),
  step: pace.step,
  steps: pace.steps,
  losses: nullable(lossesSchema),
  steps_per_second: pace.steps_per_second,
  eta_seconds: pace.eta_seconds,
  error: nullable(problemSchema),
  attempts: count.describe("how often it was started"),
  created_at: time,
  started_at: nullable(time),
  finished_at: nullable(time),
  urls: urlsSchema,
};

/** A job of one kind, with the options of that kind. */
function jobOf<Kind extends JobKind, Options extends z.ZodType>(kind: Kind, options: Options) {
  const { id, ...fields } = jobFields;
  return z.strictObject({ id, kind: z.literal(kind), ...fields, options });
}

export const jobSchema = z.discriminatedUnion("kind", [
  jobOf("splice", recipeSchema),
  jobOf("invert", inversionSchema),
]);
export type Job = z.infer<typeof jobSchema>;

/** What happens to a job, by name. Every one is stored with an id of its own (1, 2, 3, ... in each job) but `preview`, a `queued` that only tells that the place moved, and `resync`, which is made when asked. */
export const eventSchemas = {
  queued: z.strictObject({ id: z.string().describe("the job's"), position: count }),
  started: z.strictObject({
    adapter: z.string(),
    model: z.string(),
    steps: count,
    step: count.describe("steps done before, by an earlier attempt"),
  }),
  progress: z.strictObject(pace),
  preview: z.strictObject({ step: count, url: z.string() }),
  succeeded: z.strictObject({ result: z.string().describe("the picture's address") }),
  failed: z.strictObject({ error: problemSchema }),
  canceled: z.strictObject({}),
  resync: z.strictObject({ job: jobSchema }),
} as const;
export type EventName = keyof typeof eventSchemas;
export type EventData<N extends EventName> = z.infer<(typeof eventSchemas)[N]>;
export type JobEvent = { [N in EventName]: { readonly name: N; readonly data: EventData<N> } }[EventName];

/** An event as it is stored and sent: `data` is JSON. */
export interface StoredEvent {
  readonly id: number;
  readonly name: EventName;
  readonly data: string;
}

/** What is worth counting. */
export type CountedEvent =
  | { readonly what: "steps"; readonly seconds: readonly number[] }
  | { readonly what: "ended"; readonly outcome: "succeeded" | "failed" | "canceled" }
  | { readonly what: "restart" };
