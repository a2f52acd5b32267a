/**
 * The graph: what is computed. Values are immutable and typed, know no GPU, and are made only by the functions here.
 *
 * A graph is what its roots reach, so dead code cannot exist. Ids rise in the order of construction; everything behind keeps
 * that order, so whoever builds a graph decides in which order a step runs (and with it what must be held in memory).
 */
import type { Kernel, KernelRequest, Profile } from "./program.ts";
import type { Attrs, Layout, TensorType } from "./type.ts";
import { EngineError, typeText } from "./type.ts";

export type ValueId = number & { readonly brand: "ValueId" };

export type Value =
  & { readonly id: ValueId; readonly type: TensorType; readonly scope: string }
  & (
    | { readonly kind: "input"; readonly name: string } // fed before a run
    | { readonly kind: "state"; readonly name: string; readonly trained: boolean } // lives across runs
    | { readonly kind: "const"; readonly literal: number }
    | { readonly kind: "apply"; readonly op: Op; readonly inputs: readonly Value[]; readonly attrs: Attrs }
  );
export type Apply = Extract<Value, { kind: "apply" }>;

export type Graph = { readonly roots: ReadonlyMap<string, Value> };
export type Pass = { readonly name: string; run(graph: Graph): Graph };

/** One operation, declared once: its type rule, its meaning, its gradient and how it reaches the GPU. */
export interface Op {
  readonly name: string;
  /** The only place where shapes are checked. Throws EngineError. */
  infer(inputs: readonly TensorType[], attrs: Attrs): TensorType;
  /** Slow, obvious, f64: the oracle of the tests. Inputs and result are row-major. */
  meaning(inputs: readonly Float64Array[], types: readonly TensorType[], attrs: Attrs): Float64Array;
  /** One gradient per input (null: none), as more graph. */
  pullback(at: { g: Value; out: Value; inputs: readonly Value[]; attrs: Attrs }): readonly (Value | null)[];
  readonly lower: Lowering;
}

export type Lowering =
  /** An index map: no work, or null where this layout cannot be expressed and the operand must be copied first. */
  | { readonly kind: "view"; layout(from: Layout, to: TensorType, attrs: Attrs): Layout | null }
  /** One WGSL expression an element; fuses into its neighbours. */
  | { readonly kind: "scalar" }
  /** Written in terms of other ops; replaced by `expand` before fusion. */
  | { readonly kind: "graph"; expand(inputs: readonly Value[], attrs: Attrs, profile: Profile): Value }
  /** A concatenation along `attrs.axis`: its inputs are computed right into their places. */
  | { readonly kind: "concat" }
  | {
    readonly kind: "kernel";
    /** A scalar chain behind the result may run before it is stored. */
    readonly epilogue: boolean;
    /** Scalar chains before an input may run as it is loaded. */
    readonly prologue: boolean;
    /** Operands must be contiguous (at any offset); others are copied first. */
    readonly contiguous?: boolean;
    /** The result may lie in any strides, as a piece of something wider does. */
    readonly strided?: boolean;
    build(request: KernelRequest): Kernel;
  };

let nextId = 0;
let scopePath = "";

/** Runs `build` with `name` appended to the scope of every value made in it; scopes label timelines and errors. */
export function withScope<T>(name: string, build: () => T): T {
  return inScope(scopePath === "" ? name : `${scopePath}.${name}`, build);
}

/** Runs `build` with exactly this scope: passes use it to keep the origin of what they rewrite. */
export function inScope<T>(scope: string, build: () => T): T {
  const outer = scopePath;
  scopePath = scope;
  try {
    return build();
  } catch (error) {
    if (!(error instanceof EngineError) || scope === "" || error.message.includes("(at ")) throw error;
    throw new EngineError(`${error.message} (at ${scope})`, { cause: error });
  } finally {
    scopePath = outer;
  }
}

function base(type: TensorType): { id: ValueId; type: TensorType; scope: string } {
  return { id: nextId++ as ValueId, type, scope: scopePath };
}

/** A tensor that is fed before each run. */
export function input(name: string, type: TensorType): Value {
  return { ...base(type), kind: "input", name };
}

/** A tensor that lives across runs; a frozen one (`trained: false`) never changes, and work on frozen states is done once. */
export function state(name: string, type: TensorType, options: { trained: boolean }): Value {
  return { ...base(type), kind: "state", name, trained: options.trained };
}

/** A scalar literal, f32[]. There is one zero: texts, by which literals are compared, know no sign of it. */
export function constant(literal: number): Value {
  return { ...base({ dtype: "f32", shape: [] }), kind: "const", literal: literal === 0 ? 0 : literal };
}

/** Applies an op; its type rule runs here, so an ill-typed graph cannot be built. */
export function apply(op: Op, inputs: readonly Value[], attrs: Attrs = {}): Value {
  const type = op.infer(inputs.map((value) => value.type), attrs);
  return { ...base(type), kind: "apply", op, inputs, attrs };
}

/** A short account of one value for errors: `%12 matmul f32[64,64] (at x.block0)`. */
export function describe(value: Value): string {
  const what = value.kind === "apply"
    ? value.op.name
    : value.kind === "const"
    ? String(value.literal)
    : `${value.kind} ${value.name}`;
  return `%${value.id} ${what} ${typeText(value.type)}${value.scope ? ` (at ${value.scope})` : ""}`;
}

export function inputsOf(value: Value): readonly Value[] {
  return value.kind === "apply" ? value.inputs : [];
}

/** Every value the roots reach, in the order of construction, which is topological. */
export function valuesOf(graph: Graph): Value[] {
  return reachable([...graph.roots.values()]);
}

export function reachable(roots: readonly Value[]): Value[] {
  const seen = new Set<Value>();
  const stack = [...roots];
  while (stack.length > 0) {
    const value = stack.pop()!;
    if (seen.has(value)) continue;
    seen.add(value);
    stack.push(...inputsOf(value));
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/** How many values (and roots) read each value. */
export function consumersOf(graph: Graph): Map<Value, Value[]> {
  const consumers = new Map<Value, Value[]>();
  for (const value of valuesOf(graph)) {
    for (const from of inputsOf(value)) {
      const list = consumers.get(from);
      if (list) list.push(value);
      else consumers.set(from, [value]);
    }
  }
  return consumers;
}

/**
 * Rebuilds a graph bottom-up: `rewrite` sees each value with its inputs already rewritten and returns what stands for it.
 * Order and scopes are kept.
 */
export function rebuild(graph: Graph, rewrite: (value: Value, inputs: readonly Value[]) => Value): Graph {
  const now = new Map<Value, Value>();
  for (const value of valuesOf(graph)) {
    const inputs = inputsOf(value).map((from) => now.get(from)!);
    now.set(value, inScope(value.scope, () => rewrite(value, inputs)));
  }
  return { roots: new Map([...graph.roots].map(([name, value]) => [name, now.get(value)!])) };
}

/** The value with other inputs, made anew: in a rebuilt graph ids again rise in the order of construction. */
export function withInputs(value: Value, inputs: readonly Value[]): Value {
  return value.kind === "apply" ? apply(value.op, inputs, value.attrs) : value;
}
