/**
 * Adam on a slab: all parameters of a network in one dispatch, appended to a program that computes their gradient.
 *
 * m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps), t counted from 1
 * (Kingma and Ba 2015, arXiv:1412.6980). What changes from step to step, rate / (1 - b1^t) and 1 / (1 - b2^t), is fed.
 */
import type { BufferId, BufferRole, Program, Slice, Step } from "./ir/program.ts";
import { adamKernel } from "./wgsl/adam.ts";

export interface AdamOptions {
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  /** The state that is trained; its moments are the states `<name>.m` and `<name>.v`. */
  readonly state: string;
  /** The output of the program that is its gradient, of the same length. */
  readonly gradient: string;
}

/** The input to feed at each run, f32[2]. */
export const ADAM_INPUT = "adam";

/** What to feed at step t = 1, 2, ... */
export function adamFeed(t: number, rate: number, [b1, b2]: AdamOptions["betas"]): Float32Array {
  return Float32Array.of(rate / (1 - b1 ** t), 1 / (1 - b2 ** t));
}

/** The program with one more dispatch, which updates the state in place. */
export function withAdam(program: Program, options: AdamOptions): Program {
  const gradient = program.outputs.get(options.gradient);
  if (!gradient) throw new Error(`Bug: ${program.name} has no output ${options.gradient}`);
  const buffers = new Map(program.buffers);
  const length = gradient.bytes / 4;
  let next = Math.max(-1, ...buffers.keys()) + 1;
  const open = (bytes: number, role: BufferRole): BufferId => {
    const known = role.kind === "state" &&
      [...buffers].find(([, other]) => other.role.kind === "state" && other.role.name === role.name);
    if (known) return known[0];
    const id = next++ as BufferId;
    buffers.set(id, { bytes, role });
    return id;
  };
  const [weights, m, v] = [options.state, `${options.state}.m`, `${options.state}.v`].map((name) =>
    open(4 * length, { kind: "state", name })
  );
  const rates = open(8, { kind: "io" });
  const kernel = adamKernel({
    length,
    gradientOffset: gradient.offset / 4,
    betas: options.betas,
    epsilon: options.epsilon,
  });
  const step: Step = { kernel, args: [gradient.buffer, rates, weights, m, v], origin: "adam" };
  const fed: Slice = { buffer: rates, offset: 0, bytes: 8 };
  return {
    ...program,
    buffers,
    steps: [...program.steps, step],
    inputs: new Map([...program.inputs, [ADAM_INPUT, fed]]),
  };
}
