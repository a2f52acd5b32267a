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
import { elementwise, elementwiseAttrs, evaluateExpression, expressionText } from "../ops/elementwise.ts";
import { reshape } from "../ops/movement.ts";
import { formOf, prologueOf, takesPrologue } from "./chains.ts";
import { fusedOp } from "./fused.ts";
import { baseOf, isScalar, isView, layoutIn, readersOf } from "./views.ts";

/** WebGPU guarantees eight storage bindings; one is the result. */
const MAX_SOURCES = 7;
/** A chain longer than this is stored rather than computed again for a second reader. */
const MAX_RECOMPUTED = 14;
/** A chain that reads more full-sized tensors than this costs more to compute again than to read. */
const MAX_RECOMPUTED_LOADS = 2;
/** Read by so many times as many elements at most, as by the three colours of a pixel, a chain is computed for each of them rather than stored. */
const MAX_REPEATED = 4;

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

const takesEpilogue = (value: Value): value is Apply =>
  value.kind === "apply" && value.op.lower.kind === "kernel" && value.op.lower.epilogue;

/** How many tensors a kernel binds to read these; a view that strides cannot express will be copied, and is one of its own. */
const sources = (leaves: readonly Value[]) =>
  new Set(leaves.map((leaf) => layoutIn(leaf) === null ? leaf : baseOf(leaf))).size;

/** How many tensors a kernel binds before its epilogue. */
function boundBy(kernel: Apply, plan: Plan): number {
  const prologue = prologueOf(kernel, plan.stored);
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
    plan.stored.add(
      below.reduce((a, b) => sources(formOf(b, plan.stored).leaves) > sources(formOf(a, plan.stored).leaves) ? b : a),
    );
    return true;
  };

  for (const value of values) {
    if (takesPrologue(value)) {
      const apply = value as Apply;
      for (
        let form = prologueOf(apply, plan.stored);
        form && sources(form.leaves) > MAX_SOURCES && shorten(apply);
        form = prologueOf(apply, plan.stored)
      );
    }
    if (!isScalar(value)) continue;
    while (sources(formOf(value, plan.stored).leaves) > MAX_SOURCES && shorten(value));
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

  /** Where all who read a chain end up in one place, it is computed there: once, for equal statements are kept once. Whether it now is. */
  const moved = (value: Value): boolean => {
    if (!isScalar(value) || !plan.stored.has(value) || roots.has(value) || isReadWhole(value, plan)) return false;
    const [end, ...others] = ends(value);
    if (others.length > 0 || !isScalar(end)) return false;
    const readings = formOf(end, plan.stored).leaves.filter((leaf) => baseOf(leaf) === value).length;
    if (readings !== 1 || sizeOf(end.type.shape) > MAX_REPEATED * sizeOf(value.type.shape)) return false;
    plan.stored.delete(value);
    if (sources(formOf(end, plan.stored).leaves) <= MAX_SOURCES) return true;
    plan.stored.add(value);
    return false;
  };
  // Late chains first; what one of them reads no more may leave room for another.
  while (values.toReversed().filter(moved).length > 0);

  for (const value of values) {
    if (!isScalar(value) || !plan.stored.has(value)) continue;
    const { leaves } = formOf(value, plan.stored);
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

/** Whether a kernel needs it in a buffer. */
const isReadWhole = (value: Value, plan: Plan) =>
  [...plan.readers(value)].some((reader) => !isScalar(reader) && !takesPrologue(reader));

function mustStore(value: Apply, plan: Plan): boolean {
  const readers = [...plan.readers(value)];
  if (isReadWhole(value, plan)) return true;
  const { leaves, statements } = formOf(value, plan.stored);
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
    const prologue = prologueOf(kernel, plan.stored);
    const own = prologue ? prologue.leaves.map(now) : kernel.inputs.map(now);
    const attrs = {
      ...kernel.attrs,
      operands: own.length,
      ...(prologue ? { prologue: prologue.texts.join(" | ") } : {}),
    };
    if (!end) return prologue ? apply(fusedOp(kernel.op), own, attrs) : withInputs(kernel, own);
    const { leaves, statements } = formOf(end, plan.stored);
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
      const { leaves, statements } = formOf(value, plan.stored);
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
