/**
 * A job of the cluster that is worked on here: what the worker says and leaves in the folder, told to the cluster. Small things go at once; checkpoints, which are large and come every few seconds,
 * stay in the folder and go now and then, and when the job leaves this machine. A file is stored before the record names it, and removed when the record names another: so none that is named
 * is ever missing, and what is stored in vain, because the job had gone to another, is named by nobody.
 */
import type { JsMsg } from "@nats-io/jetstream";
import { join } from "node:path";
import { Fault, type Problem } from "../../model/job.ts";
import { poisonFault } from "../../model/poison.ts";
import type { Lease } from "../../model/ports.ts";
import type { JobRecord } from "../../model/record.ts";
import { type FileName, FILES } from "../../model/service.ts";
import type { Chain } from "./chain.ts";
import type { Chunks } from "../chunks.ts";
import {
  checkpointed,
  failed,
  type FileRef,
  filesOf,
  previewed,
  requeued,
  type Snapshot,
  succeeded,
} from "../snapshot.ts";
import { pause } from "../../model/waiting.ts";

export interface LeaseOptions {
  readonly chain: Chain;
  readonly chunks: Chunks;
  /** Of the queue, by which the job came. */
  readonly message: Pick<JsMsg, "ackAck" | "nak">;
  readonly record: JobRecord;
  readonly folder: string;
  /** A checkpoint that came so long after the last one that was stored is stored, in ms. */
  readonly checkpointEvery: number;
  readonly closing: AbortSignal;
  readonly now: () => Date;
  complain(text: string): void;
}

export const CHECKPOINT_FILE = "checkpoint.safetensors";
/** What could not be stored is tried again after this, in ms. */
const RETRY = 5000;

export function openLease(options: LeaseOptions): Lease {
  const { chain, chunks, message, record, folder, checkpointEvery, closing, now, complain } = options;
  const { id } = record.job;
  const stop = AbortSignal.any([chain.ended, closing]);
  let leaving = false;
  let saved = 0;
  let stored = -Infinity; // an attempt's first is stored at once: it shows that the job brings nobody down

  const put = (name: string) => chunks.put(chain.snap().folder, join(folder, name), { signal: stop });
  const previews = newest(async (step) => {
    const preview = await put(FILES.preview.file);
    const before = await chain.write((snap) => previewed(snap, step, preview));
    if (before !== null) await discard(before.files.preview);
  });
  const checkpoints = newest(async (step) => {
    const file = await put(CHECKPOINT_FILE);
    stored = performance.now();
    const before = await chain.write((snap) => checkpointed(snap, { step, file }));
    if (before !== null) await discard(before.checkpoint?.file);
  });

  /** Stores what comes, one after the other; what comes meanwhile waits, and only the newest of it. */
  function newest(store: (step: number) => Promise<void>) {
    let waiting: number | null = null;
    let running: Promise<void> | null = null;
    let refused: string | null = null; // why the last one could not be stored
    async function run(): Promise<void> {
      while (waiting !== null && !stop.aborted) {
        const step: number = waiting;
        waiting = null;
        try {
          await store(step);
          refused = null;
        } catch (error) {
          const reason = reasonOf(error);
          if (reason !== refused && !stop.aborted) complain(`A file of job ${id} cannot be stored: ${reason}`);
          refused = reason;
        }
      }
      running = null;
    }
    return {
      want(step: number) {
        waiting = step;
        running ??= run();
      },
      settled: async () => await running,
    };
  }

  /** No record names it any more; what stays all the same is found later. */
  async function discard(file: FileRef | undefined): Promise<void> {
    if (file !== undefined) await chunks.remove(file).catch(() => {});
  }

  async function leave(): Promise<void> {
    leaving = true;
    await Promise.all([previews.settled(), checkpoints.settled()]);
  }

  /** The queue forgets the job. Asked once: where the answer is lost, whoever gets the message again finds that the job has ended. */
  async function settle(before: Snapshot): Promise<void> {
    await message.ackAck().catch(() => {});
    await discard(before.checkpoint?.file);
  }

  async function clear(): Promise<void> {
    await chain.close();
    await Deno.remove(folder, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) complain(`The files of job ${id} stay here: ${reasonOf(error)}`);
    });
  }

  /** Null where the job is not ours any more, or the machine stops. */
  async function insistently<T>(work: () => Promise<T>): Promise<T | null> {
    for (let complained = false;;) {
      try {
        stop.throwIfAborted();
        return await work();
      } catch (error) {
        if (stop.aborted) return null;
        if (!(error instanceof Fault)) throw error;
        if (!complained) complain(`What job ${id} made cannot be stored yet: ${error.message}`);
        complained = true;
      }
      await pause(RETRY, stop).catch(() => {});
    }
  }

  async function storeResults(): Promise<Partial<Record<FileName, FileRef>>> {
    const files: Partial<Record<FileName, FileRef>> = {};
    for (const [name, { file }] of Object.entries(FILES)) {
      if (await isThere(join(folder, file))) files[name as FileName] = await put(file);
    }
    return files;
  }

  return {
    record,
    folder,
    ended: chain.ended,
    started: chain.tellStarted,
    progress: chain.tellProgress,
    preview(step) {
      if (!leaving) previews.want(step);
    },
    saved(step) {
      saved = step;
      if (!leaving && performance.now() - stored >= checkpointEvery) checkpoints.want(step);
    },
    async succeed() {
      await leave();
      const files = await insistently(storeResults);
      const before = files && await chain.finish((snap) => succeeded(snap, { ...allOf(snap, files), at: now() }));
      if (before) {
        await settle(before);
        await discard(before.files.preview);
      }
      await clear();
    },
    async fail(problem: Problem) {
      await leave();
      const before = await chain.finish((snap) => failed(snap, problem, now()));
      if (before) await settle(before);
      await clear();
    },
    async giveBack({ died }) {
      await leave();
      if (saved > (chain.snap().checkpoint?.step ?? 0)) checkpoints.want(saved);
      await checkpoints.settled();
      const before = await chain.finish((snap) => {
        const fault = died ? poisonFault({ deaths: snap.deaths + 1, step: snap.step }) : null;
        return fault === null ? requeued(snap, { died }) : failed(snap, fault.problem, now());
      });
      if (before && chain.snap().status === "queued") message.nak(); // before the newer ones: it keeps its place
      else if (before) await settle(before);
      await clear();
    },
    async letGo() {
      await leave();
      if (chain.ended.reason === "canceled") await settle(chain.snap());
      await clear();
    },
  };
}

/** All the files that the job has in the end, and their bytes. */
function allOf(snap: Snapshot, made: Snapshot["files"]) {
  const files = { ...snap.files, ...made };
  const kept = filesOf({ ...snap, files, checkpoint: null });
  return { files, bytes: kept.reduce((sum, { bytes }) => sum + bytes, 0) };
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
