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

/** What `make` compiles, and its memory. What cannot even be addressed is null, and needs more than any device has. */
export function tryPlan(make: () => Compiled): { readonly memory: MemoryReport; readonly compiled: Compiled | null } {
  try {
    const compiled = make();
    return { memory: memoryOf(compiled), compiled };
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const [stateBytes, ioBytes] = [0, 0];
    const memory = { stateBytes, scratchBytes: Infinity, ioBytes, totalBytes: Infinity, largestBytes: Infinity };
    return { memory, compiled: null };
  }
}

export interface MemoryLimits {
  /** What cannot be done, for the message: `train`. */
  readonly action: string;
  readonly bindingBytes: number;
  readonly totalBytes?: number | undefined;
  /** What would make the plan smaller, best first: an option, its value now, and the plan at another value. */
  readonly options: readonly SizeOption[];
}

export interface SizeOption {
  readonly name: string;
  readonly value: number;
  planAt(value: number): MemoryReport;
}

const fits = (report: MemoryReport, limits: MemoryLimits) =>
  report.largestBytes <= limits.bindingBytes && report.totalBytes <= (limits.totalBytes ?? Infinity);

/** Sizes that are tried are multiples of this, in pixels; it is also the smallest. */
const GRAIN = 16;
const SMALLEST = 32;

/** Throws EngineError, naming a size that fits, unless the plan fits. */
export function refuseUnlessItFits(report: MemoryReport, limits: MemoryLimits): void {
  if (fits(report, limits)) return;
  const why = report.totalBytes === Infinity
    ? "its largest tensor is beyond every device"
    : report.largestBytes > limits.bindingBytes
    ? `its largest tensor is ${megabytes(report.largestBytes)}, and this device binds at most ${
      megabytes(limits.bindingBytes)
    } at once`
    : `it needs ${megabytes(report.totalBytes)}, and ${megabytes(limits.totalBytes!)} are free`;
  let remedy = "no smaller size would fit: a smaller model, or a device with more memory is needed";
  for (const option of limits.options) {
    const largest = largestThatFits(limits, option);
    if (largest === null) continue;
    remedy = `${option.name} ${largest} would fit`;
    break;
  }
  const at = limits.options.map(({ name, value }) => `${name} ${value}`).join(", ");
  throw new EngineError(`Cannot ${limits.action} at ${at}: ${why}; ${remedy}`, { kind: "memory" });
}

/** Plans grow with the size, so halving finds the largest multiple of GRAIN that fits. */
function largestThatFits(limits: MemoryLimits, option: SizeOption): number | null {
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
