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
  readonly bindingBytes: number;
  readonly totalBytes?: number;
  /** The longest side that was asked for, and the plan at another one. */
  readonly size: number;
  planAt(size: number): MemoryReport;
}

const fits = (report: MemoryReport, limits: MemoryLimits) =>
  report.largestBytes <= limits.bindingBytes && report.totalBytes <= (limits.totalBytes ?? Infinity);

/** Throws EngineError, naming a size that fits, unless the plan fits. */
export function refuseUnlessItFits(report: MemoryReport, limits: MemoryLimits): void {
  if (fits(report, limits)) return;
  let [least, most] = [0, limits.size];
  // Plans grow with the size, so halving finds the largest that fits to within 16 pixels.
  while (most - least > 16) {
    const middle = Math.floor((least + most) / 32) * 16;
    if (middle <= least || middle < 64) break;
    if (fits(limits.planAt(middle), limits)) least = middle;
    else most = middle;
  }
  const why = report.largestBytes > limits.bindingBytes
    ? `its largest tensor is ${megabytes(report.largestBytes)}, and this device binds at most ${
      megabytes(limits.bindingBytes)
    } at once`
    : `it needs ${megabytes(report.totalBytes)}, and ${megabytes(limits.totalBytes!)} are free`;
  const remedy = least > 0
    ? `size ${least} would fit`
    : "no smaller size would fit; choose a smaller model or device with more memory";
  throw new EngineError(`Cannot train at ${limits.size} pixels: ${why}; ${remedy}`);
}

export function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
