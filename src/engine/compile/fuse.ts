/**
 * Fusion: scalar chains become single `elementwise` ops, or run inside a neighbour: behind a product or convolution (epilogue),
 * before a reduction (prologue).
 *
 * A scalar value is stored only if someone needs it stored, or if computing it again for each of its readers would cost more
 * loads than reading it. Views are pushed through: a view of f(a, b) is f of the views. Invariant: same meaning, and no kernel
 * binds more than MAX_SOURCES tensors besides its result.
 */
import type { Apply, Graph, Pass, Value } from "../ir/graph.ts";
import { apply, inScope, valuesOf, withInputs } from "../ir/graph.ts";
import { isContiguous, sizeOf } from "../ir/type.ts";
import { full } from "../ops/broadcast.ts";
import {
  elementwise,
  elementwiseAttrs,
  evaluateExpression,
  expressionText,
  type Statement,
} from "../ops/elementwise.ts";
import { reshape } from "../ops/movement.ts";
import { fusedOp } from "./fused.ts";
import { baseOf, isScalar, isView, layoutIn, literalOf, readersOf } from "./views.ts";

/** WebGPU guarantees eight storage bindings; one is the result. */
const MAX_SOURCES = 7;
/** A chain longer than this is stored rather than computed again for a second reader. */
const MAX_RECOMPUTED = 14;
/** A chain that reads more full-sized tensors than this costs more to compute again than to read. */
const MAX_RECOMPUTED_LOADS = 2;

/** An expression over leaves, all of one shape. */
interface Form {
  readonly leaves: readonly Value[];
  readonly statements: readonly Statement[];
}

interface Plan {
  readonly readers: (value: Value) => ReadonlySet<Value>;
  /** Scalar values that get a buffer. */
  readonly stored: Set<Value>;
  /** Kernels that run at the place of the scalar value that becomes their epilogue, and back. */
  readonly epilogueOf: Map<Value, Apply>;
  readonly kernelOf: Map<Value, Apply>;
}

export const fuse: Pass = {
  name: "fuse",
  run(graph) {
    const plan = decide(graph);
    return construct(graph, plan);
  },
};

const takesPrologue = (value: Value) =>
  value.kind === "apply" && value.op.lower.kind === "kernel" && value.op.lower.prologue;
const takesEpilogue = (value: Value): value is Apply =>
  value.kind === "apply" && value.op.lower.kind === "kernel" && value.op.lower.epilogue;

/** The same views, over another base of the same shape. */
function throughViews(view: Value, base: Value): Value {
  return isView(view) ? apply(view.op, [throughViews(view.inputs[0], base)], view.attrs) : base;
}

/** Equal keys are the same elements in the same order. */
function leafKey(leaf: Value): string {
  const layout = layoutIn(leaf);
  return layout ? `${baseOf(leaf).id} ${layout.offset} ${layout.strides}` : `value ${leaf.id}`;
}

/** Collects leaves and statements; equal leaves and equal statements are kept once. */
function formBuilder(): {
  form: Form;
  leaf(value: Value): string;
  statement(op: string, args: readonly string[]): string;
} {
  const leaves: Value[] = [];
  const statements: Statement[] = [];
  const names = new Map<string, string>();
  const once = (key: string, make: () => string) => {
    if (!names.has(key)) names.set(key, make());
    return names.get(key)!;
  };
  return {
    form: { leaves, statements },
    leaf: (value) => once(leafKey(value), () => `x${leaves.push(value) - 1}`),
    statement: (op, args) => once(`${op} ${args}`, () => `%${statements.push({ op, args }) - 1}`),
  };
}

type Builder = ReturnType<typeof formBuilder>;

/** Adds what `value` is to the form, and returns the argument that stands for it. */
function include(builder: Builder, value: Value, plan: Plan, views: (leaf: Value) => Value): string {
  const literal = literalOf(value);
  if (literal !== null) return String(literal);
  const base = baseOf(value);
  if (!isScalar(base) || plan.stored.has(base)) return builder.leaf(views(value));
  const inner = (leaf: Value) => views(throughViews(value, leaf));
  return builder.statement(base.op.name, base.inputs.map((from) => include(builder, from, plan, inner)));
}

/** The chain of `value`, down to what is stored. */
function formOf(value: Apply, plan: Plan): Form {
  const builder = formBuilder();
  builder.statement(value.op.name, value.inputs.map((from) => include(builder, from, plan, (leaf) => leaf)));
  return builder.form;
}

/** The chains of all inputs of a kernel over common leaves; null where no input is a chain. */
function prologueOf(value: Apply, plan: Plan): { leaves: readonly Value[]; texts: string[] } | null {
  if (!takesPrologue(value)) return null;
  const chained = value.inputs.some((from) =>
    literalOf(from) !== null || (isScalar(baseOf(from)) && !plan.stored.has(baseOf(from)))
  );
  if (!chained) return null;
  const builder = formBuilder();
  const texts = value.inputs.map((from) => {
    const name = include(builder, from, plan, (leaf) => leaf);
    // Every input's text holds all statements so far; the compiler drops what an input does not use.
    const statements = [...builder.form.statements];
    const last = statements.length - 1;
    return expressionText(name === `%${last}` ? statements : [...statements, { op: "copy", args: [name] }]);
  });
  return builder.form.leaves.length === 0 ? null : { leaves: builder.form.leaves, texts };
}

/** How many tensors a kernel binds to read these; a view that strides cannot express will be copied, and is one of its own. */
const sources = (leaves: readonly Value[]) =>
  new Set(leaves.map((leaf) => layoutIn(leaf) === null ? leaf : baseOf(leaf))).size;

/** How many tensors a kernel binds before its epilogue. */
function boundBy(kernel: Apply, plan: Plan): number {
  const prologue = prologueOf(kernel, plan);
  return prologue ? sources(prologue.leaves) : kernel.inputs.length;
}

function decide(graph: Graph): Plan {
  const plan: Plan = { readers: readersOf(graph), stored: new Set(), epilogueOf: new Map(), kernelOf: new Map() };
  const roots = new Set([...graph.roots.values()].map(baseOf));
  const values = valuesOf(graph);

  /** Stores the longest chain below `value`, so that it binds fewer tensors; false where there is none left. */
  const shorten = (value: Apply): boolean => {
    const below = value.inputs.map(baseOf).filter((base): base is Apply => isScalar(base) && !plan.stored.has(base));
    if (below.length === 0) return false;
    plan.stored.add(below.reduce((a, b) => sources(formOf(b, plan).leaves) > sources(formOf(a, plan).leaves) ? b : a));
    return true;
  };

  for (const value of values) {
    if (takesPrologue(value)) {
      const apply = value as Apply;
      for (
        let form = prologueOf(apply, plan);
        form && sources(form.leaves) > MAX_SOURCES && shorten(apply);
        form = prologueOf(apply, plan)
      );
    }
    if (!isScalar(value)) continue;
    while (sources(formOf(value, plan).leaves) > MAX_SOURCES && shorten(value));
    if (roots.has(value) || mustStore(value, plan)) plan.stored.add(value);
  }

  /** The stored values and kernels in which a value ends up. */
  const ends = (value: Value): Set<Value> => {
    const found = new Set<Value>();
    for (const reader of plan.readers(value)) {
      if (isScalar(reader) && !plan.stored.has(reader)) ends(reader).forEach((end) => found.add(end));
      else found.add(reader);
    }
    return found;
  };

  for (const value of values) {
    if (!isScalar(value) || !plan.stored.has(value)) continue;
    const { leaves } = formOf(value, plan);
    const candidates = leaves.filter((leaf) => {
      const base = baseOf(leaf);
      if (
        !takesEpilogue(base) || roots.has(base) || plan.epilogueOf.has(base) ||
        sizeOf(base.type.shape) !== sizeOf(value.type.shape)
      ) return false;
      const layout = layoutIn(leaf);
      const rest = leaves.filter((other) => other !== leaf);
      return layout !== null && isContiguous(layout) && ends(base).size === 1 && rest.every((other) =>
        baseOf(other) !== base
      ) &&
        sources(rest) + boundBy(base, plan) <= MAX_SOURCES && rest.every((other) =>
          layoutIn(reshape(other, base.type.shape)) !== null
        );
    });
    const last = candidates.map((leaf) => baseOf(leaf) as Apply).sort((a, b) => a.id - b.id).at(-1);
    if (!last) continue;
    plan.epilogueOf.set(last, value);
    plan.kernelOf.set(value, last);
  }
  return plan;
}

function mustStore(value: Apply, plan: Plan): boolean {
  const readers = [...plan.readers(value)];
  if (readers.some((reader) => !isScalar(reader) && !takesPrologue(reader))) return true;
  const { leaves, statements } = formOf(value, plan);
  const size = sizeOf(value.type.shape);
  // Read through an expanding view, a chain would be computed once for every repetition.
  const grows = readers.some((reader) => sizeOf(reader.kind === "apply" ? reader.inputs[0].type.shape : []) > size);
  if (grows && (leaves.length > 1 || statements.length > 2)) return true;
  if (readers.length < 2) return false;
  const loads = new Set(leaves.filter((leaf) => sizeOf(baseOf(leaf).type.shape) * 2 > size).map(baseOf)).size;
  return loads > MAX_RECOMPUTED_LOADS || statements.length > MAX_RECOMPUTED;
}

function construct(graph: Graph, plan: Plan): Graph {
  const done = new Map<Value, Value>();
  /** What stands for a value: itself, a fused one, or the same views over it. */
  const now = (value: Value): Value => {
    const known = done.get(value);
    if (known) return known;
    if (!isView(value)) return value;
    const view = withInputs(value, [now(value.inputs[0])]);
    done.set(value, view);
    return view;
  };

  /** A kernel with its prologue, and with the chain that ends in `end` as its epilogue. */
  const finish = (kernel: Apply, end: Apply | null): Value => {
    const prologue = prologueOf(kernel, plan);
    const own = prologue ? prologue.leaves.map(now) : kernel.inputs.map(now);
    const attrs = {
      ...kernel.attrs,
      operands: own.length,
      ...(prologue ? { prologue: prologue.texts.join(" | ") } : {}),
    };
    if (!end) return prologue ? apply(fusedOp(kernel.op), own, attrs) : withInputs(kernel, own);
    const { leaves, statements } = formOf(end, plan);
    const result = leaves.findIndex((leaf) => baseOf(leaf) === kernel);
    const rest = leaves.filter((_, i) => i !== result);
    const name = (i: number) => i === result ? "x0" : `x${rest.indexOf(leaves[i]) + 1}`;
    const renamed = statements.map(({ op, args }) => ({
      op,
      args: args.map((arg) => arg[0] === "x" ? name(+arg.slice(1)) : arg),
    }));
    const operands = rest.map((leaf) => reshape(now(leaf), kernel.type.shape));
    return reshape(
      apply(fusedOp(kernel.op), [...own, ...operands], { ...attrs, epilogue: expressionText(renamed) }),
      end.type.shape,
    );
  };

  for (const value of valuesOf(graph)) {
    if (value.kind !== "apply" || isView(value)) continue;
    inScope(value.scope, () => {
      if (!isScalar(value)) {
        if (!plan.epilogueOf.has(value)) done.set(value, finish(value, null));
        return;
      }
      if (!plan.stored.has(value)) return;
      const kernel = plan.kernelOf.get(value);
      if (kernel) {
        done.set(value, finish(kernel, value));
        return;
      }
      const { leaves, statements } = formOf(value, plan);
      const made = leaves.length > 0
        ? apply(elementwise, leaves.map(now), elementwiseAttrs(statements))
        : full(value.type.shape, evaluateExpression(statements, []));
      done.set(value, made);
    });
  }
  return { roots: new Map([...graph.roots].map(([name, value]) => [name, now(value)])) };
}

/** The same graph without any fusion: every scalar op an elementwise kernel of its own. */
export function storeEverything(graph: Graph): Graph {
  const plan: Plan = {
    readers: readersOf(graph),
    stored: new Set(valuesOf(graph).filter(isScalar)),
    epilogueOf: new Map(),
    kernelOf: new Map(),
  };
  return construct(graph, plan);
}
