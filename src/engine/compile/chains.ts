/**
 * Chains: what stands between a scalar value and what is stored, as one expression over leaves. Which values are stored is for others to decide (fuse.ts).
 */
import type { Apply, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import { expressionText, type Statement } from "../ops/elementwise.ts";
import { baseOf, isScalar, isView, layoutIn, literalOf } from "./views.ts";

/** Scalar values that get a buffer. */
type Stored = ReadonlySet<Value>;

/** An expression over leaves, all of one shape. */
interface Form {
  readonly leaves: readonly Value[];
  readonly statements: readonly Statement[];
}

/** Whether a kernel can compute a chain as it loads its inputs. */
export const takesPrologue = (value: Value) =>
  value.kind === "apply" && value.op.lower.kind === "kernel" && value.op.lower.prologue;

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
function include(builder: Builder, value: Value, stored: Stored, views: (leaf: Value) => Value): string {
  const literal = literalOf(value);
  if (literal !== null) return String(literal);
  const base = baseOf(value);
  if (!isScalar(base) || stored.has(base)) return builder.leaf(views(value));
  const inner = (leaf: Value) => views(throughViews(value, leaf));
  return builder.statement(base.op.name, base.inputs.map((from) => include(builder, from, stored, inner)));
}

/** The chain of `value`, down to what is stored. */
export function formOf(value: Apply, stored: Stored): Form {
  const builder = formBuilder();
  builder.statement(value.op.name, value.inputs.map((from) => include(builder, from, stored, (leaf) => leaf)));
  return builder.form;
}

/** The chains of all inputs of a kernel over common leaves; null where no input is a chain. */
export function prologueOf(value: Apply, stored: Stored): { leaves: readonly Value[]; texts: string[] } | null {
  if (!takesPrologue(value)) return null;
  const chained = value.inputs.some((from) =>
    literalOf(from) !== null || (isScalar(baseOf(from)) && !stored.has(baseOf(from)))
  );
  if (!chained) return null;
  const builder = formBuilder();
  const texts = value.inputs.map((from) => {
    const name = include(builder, from, stored, (leaf) => leaf);
    // Every input's text holds all statements so far; the compiler drops what an input does not use.
    const statements = [...builder.form.statements];
    const last = statements.length - 1;
    return expressionText(name === `%${last}` ? statements : [...statements, { op: "copy", args: [name] }]);
  });
  return builder.form.leaves.length === 0 ? null : { leaves: builder.form.leaves, texts };
}
