/**
 * From graph to program: a visible list of passes, then one dispatch per stored value.
 *
 * Work on frozen states alone is split off into a prelude, which runs once. No shape and no decision is left in what comes out.
 */
import type { Apply, Graph, Pass, Value } from "../ir/graph.ts";
import { describe } from "../ir/graph.ts";
import type { BufferId, Kernel, Operand, Profile, Program, Slice, Step } from "../ir/program.ts";
import { byteSize, EngineError, sizeOf } from "../ir/type.ts";
import { verify } from "../ir/verify.ts";
import { debugProgram, debugWatch } from "../debug.ts";
import { cutAbove } from "./cut.ts";
import { expandComposites } from "./expand.ts";
import { fuse, storeEverything } from "./fuse.ts";
import { hoist } from "./hoist.ts";
import { materialise } from "./materialise.ts";
import { BUDGET, type MemoryPlan, planMemory } from "./plan.ts";
import { recomputeAbove } from "./recompute.ts";
import { simplify } from "./simplify.ts";
import { baseOf, layoutIn } from "./views.ts";

/** In their order. */
export function passesFor({ profile, budget = BUDGET }: Pick<CompileOptions, "profile" | "budget">): readonly Pass[] {
  return [
    simplify,
    expandComposites(profile),
    simplify,
    cutAbove(profile.maxBindingBytes),
    fuse,
    materialise,
    recomputeAbove(budget),
  ];
}

export interface CompileOptions {
  readonly profile: Profile;
  /** false: every op a kernel of its own, for tests and for finding a pass that errs. */
  readonly fuse?: boolean;
  /** Bytes to hold at most beside states and results, as far as computing again what is cheap makes that possible; BUDGET unless given. */
  readonly budget?: number;
  /** Called with the graph after each pass. */
  readonly watch?: (pass: string, graph: Graph) => void;
}

const forLargeGraphs: ReadonlySet<string> = new Set(["cut", "recompute"]);

/** The graph after every pass. */
export function lowered(graph: Graph, options: CompileOptions): Graph {
  let now = graph;
  for (const pass of passesFor(options)) {
    const before = now;
    if (pass === fuse && options.fuse === false) now = storeEverything(now);
    else now = pass.run(now);
    verify(now, pass.name);
    // What only large graphs need is not shown of others.
    if (now !== before || !forLargeGraphs.has(pass.name)) options.watch?.(pass.name, now);
  }
  return now;
}

export interface Compiled {
  /** Runs once, after states are loaded; null where there is nothing to do. Its outputs are states of the same names. */
  readonly prelude: Program | null;
  readonly step: Program;
}

export function compile(name: string, graph: Graph, options: CompileOptions): Compiled {
  const { step, prelude } = hoist(simplify.run(graph));
  const program = (name: string, graph: Graph, results: "io" | "state"): Program => {
    const made = emit(name, lowered(graph, { watch: debugWatch(name), ...options }), { ...options, results });
    debugProgram(made);
    return made;
  };
  return {
    prelude: prelude.roots.size === 0 ? null : program(`${name}.prelude`, prelude, "state"),
    step: program(name, step, "io"),
  };
}

function emit(
  name: string,
  graph: Graph,
  { profile, budget, results }: CompileOptions & { readonly results: "io" | "state" },
): Program {
  const plan = planMemory(graph, results, budget);
  const met = [...plan.placement.keys(), ...plan.order.flatMap(({ inputs }) => inputs)];
  const large = met.find(({ type }) => sizeOf(type.shape) > 0x7fffffff);
  if (large) throw new EngineError(`Cannot address ${describe(large)}: more than 2^31 elements`, { kind: "memory" });
  const steps: Step[] = [];
  for (const value of plan.order) {
    if (value.op.lower.kind === "concat") continue;
    steps.push(dispatch(value, plan, profile));
  }
  const slice = (value: Value): Slice => {
    const { buffer, layout } = plan.placement.get(baseOf(value))!;
    return { buffer, offset: 4 * (layout.offset + layoutIn(value)!.offset), bytes: byteSize(value.type) };
  };
  const inputs = new Map<string, Slice>();
  for (const value of plan.placement.keys()) if (value.kind === "input") inputs.set(value.name, slice(value));
  return {
    name,
    steps,
    buffers: plan.buffers,
    inputs,
    outputs: new Map([...graph.roots].map(([root, value]) => [root, slice(value)])),
  };
}

function dispatch(value: Apply, plan: MemoryPlan, profile: Profile): Step {
  const { lower } = value.op;
  if (lower.kind !== "kernel") throw new Error(`Bug: ${describe(value)} reached emission`);
  const at = (operand: Value): { buffer: BufferId; operand: Operand } => {
    const { buffer, layout: { offset } } = plan.placement.get(baseOf(operand))!;
    const layout = layoutIn(operand)!;
    return { buffer, operand: { type: operand.type, layout: { ...layout, offset: layout.offset + offset } } };
  };
  const inputs = value.inputs.map(at);
  const target = plan.placement.get(value)!;
  // Operands of chains share a binding where they share a buffer; an op's own inputs have one each.
  const own = value.attrs.operands as number | undefined ?? inputs.length;
  const chained = value.op.name === "elementwise" || value.attrs.prologue !== undefined;
  const groups = [inputs.slice(0, own), inputs.slice(own)].map((group, i) => numbered(group, i === 1 || chained));
  const output: Operand = { type: value.type, layout: target.layout };
  const large = [...inputs.map(({ operand }) => operand), output].some(({ type, layout }) =>
    layout.offset + sizeOf(type.shape) > 0x7fffffff
  );
  if (large) {
    throw new EngineError(`Cannot address what ${describe(value)} reads or writes: more than 2^31 elements`, {
      kind: "memory",
    });
  }
  let kernel: Kernel;
  try {
    kernel = lower.build({
      inputs: groups.flatMap((group) => group.operands),
      output,
      attrs: value.attrs,
      prologue: null,
      epilogue: null,
      profile,
    });
  } catch (error) {
    throw error instanceof EngineError
      ? error
      : new Error(`Bug: cannot build ${describe(value)}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
  }
  const args = [...groups.flatMap((group) => group.buffers), target.buffer];
  if (args.length !== kernel.access.length) {
    throw new Error(`Bug: ${describe(value)} binds ${args.length} buffers, its kernel ${kernel.access.length}`);
  }
  return { kernel, args, origin: value.scope };
}

/** Operands with their sources numbered, and the buffers to bind for them. */
function numbered(
  group: readonly { buffer: BufferId; operand: Operand }[],
  share: boolean,
): { operands: Operand[]; buffers: BufferId[] } {
  if (!share) return { operands: group.map(({ operand }) => operand), buffers: group.map(({ buffer }) => buffer) };
  const buffers = [...new Set(group.map(({ buffer }) => buffer))];
  return { operands: group.map(({ buffer, operand }) => ({ ...operand, source: buffers.indexOf(buffer) })), buffers };
}
