/**
 * Materialising: copies go in where a reader cannot read through a view, and only there.
 *
 * After this pass every operand is a layout of something stored, every operand of a contiguous-only kernel is contiguous, every
 * root and every piece of a concatenation is a stored value of its own or may become one.
 */
import type { Graph, Pass, Value } from "../ir/graph.ts";
import { apply, rebuild, valuesOf, withInputs } from "../ir/graph.ts";
import { isContiguous, type Layout, type Shape, sizeOf } from "../ir/type.ts";
import { elementwise } from "../ops/elementwise.ts";
import { fillOp } from "../ops/movement.ts";
import { baseOf, isView, layoutIn, literalOf, placeIn, readersOf } from "./views.ts";

const copy = (value: Value) => apply(elementwise, [value], { expression: "copy x0" });

/** The value as something strides can express: copies are put as deep as the first view that needs one. */
function expressible(value: Value): Value {
  const literal = literalOf(value);
  if (literal !== null) return apply(fillOp, [], { shape: value.type.shape, literal });
  if (!isView(value) || layoutIn(value) !== null) return value;
  const from = expressible(value.inputs[0]);
  const seen = withInputs(value, [from]);
  return layoutIn(seen) === null ? withInputs(value, [copy(from)]) : seen;
}

function asContiguous(value: Value): Value {
  const seen = expressible(value);
  return isContiguous(layoutIn(seen)!) ? seen : copy(seen);
}

const covers = (value: Value, layout: Layout) =>
  isContiguous(layout) && layout.offset === 0 && sizeOf(layout.shape) === sizeOf(baseOf(value).type.shape);

/** The stored value whose place can be inside a concatenation of that shape, or a copy. `alone`: nobody else reads it. */
function piece(
  value: Value,
  { shape, alone, taken }: { readonly shape: Shape; readonly alone: boolean; readonly taken: Set<Value> },
): Value {
  const seen = expressible(value);
  const base = baseOf(seen);
  const fits = covers(seen, layoutIn(seen)!) && base.kind === "apply" && base.op.lower.kind === "kernel" &&
    !taken.has(base);
  const place = fits ? placeIn(shape, seen) : null;
  // Who reads a piece by itself takes it to be contiguous.
  const strided = fits && base.op.lower.kind === "kernel" && base.op.lower.strided && alone;
  const result = place && (isContiguous(place) || strided) ? seen : copy(seen);
  taken.add(baseOf(result));
  return result;
}

export const materialise: Pass = {
  name: "materialise",
  run(graph) {
    // A root keeps a buffer of its own, so it cannot stand inside a concatenation.
    const taken = new Set<Value>();
    const rootsBefore = new Set([...graph.roots.values()].map(baseOf));
    const readers = readersOf(graph);
    const step = rebuild(graph, (value, inputs) => {
      if (value.kind !== "apply" || isView(value)) return withInputs(value, inputs);
      const { lower } = value.op;
      const ready = inputs.map((input, i) => {
        if (lower.kind === "concat") {
          const before = baseOf(value.inputs[i]);
          if (rootsBefore.has(before)) return copy(expressible(input));
          return piece(input, { shape: value.type.shape, alone: readers(before).size === 1, taken });
        }
        // The operands of an epilogue may lie anyhow, whatever the kernel asks of its own.
        const own = i < (value.attrs.operands as number | undefined ?? inputs.length);
        return own && lower.kind === "kernel" && lower.contiguous ? asContiguous(input) : expressible(input);
      });
      const made = withInputs(value, ready);
      return made;
    });
    const roots = new Map<string, Value>();
    const owned = new Set<Value>();
    for (const [name, value] of step.roots) {
      const seen = asContiguous(value);
      const base = baseOf(seen);
      const alone = base.kind === "apply" && covers(seen, layoutIn(seen)!) && !owned.has(base);
      const root = alone ? seen : copy(seen);
      owned.add(baseOf(root));
      roots.set(name, root);
    }
    return separated({ roots });
  },
};

/**
 * WebGPU forbids one buffer as read-only and writable in one dispatch: a piece that is computed from another piece of the same
 * concatenation gets a buffer of its own, and is copied.
 */
function separated(graph: Graph): Graph {
  const home = new Map<Value, Value>();
  const outer = (value: Value): Value => home.has(value) ? outer(home.get(value)!) : value;
  for (const value of valuesOf(graph)) {
    if (value.kind === "apply" && value.op.lower.kind === "concat") {
      value.inputs.forEach((input) => home.set(baseOf(input), value));
    }
  }
  const clashes = (base: Value) =>
    base.kind === "apply" && base.op.lower.kind === "kernel" &&
    base.inputs.some((from) => outer(baseOf(from)) === outer(base));
  if (!valuesOf(graph).some((value) => home.has(value) && clashes(value))) return graph;
  return rebuild(graph, (value, inputs) => {
    if (value.kind !== "apply" || value.op.lower.kind !== "concat") return withInputs(value, inputs);
    return withInputs(value, inputs.map((input, i) => clashes(baseOf(value.inputs[i])) ? copy(input) : input));
  });
}
