/**
 * Jobs out of the cluster's queue for the workers of this machine. The queue hands a job to one machine at a time, and to another where that falls silent; but whose it is, the job's log says: a claim is a
 * message of it, which shuts out whoever claimed it before. A machine that cannot be asked any more so costs a job its time since the last checkpoint, and nothing else.
 */
import type { JsMsg } from "@nats-io/jetstream";
import { nuid } from "@nats-io/nats-core";
import { join } from "node:path";
import { Fault } from "../../model/job.ts";
import { poisonFault } from "../../model/poison.ts";
import type { JobSource, Lease } from "../../model/ports.ts";
import { openChain } from "./chain.ts";
import type { Chunks } from "../chunks.ts";
import type { Connection } from "../connection.ts";
import { CHECKPOINT_FILE, openLease } from "./lease.ts";
import { isFull } from "../faults.ts";
import { type At, Fenced, type Log } from "../log.ts";
import { claimed, failed, isActive, recordOfSnapshot, type Snapshot } from "../snapshot.ts";
import { openPull } from "../pull.ts";
import { CONSUMERS, type Names } from "../streams.ts";
import { pause } from "../../model/waiting.ts";

export interface SourceOptions {
  readonly connection: Pick<Connection, "js" | "hold">;
  readonly names: Names;
  readonly log: Log;
  readonly chunks: Chunks;
  /** Where jobs are worked on: empty, and this process's alone. */
  readonly folder: string;
  /** Whether the workers here have this model; a job that asks for another is left to other machines. */
  hasModel(name: string | undefined): Promise<boolean>;
  /** Aborted when nothing can be written any more. */
  readonly closing: AbortSignal;
  readonly now: () => Date;
  /** How often checkpoints are stored, in ms. */
  readonly checkpointEvery?: number;
  complain(text: string): void;
}

const CHECKPOINT_EVERY = 30_000;
/** What did not work is tried again after this, in ms. */
const RETRY = 500;
/** A job for others is offered again after this, in ms. */
const FOR_OTHERS = 2000;
/** Where there is no room for a claim, jobs are asked for again after this, in ms. */
const FULL_PAUSE = 5000;

export function openSource(options: SourceOptions): JobSource {
  const { connection, names, log, chunks, closing, now, complain } = options;
  const queue = openPull({ connection, stream: names.streams.queue, consumer: CONSUMERS.workers, complain });

  /** Why the last job could not be taken; null where it could. */
  let refused: string | null = null;

  /** The job is this machine's from now on; null where it is nobody's to work on, or another's. */
  async function claim(message: JsMsg): Promise<At | null> {
    const at = await log.last(message.subject.slice(names.queue("").length), { signal: closing });
    if (at === null || !isActive(at.snap)) {
      await message.ackAck().catch(() => {}); // else it comes again
      return null;
    }
    const { snap } = at;
    if (!await options.hasModel(snap.options.model)) {
      message.nak(FOR_OTHERS);
      return null;
    }
    if (snap.status === "running") complain(`Job ${snap.id} has fallen silent, and is taken over`);
    const silences = snap.status === "running" ? snap.silences + 1 : 0;
    const fault = poisonFault({ deaths: silences, step: snap.step });
    const next = fault === null ? claimed(snap, nuid.next()) : failed(snap, fault.problem, now());
    const ours = await log.append(at, next, { signal: closing });
    if (fault === null) return ours;
    await message.ackAck().catch(() => {});
    if (snap.checkpoint) await chunks.remove(snap.checkpoint.file).catch(() => {});
    return null;
  }

  async function take(message: JsMsg, stop: AbortSignal): Promise<Lease | null> {
    const at = await claim(message);
    if (at === null) return null;
    const { snap } = at;
    const folder = join(options.folder, `${snap.id}.${snap.owner}`);
    const chain = openChain({ log, message, at, closing, now, complain });
    chain.ended.addEventListener("abort", () => {
      if (chain.ended.reason !== "lost") return;
      complain(`Job ${snap.id} was taken over by another machine: what was done here since then is not kept`);
    });
    const lease = openLease({
      chain,
      chunks,
      message,
      record: recordOfSnapshot(snap, null)!,
      folder,
      checkpointEvery: options.checkpointEvery ?? CHECKPOINT_EVERY,
      closing,
      now,
      complain,
    });
    try {
      await Deno.mkdir(folder, { mode: 0o700 });
      await fetch(snap, folder, AbortSignal.any([stop, chain.ended]));
      if (!stop.aborted && !chain.ended.aborted) return lease;
    } catch (error) {
      if (!stop.aborted && !chain.ended.aborted) {
        complain(`Job ${snap.id} cannot be started: ${reasonOf(error)}`);
        await lease.fail((error instanceof Fault ? error : new Fault("internal", NOT_STARTED)).problem);
        return null;
      }
    }
    if (chain.ended.aborted) await lease.letGo();
    else await lease.giveBack({ died: false });
    return null;
  }

  /** Fills the folder with what the job goes on from. @throws Fault; the signal's reason */
  async function fetch({ id, inputs, checkpoint }: Snapshot, folder: string, stop: AbortSignal): Promise<void> {
    for (const [name, { file }] of Object.entries(inputs)) {
      await insistently(() => chunks.download(file, join(folder, name)), stop);
    }
    if (checkpoint === null) return;
    try {
      await insistently(() => chunks.download(checkpoint.file, join(folder, CHECKPOINT_FILE)), stop);
    } catch (error) {
      stop.throwIfAborted();
      complain(`Job ${id} begins anew, for its checkpoint cannot be had: ${reasonOf(error)}`);
    }
  }

  return {
    async next(signal) {
      const stop = AbortSignal.any([signal, closing]);
      while (!stop.aborted) {
        const message = await queue.next(stop);
        if (message === null) continue;
        try {
          const lease = await take(message, stop);
          refused = null;
          if (lease) return lease;
        } catch (error) {
          // Another has it, or will be given it in a while.
          if (error instanceof Fenced || stop.aborted) continue;
          const reason = reasonOf(error);
          if (reason !== refused) complain(`A job cannot be taken: ${reason}`);
          refused = reason;
          if (!isFull(error)) continue;
          message.nak(); // the next would fare no better, and must not come before it
          await pause(FULL_PAUSE, stop).catch(() => {});
        }
      }
      return null;
    },
  };
}

const NOT_STARTED = "The server could not start this job";

/** Again and again, while the cluster cannot be reached. */
async function insistently(work: () => Promise<void>, stop: AbortSignal): Promise<void> {
  for (;;) {
    try {
      stop.throwIfAborted();
      return await work();
    } catch (error) {
      if (!(error instanceof Fault && error.code === "unavailable")) throw error;
    }
    await pause(RETRY, stop);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
