/**
 * What the owner of a job writes into its log, one message after the other. Who took the job over, or canceled it, has written in between: then nothing more can be written here, and the chain is
 * broken, for good. While it holds, the queue is told now and then that the job is worked on, but only after a look that it still is the owner's: the queue itself does not ask who says so.
 */
import type { JsMsg } from "@nats-io/jetstream";
import { type EventData, Fault } from "../../model/job.ts";
import { type At, Fenced, type Log } from "../log.ts";
import { pause } from "../../model/waiting.ts";
import { progressed, type Snapshot, started } from "../snapshot.ts";

export interface ChainOptions {
  readonly log: Log;
  /** Of the queue, by which the job came. */
  readonly message: Pick<JsMsg, "working">;
  /** The owner's claim. */
  readonly at: At;
  /** Aborted when the machine stops: what is not written by then is not. */
  readonly closing: AbortSignal;
  readonly now: () => Date;
  complain(text: string): void;
}

export interface Chain {
  /** Aborted when the job is not the owner's any more: "canceled", or "lost" to another. */
  readonly ended: AbortSignal;
  /** The job as it was last written. */
  snap(): Snapshot;
  /** Written soon and in order; a newer progress may take the place of one that waits. */
  tellStarted(event: EventData<"started">): void;
  tellProgress(event: EventData<"progress">, seconds: readonly number[]): void;
  /** Writes what follows, after all that was told before, however often it has to be tried. What it was before; null where the chain is broken, or the machine stops. */
  write(change: Change): Promise<Snapshot | null>;
  /** As `write`; it is the last that is written, and nothing is said to the queue any more. */
  finish(change: Change): Promise<Snapshot | null>;
  /** Says nothing more. Resolves when nothing is under way. */
  close(): Promise<void>;
}

type Change = (snap: Snapshot) => Snapshot;

/** The queue is told this often that the job is worked on, in ms: thrice before it would go to another. */
const BEAT = 5000;
/** What was written so long ago shows that the job is the owner's still, in ms. */
const FRESH = 2500;
/** What there was no room for is tried again after this, in ms. */
const FULL_PAUSE = 5000;

interface Progress {
  readonly event: EventData<"progress">;
  readonly seconds: readonly number[];
}

export function openChain({ log, message, at, closing, now, complain }: ChainOptions): Chain {
  const { id } = at.snap;
  const broken = new AbortController();
  const stop = AbortSignal.any([broken.signal, closing]);
  const patient = { patience: Infinity, signal: stop };
  let last = at;
  let wrote = performance.now();
  let full = -Infinity;
  let start: EventData<"started"> | null = null;
  let progress: Progress | null = null;
  let [telling, beating, closed] = [false, false, false];
  let turn: Promise<unknown> = Promise.resolve();
  const beats = setInterval(() => {
    if (beating) return;
    beating = true;
    void inTurn(beat).then(() => beating = false);
  }, BEAT);
  stop.addEventListener("abort", () => clearInterval(beats));

  /** Does one thing after the other. Null where it could not be done, for the chain is broken, or the machine stops. */
  function inTurn<T>(work: () => Promise<T>): Promise<T | null> {
    const done = turn.then(work).catch((error) => {
      if (error instanceof Fenced) breakOff(error.now);
      else if (!stop.aborted) complain(`Job ${id} cannot be looked after: ${error?.stack ?? error}`);
      return null;
    });
    turn = done;
    return done;
  }

  function breakOff(found: At | null): void {
    const canceled = found === null || ["canceled", "removed"].includes(found.snap.status);
    broken.abort(canceled ? "canceled" : "lost");
  }

  /** False where there is no room for it. */
  async function append(change: Change): Promise<boolean> {
    stop.throwIfAborted();
    try {
      last = await log.append(last, change(last.snap), patient);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (full === -Infinity) complain(`What becomes of job ${id} cannot be noted yet: ${error.message}`);
      full = performance.now();
      return false;
    }
    full = -Infinity;
    wrote = performance.now();
    return true;
  }

  /** Writes what was told. False where there is no room for it. */
  async function flush(): Promise<boolean> {
    if (start !== null) {
      const event = start;
      if (!await append((snap) => started(snap, event, now()))) return false;
      start = null;
    }
    if (progress === null) return true;
    const { event, seconds }: Progress = progress;
    progress = null;
    if (await append((snap) => progressed(snap, event, seconds))) return true;
    const newer = progress as Progress | null;
    progress = { event: newer?.event ?? event, seconds: [...seconds, ...newer?.seconds ?? []] };
    return false;
  }

  function tell(): void {
    if (telling || closed) return;
    telling = true;
    void inTurn(async () => {
      telling = false;
      if (!closed && performance.now() - full > FULL_PAUSE) await flush();
    });
  }

  async function beat(): Promise<void> {
    if (closed) return;
    if (performance.now() - wrote > FRESH) {
      const found = await log.last(id, patient);
      if (found?.seq !== last.seq) return breakOff(found);
    }
    message.working();
    if (performance.now() - full > FULL_PAUSE) await flush();
  }

  function write(change: Change, { finish }: { readonly finish: boolean }): Promise<Snapshot | null> {
    return inTurn(async () => {
      if (closed) return null;
      for (;;) {
        if (await flush()) {
          const before = last.snap;
          if (await append(change)) {
            if (finish) close();
            return before;
          }
        }
        await pause(FULL_PAUSE, stop);
        await beat();
      }
    });
  }

  function close(): void {
    closed = true;
    clearInterval(beats);
  }

  return {
    ended: broken.signal,
    snap: () => last.snap,
    tellStarted(event) {
      start = event;
      tell();
    },
    tellProgress(event, seconds) {
      progress = { event, seconds: [...progress?.seconds ?? [], ...seconds] };
      tell();
    },
    write: (change) => write(change, { finish: false }),
    finish: (change) => write(change, { finish: true }),
    async close() {
      close();
      await turn;
    },
  };
}
