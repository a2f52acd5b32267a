/**
 * Jobs out of the ledger for the workers of this machine, who work in the jobs' own folders. Invariant: a job that is running in the ledger is held by exactly one lease, or
 * by none while the server starts.
 */
import { Fault } from "../model/job.ts";
import { poisonFault } from "../model/poison.ts";
import type { JobSource, Lease } from "../model/ports.ts";
import type { JobRecord } from "../model/record.ts";
import type { DataFiles } from "./files.ts";
import type { Ledger } from "./ledger.ts";

/** What the ledger could not take, over a full disk for one, it is offered again after this, in ms. */
const RETRY = 1000;

export interface SourceOptions {
  readonly ledger: Ledger;
  readonly files: Pick<DataFiles, "jobFolder" | "sizeOf" | "dropCheckpoint">;
  /** What cannot be written then is found as it was by the next start, and goes on from there. */
  readonly stopping: AbortSignal;
  log(text: string): void;
}

export function openSource({ ledger, files, stopping, log }: SourceOptions): JobSource {
  function complain(what: string, error: unknown): void {
    log(`${what}: ${error instanceof Error ? error.stack : error}`);
  }

  /** Resolves when jobs have changed, the time is over, or the signal is aborted. */
  function news(signal: AbortSignal, patience?: number): Promise<void> {
    return new Promise((resolve) => {
      const forget = ledger.onChange(done);
      const timer = patience === undefined ? undefined : setTimeout(done, patience);
      signal.addEventListener("abort", done);
      function done(): void {
        forget();
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      }
      if (signal.aborted) done();
    });
  }

  /** Does now, or as soon as the ledger takes it, what must not be lost. */
  async function insist(id: string, write: () => void): Promise<void> {
    for (let first = true;; first = false) {
      try {
        return write();
      } catch (error) {
        if (stopping.aborted) return;
        if (first) complain(`what became of job ${id} cannot be noted yet`, error);
        await news(stopping, RETRY);
      }
    }
  }

  function lease(record: JobRecord): Lease {
    const { id } = record.job;
    const ended = new AbortController();
    let writing = false; // the change that this makes is no news to the lease
    const forget = ledger.onChange((changed) => {
      if (changed !== id || writing || ledger.get(id)?.job.status === "running") return;
      forget();
      ended.abort("canceled");
    });
    async function end(write: () => void): Promise<void> {
      await insist(id, () => ended.signal.aborted ? undefined : settle(write));
    }
    function settle(write: () => void): void {
      writing = true;
      try {
        write();
        forget();
      } finally {
        writing = false;
      }
    }
    const dropCheckpoint = () =>
      files.dropCheckpoint(id).catch((error) => complain(`the checkpoint of job ${id} stays`, error));

    return {
      record,
      folder: files.jobFolder(id),
      ended: ended.signal,
      started: (event) => ledger.started(id, event),
      progress: (event, seconds) => ledger.progress(id, event, seconds),
      preview: (step) => ledger.preview(id, step),
      saved: () => {}, // it lies where it is looked for
      async succeed() {
        const bytes = await files.sizeOf(id).catch(() => 0);
        await end(() => ledger.succeed(id, bytes));
      },
      async fail(problem) {
        await end(() => ledger.fail(id, problem));
        await dropCheckpoint();
      },
      async giveBack({ died }) {
        await end(() => {
          const now = ledger.get(id);
          const fault = died && now ? poisonFault({ deaths: now.deaths + 1, step: now.job.step }) : null;
          if (fault === null) ledger.requeue(id, { died });
          else ledger.fail(id, fault.problem);
        });
      },
      letGo: dropCheckpoint,
    };
  }

  return {
    async next(signal) {
      let failing = false;
      while (!signal.aborted) {
        try {
          const record = ledger.claim();
          if (record !== null) return lease(record);
          failing = false;
        } catch (error) {
          if (!failing && !(error instanceof Fault)) complain("no job can be started yet", error);
          failing = true;
        }
        await news(signal, failing ? RETRY : undefined);
      }
      return null;
    },
  };
}
