/**
 * What a cluster's errors mean: which pass by themselves and are worth another try, which are nobody's fault who asks, and what those are called outside.
 * Whatever is tried again here has to be safe to repeat, for nobody knows whether a request without an answer was done.
 */
import { JetStreamApiError } from "@nats-io/jetstream";
import { errors } from "@nats-io/nats-core";
import { Fault } from "../model/job.ts";
import { pause as wait } from "../model/waiting.ts";

/** An answer to a request is waited for so long in all, in ms, before whoever asked is told to come back. */
const PATIENCE = 15_000;
const FIRST_PAUSE = 100;
const LAST_PAUSE = 500;

/** Numbers of the server's errors. */
const WRONG_LAST_SEQUENCE = 10071;
const STORE_FAILED = 10077;
const STREAM_NOT_FOUND = 10059;
/** No message found, sequence not found, message to be deleted not found. */
const NOT_THERE = [10037, 10043, 10057];
const NO_SPACE = [10023, 10028, 10047];

/** Another message came before: the expected last sequence of the subject is not its last. */
export const isOutdated = (error: unknown): boolean => codeOf(error) === WRONG_LAST_SEQUENCE;

/** The subject takes one message, and has it. */
export const isTaken = (error: unknown): boolean =>
  codeOf(error) === STORE_FAILED && /messages per subject/.test(messageOf(error));

/** The message is not there, or not any more: which of these is said depends on the storage. */
export const isGone = (error: unknown): boolean => NOT_THERE.includes(codeOf(error));

/** Nothing more can be kept until somebody makes room. */
export const isFull = (error: unknown): boolean =>
  error instanceof Fault ? error.cause !== undefined && isFull(error.cause) : lacksRoom(error);

export interface Insistence {
  /** Milliseconds; Infinity to go on until `signal`. */
  readonly patience?: number;
  /** Aborted when it need not be done any more: the reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** Does `work`, again and again while it fails by what passes. @throws Fault unavailable when that lasts, or nothing more can be kept; what `work` throws otherwise */
export async function insist<T>(work: () => Promise<T>, options: Insistence = {}): Promise<T> {
  const { patience = PATIENCE, signal } = options;
  const deadline = performance.now() + patience;
  for (let pause = FIRST_PAUSE;; pause = Math.min(LAST_PAUSE, 2 * pause)) {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (!passes(error)) throw faultOf(error) ?? error;
      if (performance.now() + pause > deadline) {
        const detail = "Cannot reach what keeps the jobs: the cluster does not answer. Try again in a moment";
        throw new Fault("unavailable", detail, { retryAfter: 5, cause: error });
      }
    }
    await wait(pause, signal);
  }
}

/** An election, a server that went away, an answer that was lost. */
function passes(error: unknown): boolean {
  if (error instanceof JetStreamApiError) {
    if (error.code === STORE_FAILED) return /store is closed/.test(error.message);
    return error.code === STREAM_NOT_FOUND || error.status === 503 && !NO_SPACE.includes(error.code);
  }
  if (error instanceof errors.TimeoutError || error instanceof errors.ConnectionError) return true;
  if (error instanceof errors.RequestError) return !(error.cause instanceof errors.PermissionViolationError);
  // Nobody listened where JetStream does: the library takes that for a server without it.
  return error instanceof Error && error.cause instanceof errors.RequestError;
}

/** Null where it is somebody's mistake. */
function faultOf(error: unknown): Fault | null {
  if (lacksRoom(error)) {
    const detail = "Cannot keep this: the cluster's storage is full. Try again later, or ask its operator to make room";
    return new Fault("unavailable", detail, { retryAfter: 60, cause: error });
  }
  if (error instanceof errors.ClosedConnectionError || error instanceof errors.DrainingConnectionError) {
    return new Fault("unavailable", "The server is stopping", { retryAfter: 5, cause: error });
  }
  if (error instanceof errors.RequestError && error.cause instanceof errors.PermissionViolationError) {
    const detail =
      `The cluster does not let this server do its work: ${error.cause.message}. Ask its operator for the rights`;
    return new Fault("unavailable", detail, { retryAfter: 60, cause: error });
  }
  return null;
}

function lacksRoom(error: unknown): boolean {
  const code = codeOf(error);
  return NO_SPACE.includes(code) || code === STORE_FAILED && !isTaken(error);
}

function codeOf(error: unknown): number {
  return error instanceof JetStreamApiError ? error.code : 0;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
