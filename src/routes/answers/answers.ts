/** Answers as OpenAPI documents them, so that each route says in one line what can come back. */
import { z } from "@hono/zod-openapi";
import { type FaultCode, FAULTS, jobSchema, problemSchema } from "../../jobs/model/job.ts";

export const Job = jobSchema.meta({ id: "Job" });
const Problem = problemSchema.meta({ id: "Problem" });

const pictures = ["image/png", "image/jpeg", "image/webp"] as const;
const binary = { schema: { type: "string", format: "binary" } } as const;

/** What may stop any request under /v1 before its route is reached. */
const guards: readonly FaultCode[] = ["unauthorized", "forbidden", "rate_limited"];
/** What may be wrong with an uploaded form. */
export const uploadFaults = [
  "bad_request",
  "too_slow",
  "payload_too_large",
  "unsupported_body",
  "unsupported_type",
  "invalid_options",
  "too_large",
  "too_small",
  "damaged",
  "unavailable",
] as const satisfies readonly FaultCode[];
/** What may come of the wish for a training. */
export const creationFaults = [
  ...uploadFaults,
  "unknown_model",
  "memory",
  "untrainable",
  "idempotency_conflict",
  "queue_full",
] as const satisfies readonly FaultCode[];

interface Answer {
  description: string;
  content: { "application/problem+json": { schema: typeof Problem } };
}

/** Problems by status: these, and those that any request under /v1 may meet. */
export function problems(...codes: readonly FaultCode[]): Record<number, Answer> {
  return only(...guards, ...codes);
}

/** Problems by status: these alone. */
export function only(...codes: readonly FaultCode[]): Record<number, Answer> {
  const answers: Record<number, Answer> = {};
  for (const code of new Set(codes)) {
    const { status, title } = FAULTS[code];
    const before = answers[status];
    const description = `${before === undefined ? "" : `${before.description}; `}${title} (${code})`;
    answers[status] = { description, content: { "application/problem+json": { schema: Problem } } };
  }
  return answers;
}

export function json<T extends z.ZodType>(schema: T, description: string) {
  return { description, content: { "application/json": { schema } } };
}

/** A picture in the format that the Accept header likes best. */
export function picture(description: string) {
  const [png, jpeg, webp] = pictures;
  return { description, content: { [png]: binary, [jpeg]: binary, [webp]: binary } };
}

export function file(description: string, ...types: readonly string[]) {
  return { description, content: Object.fromEntries(types.map((type) => [type, binary])) };
}

/** Server-sent events. */
export function events(description: string) {
  const names = "queued, started, progress, preview, succeeded, failed, canceled, resync";
  return {
    description:
      `${description}: ${names}. Every one has an id but previews, and a queued that only tells that the place moved; the stream ends after the last.`,
    content: { "text/event-stream": { schema: { type: "string" } } },
  } as const;
}

/** The client has what it asked for already. */
export const unchanged = { 304: { description: "Unchanged since the If-None-Match" } } as const;

export const jobParams = z.object({ id: z.string().describe("the job's id") });

/** A whole number among query parameters. */
export function whole(least: number, most: number) {
  const error = `it must be a whole number from ${least} to ${most}`;
  return z.coerce.number({ error }).int({ error }).min(least, { error }).max(most, { error });
}
