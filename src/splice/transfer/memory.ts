/**
 * What a step will take of the device's memory, known before it is allocated; and the refusal, with a size that would fit.
 */
import { type Compiled, EngineError, type Program } from "../../engine/mod.ts";

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
  /** Why it cannot even be planned, where that is so. */
  readonly refusal?: string;
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

/** What `make` compiles, and its memory. What cannot even be planned is null, and needs more than any device has. */
export function tryPlan(make: () => Compiled): { readonly memory: MemoryReport; readonly compiled: Compiled | null } {
  try {
    const compiled = make();
    return { memory: memoryOf(compiled), compiled };
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const [most, refusal] = [Infinity, error.message];
    const memory = { stateBytes: 0, scratchBytes: most, ioBytes: 0, totalBytes: most, largestBytes: most, refusal };
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

/** The size of what the extractor sees: where it is to be smaller, the limit of the long side goes down with the short side. */
export function vitSideOption(
  { side, longest }: { readonly side: number; readonly longest: number },
  planAt: (side: number, longest: number) => MemoryReport,
): SizeOption {
  return {
    name: "vit_side",
    value: side,
    planAt: (smaller) => planAt(smaller, Math.floor(longest * smaller / side)),
  };
}

const fits = (report: MemoryReport, limits: MemoryLimits) =>
  report.largestBytes <= limits.bindingBytes && report.totalBytes <= (limits.totalBytes ?? Infinity);

/** Sizes that are tried are multiples of this, in pixels; it is also the smallest. */
const GRAIN = 16;
const SMALLEST = 32;

/** Throws EngineError, naming a size that fits, unless the plan fits. */
export function refuseUnlessItFits(report: MemoryReport, limits: MemoryLimits): void {
  if (fits(report, limits)) return;
  const why = report.refusal !== undefined
    ? `it cannot be planned (${report.refusal})`
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

/** Of the steps in which a size that did not fit is made smaller. */
const SHRINK = 0.95;

/**
 * A multiple of GRAIN that fits, and little more would. Planning takes a good part of a second, so sizes are not searched but guessed: memory grows nearly with the
 * area, and what a plan needs too much tells how far to go.
 */
function largestThatFits(limits: MemoryLimits, option: SizeOption): number | null {
  const grained = (size: number) => Math.max(SMALLEST, GRAIN * Math.floor(size / GRAIN));
  for (let size = option.value; size > SMALLEST;) {
    const { largestBytes, totalBytes } = option.planAt(size);
    const share = Math.min(limits.bindingBytes / largestBytes, (limits.totalBytes ?? Infinity) / totalBytes);
    if (share >= 1 && size < option.value) return size;
    const smaller = grained(size * (totalBytes === Infinity ? 0.5 : Math.min(SHRINK, Math.sqrt(share))));
    size = smaller < size ? smaller : size - GRAIN;
  }
  return SMALLEST < option.value && fits(option.planAt(SMALLEST), limits) ? SMALLEST : null;
}

export function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
