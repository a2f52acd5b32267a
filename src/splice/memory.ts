/**
 * What a step will take of the device's memory, known before it is allocated; and the refusal, with a size that would fit.
 */
import { type Compiled, EngineError, type Program } from "../engine/mod.ts";

export interface MemoryReport {
  /** Weights, parameters, moments, photographs and what is computed once. */
  readonly stateBytes: number;
  /** Activations and gradients: buffers reused within a step. */
  readonly scratchBytes: number;
  /** Inputs and results. */
  readonly ioBytes: number;
  readonly totalBytes: number;
  /** The largest single tensor: it must fit into one binding. */
  readonly largestBytes: number;
}

/** Adds up the plans of a step and its prelude; states count once, scratch is shared. */
export function memoryOf({ prelude, step }: Compiled): MemoryReport {
  const programs: Program[] = prelude ? [step, prelude] : [step];
  const states = new Map<string, number>();
  let [ioBytes, scratchBytes, largestBytes] = [0, 0, 0];
  for (const program of programs) {
    let scratch = 0;
    for (const { bytes, role } of program.buffers.values()) {
      largestBytes = Math.max(largestBytes, bytes);
      switch (role.kind) {
        case "state":
          states.set(role.name, bytes);
          break;
        case "scratch":
          scratch += bytes;
          break;
        case "io":
          ioBytes += bytes;
          break;
        default:
          role satisfies never;
      }
    }
    scratchBytes = Math.max(scratchBytes, scratch);
  }
  const stateBytes = [...states.values()].reduce((a, b) => a + b, 0);
  return { stateBytes, scratchBytes, ioBytes, totalBytes: stateBytes + scratchBytes + ioBytes, largestBytes };
}

export interface MemoryLimits {
  /** What cannot be done, for the message: `train`. */
  readonly action: string;
  readonly bindingBytes: number;
  readonly totalBytes?: number | undefined;
  /** The option that would make the plan smaller, its value now, and the plan at another value; null where there is none. */
  readonly option: { readonly name: string; readonly value: number; planAt(value: number): MemoryReport } | null;
}

const fits = (report: MemoryReport, limits: MemoryLimits) =>
  report.largestBytes <= limits.bindingBytes && report.totalBytes <= (limits.totalBytes ?? Infinity);

/** Sizes that are tried are multiples of this, in pixels; it is also the smallest. */
const GRAIN = 16;
const SMALLEST = 32;

/** Throws EngineError, naming a size that fits, unless the plan fits. */
export function refuseUnlessItFits(report: MemoryReport, limits: MemoryLimits): void {
  if (fits(report, limits)) return;
  const { option } = limits;
  const why = report.largestBytes > limits.bindingBytes
    ? `its largest tensor is ${megabytes(report.largestBytes)}, and this device binds at most ${
      megabytes(limits.bindingBytes)
    } at once`
    : `it needs ${megabytes(report.totalBytes)}, and ${megabytes(limits.totalBytes!)} are free`;
  const largest = option ? largestThatFits(limits, option) : null;
  const remedy = option && largest !== null
    ? `${option.name} ${largest} would fit`
    : "no smaller size would fit; use a smaller model, a smaller picture or a device with more memory";
  throw new EngineError(`Cannot ${limits.action}${option ? ` at ${option.value} pixels` : ""}: ${why}; ${remedy}`);
}

/** Plans grow with the size, so halving finds the largest multiple of GRAIN that fits. */
function largestThatFits(limits: MemoryLimits, option: NonNullable<MemoryLimits["option"]>): number | null {
  const good = (value: number) => fits(option.planAt(value), limits);
  let [least, most] = [SMALLEST / GRAIN, Math.ceil(option.value / GRAIN)];
  if (SMALLEST >= option.value || !good(SMALLEST)) return null;
  while (most - least > 1) {
    const middle = Math.floor((least + most) / 2);
    if (good(middle * GRAIN)) least = middle;
    else most = middle;
  }
  return least * GRAIN;
}

export function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
