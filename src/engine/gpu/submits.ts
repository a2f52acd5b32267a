/**
 * How a program reaches the queue: in one submit where the GPU is fast, else in several. Systems end what holds a GPU for a second or two (Windows: TdrDelay, two seconds),
 * and the device with it; and between two submits whoever waits can be heard. Which dispatches go together follows from their cost and the rate seen so far.
 *
 * Invariant: a run that is stopped between two submits has written no state, so that it is as if it had never begun.
 */
import type { Kernel, Program } from "../ir/program.ts";
import type { Gpu } from "./device.ts";
import { dispatch, type Loaded } from "./loaded.ts";

/** A submit is meant to last at most this long, in ms. */
const LONGEST = 250;
/** Work a ms before any was timed: the rate of a slow machine's cores, so that the first submits are short on all others. */
const FIRST_RATE = 1e7;
/** A submit that was timed raises the rate to at most this many times itself. */
const GROWTH = 8;
/** Work, in flops, of a byte that is moved and of a dispatch by itself. */
const BYTE = 16;
const DISPATCH = 1e5;

export const workOf = ({ cost }: Kernel): number => cost.flops + BYTE * cost.bytes + DISPATCH;

/** The end of the submit that begins with dispatch `from`: as many as fit into `budget`, at least one. */
export function cut(works: readonly number[], from: number, budget: number): number {
  let end = from + 1;
  for (let sum = works[from]; end < works.length && sum + works[end] <= budget; end++) sum += works[end];
  return Math.min(end, works.length);
}

/** The first dispatch that writes a state, from which on a run is not stopped; all of them where none does. */
function firstLasting({ steps, buffers }: Program): number {
  const found = steps.findIndex(({ kernel, args }) =>
    kernel.access.some((access, i) => access !== "read" && buffers.get(args[i])?.role.kind === "state")
  );
  return found < 0 ? steps.length : found;
}

export interface Submits {
  /**
   * Submits all of a program's commands, `finish` being recorded behind the last. Resolves to how many submits it took, as soon as the last is on its way; or to null if
   * `signal` was aborted between two.
   */
  run(
    loaded: Loaded,
    finish: (encoder: GPUCommandEncoder) => void,
    signal?: AbortSignal,
  ): Promise<number | null>;
}

interface Known {
  readonly works: readonly number[];
  readonly lasting: number;
  /** Work a ms; null before this program was timed. */
  rate: number | null;
}

export function openSubmits({ device }: Gpu): Submits {
  const programs = new WeakMap<Loaded, Known>();
  let usual = FIRST_RATE;

  function know(loaded: Loaded): Known {
    const known = programs.get(loaded) ?? {
      works: loaded.program.steps.map(({ kernel }) => workOf(kernel)),
      lasting: firstLasting(loaded.program),
      rate: null,
    };
    programs.set(loaded, known);
    return known;
  }

  return {
    async run(loaded, finish, signal) {
      const known = know(loaded);
      const { works, lasting } = known;
      let count = 0;
      for (let from = 0; count === 0 || from < works.length;) {
        if (count > 0 && from <= lasting && signal?.aborted) return null;
        const rate = known.rate ?? usual;
        const end = works.length === 0 ? 0 : cut(works, from, LONGEST * rate);
        const encoder = device.createCommandEncoder({ label: loaded.program.name });
        const pass = encoder.beginComputePass({ label: loaded.program.name });
        for (const command of loaded.commands.slice(from, end)) dispatch(command, pass);
        pass.end();
        if (end === works.length) finish(encoder);
        const began = performance.now();
        device.queue.submit([encoder.finish()]);
        count++;
        const whole = from === 0 && end === works.length;
        if (!whole) {
          await device.queue.onSubmittedWorkDone();
          const work = works.slice(from, end).reduce((sum, each) => sum + each, 0);
          const seen = work / Math.max(performance.now() - began, 0.1);
          usual = known.rate = Math.min(seen, GROWTH * rate);
          await new Promise((resolve) => setTimeout(resolve)); // signals and messages have their turn
        }
        from = end;
      }
      return count;
    },
  };
}
