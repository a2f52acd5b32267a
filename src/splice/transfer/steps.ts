/**
 * The loop of a training: steps are queued a few at a time (at most ten, or a tenth of a second of work), and their losses read together, because read-backs
 * stall the host. What a step is, its owner says. Invariant: reports come in order, each step once, and a batch is reported before the next one is queued.
 */
import { EngineError, type Log, type Runtime } from "../../engine/mod.ts";
import type { Term } from "./objective.ts";

/** As many steps are read together as fit in this time, in ms. */
const BATCH_TIME = 100;
export const MOST_BATCH = 10;
/** Slower steps are queued one at a time, so that stopping is quick, in ms. */
const SLOW_STEP = 500;

/** What one step gave: unweighted mean squared errors of the terms that counted, and the weighted total. */
export interface StepReport {
  readonly step: number;
  readonly losses: Partial<Record<Term | "total", number>>;
  /** Wall time of the step, averaged over those read back together. */
  readonly ms: number;
  /** Among those was the first run of a program, which drivers compile then: `ms` is no measure of what follows. */
  readonly fresh: boolean;
}

export interface TrainOptions {
  readonly until: number;
  readonly signal?: AbortSignal;
  onSteps(reports: readonly StepReport[]): void | Promise<void>;
}

export interface StepLoop {
  /** Steps done. */
  step(): number;
  /** Trains until `until` steps are done or `signal` is aborted. @throws EngineError at a loss that is no finite number. */
  train(options: TrainOptions): Promise<void>;
}

export interface StepLoopOptions {
  readonly runtime: Runtime;
  /** Steps done before. */
  readonly done: number;
  readonly log: Log;
  /** Queues step t, its losses into a slot of the log. True if its program never ran before; null if `signal` stopped it, and then nothing of it is kept. */
  submit(t: number, slot: number, signal: AbortSignal | undefined): Promise<boolean | null>;
  /** A row of the log by name. */
  losses(t: number, row: Float32Array): StepReport["losses"];
  /** Now, for the message when a loss is no finite number. */
  readonly learningRate: number;
}

export function openStepLoop({ runtime, log, submit, losses: named, ...options }: StepLoopOptions): StepLoop {
  let done = options.done;
  let batch = 1; // the first step tells how long a step takes

  /** The losses of the steps from `first` on, checked; `rows` as the log holds them. */
  function collect(rows: Float32Array, first: number, timing: { ms: number; fresh: boolean }): StepReport[] {
    return Array.from({ length: rows.length / log.width }, (_, i) => {
      const step = first + i;
      const losses = named(step, rows.subarray(i * log.width, (i + 1) * log.width));
      for (const [term, value] of Object.entries(losses)) {
        if (!Number.isFinite(value)) {
          throw new EngineError(
            `Training stopped: at step ${step} the loss ${term} is ${value}. Try a lower learning_rate (now ${options.learningRate}) or another seed`,
          );
        }
      }
      return { step, losses, ...timing };
    });
  }

  return {
    step: () => done,
    async train({ until, signal, onSteps }) {
      while (done < until && !signal?.aborted) {
        const first = done;
        const wanted = Math.min(batch, until - first);
        const began = performance.now();
        let fresh = false;
        let count = 0;
        for (; count < wanted; count++) {
          const isFresh = await submit(first + count, count, signal);
          if (isFresh === null) break;
          fresh ||= isFresh;
        }
        if (count === 0) return;
        const rows = await runtime.readLog(log, count);
        const ms = (performance.now() - began) / count;
        const reports = collect(rows, first, { ms, fresh });
        done = first + count;
        batch = ms > SLOW_STEP ? 1 : Math.max(2, Math.min(MOST_BATCH, Math.floor(BATCH_TIME / ms)));
        await onSteps(reports);
      }
    },
  };
}
