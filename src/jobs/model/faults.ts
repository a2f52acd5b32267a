/** What both backends refuse in the same words. */
import { Fault } from "./job.ts";

/** Seconds to wait for a place in a full queue, where nobody knows how long the running jobs will take. */
const USUAL_WAIT = 30;

/** `shortest`: seconds until the first running job ends, null if none knows. */
export function queueFull(limit: number, shortest: number | null): Fault {
  const wait = Math.min(Math.max(Math.ceil(shortest ?? USUAL_WAIT), 5), 600);
  const detail =
    `Cannot queue the job: ${limit} are waiting, which is all the queue takes; try again in ${wait} seconds`;
  return new Fault("queue_full", detail, { retryAfter: wait });
}

export function keyConflict(job: string): Fault {
  return new Fault(
    "idempotency_conflict",
    `Cannot create the job: its Idempotency-Key belongs to job ${job}, which was asked for with other pictures or ` +
      "options; use a new key for a new request, or send the first request unchanged",
  );
}
