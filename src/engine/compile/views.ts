/**
 * Resolving views: from a value to the one that is stored, and the layout through which it is seen.
 */
import { type Apply, consumersOf, type Graph, type Lowering, type Op, type Value } from "../ir/graph.ts";
import { contiguous, contiguousStrides, type Layout, reshapeLayout, type Shape } from "../ir/type.ts";

type Lowered<Kind extends Lowering["kind"]> = Apply & {
  readonly op: Op & { readonly lower: Extract<Lowering, { kind: Kind }> };
};

export function isView(value: Value): value is Lowered<"view"> {
  return value.kind === "apply" && value.op.lower.kind === "view";
}

export function isScalar(value: Value): value is Lowered<"scalar"> {
  return value.kind === "apply" && value.op.lower.kind === "scalar";
}

/** The stored value behind a chain of views. */
export function baseOf(value: Value): Value {
  return isView(value) ? baseOf(value.inputs[0]) : value;
}

/** Where the elements of `value` lie in its base (offset 0 is the base's first element), or null where strides cannot say. */
export function layoutIn(value: Value): Layout | null {
  if (!isView(value)) return contiguous(value.type.shape);
  const from = layoutIn(value.inputs[0]);
  return from && value.op.lower.layout(from, value.type, value.attrs);
}

/** The literal behind a chain of views of a constant, or null. */
export function literalOf(value: Value): number | null {
  const base = baseOf(value);
  return base.kind === "const" ? base.literal : null;
}

/** Who reads each value, views skipped. */
export function readersOf(graph: Graph): (value: Value) => ReadonlySet<Value> {
  const consumers = consumersOf(graph);
  const known = new Map<Value, Set<Value>>();
  return function readers(value) {
    let set = known.get(value);
    if (!set) {
      set = new Set<Value>();
      for (const consumer of consumers.get(value) ?? []) {
        if (isView(consumer)) readers(consumer).forEach((reader) => set!.add(reader));
        else set.add(consumer);
      }
      known.set(value, set);
    }
    return set;
  };
}

/** How the stored value behind a piece lies in a concatenation of that shape, from where the piece begins; null where strides cannot say. */
export function placeIn(shape: Shape, piece: Value): Layout | null {
  const place = { offset: 0, shape: piece.type.shape, strides: contiguousStrides(shape) };
  return reshapeLayout(place, baseOf(piece).type.shape);
}
