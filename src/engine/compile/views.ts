/**
 * Resolving views: from a value to the one that is stored, and the layout through which it is seen.
 */
import type { Apply, Lowering, Op, Value } from "../ir/graph.ts";
import { contiguous, type Layout } from "../ir/type.ts";

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
