/**
 * Local rewrites, and one copy of what was written twice (common subexpressions). The rules are a table: each is one identity.
 */
import type { Apply, Graph, Pass, Value } from "../ir/graph.ts";
import { apply, rebuild, withInputs } from "../ir/graph.ts";
import { sameShape } from "../ir/type.ts";
import { full } from "../ops/broadcast.ts";
import { scalarOps } from "../ops/elementwise.ts";
import { concatOp, embedOp, list, sliceOp } from "../ops/movement.ts";
import { isScalar, literalOf } from "./views.ts";

type Rule = (value: Apply) => Value | null;

const zero = (value: Apply) => full(value.type.shape, 0);

/** A scalar op on literals is a literal. */
const fold: Rule = ({ op, type, inputs }) => {
  const literals = inputs.map(literalOf).filter((literal) => literal !== null);
  if (literals.length < inputs.length) return null;
  const scalar = { ...type, shape: [] };
  const [result] = op.meaning(literals.map((literal) => Float64Array.of(literal)), literals.map(() => scalar), {});
  return Number.isFinite(result) ? full(type.shape, result) : null;
};

/** Where a value is the only part of a wider one that is not 0: between which places of which axis. */
function partOf(value: Value): { inner: Value; axis: number; start: number; end: number } | null {
  if (value.kind !== "apply" || value.op !== embedOp || list(value.attrs, "step").some((step) => step !== 1)) {
    return null;
  }
  const [inner] = value.inputs;
  const { shape } = inner.type;
  const axes = shape.map((_, axis) => axis).filter((axis) => shape[axis] !== value.type.shape[axis]);
  if (axes.length !== 1) return null;
  const [axis] = axes;
  const start = list(value.attrs, "start")[axis];
  return { inner, axis, start, end: start + shape[axis] };
}

/** Two neighbouring parts of one whole, added: the gradients of a value that is read in parts are joined instead. */
const join: Rule = ({ inputs, type: { shape } }) => {
  const parts = inputs.flatMap((value) => partOf(value) ?? []).sort((a, b) => a.start - b.start);
  const [left, right] = parts;
  if (!right || left.axis !== right.axis || left.end !== right.start) return null;
  const { axis } = left;
  const pieces = parts.flatMap(({ inner }) => {
    const joined = inner.kind === "apply" && inner.op === concatOp && inner.attrs.axis === axis;
    return joined ? inner.inputs : [inner];
  });
  const joined = apply(concatOp, pieces, { axis });
  if (joined.type.shape[axis] === shape[axis]) return joined;
  const start = shape.map((_, i) => i === axis ? left.start : 0);
  return apply(embedOp, [joined], { shape, start, step: shape.map(() => 1) });
};

/** What is read of a part that a wider whole of zeros was made of: the part itself, some of it, or zeros. */
const sliceOfPart: Rule = ({ inputs: [whole], type, attrs }) => {
  const part = partOf(whole);
  if (!part) return null;
  const { inner, axis } = part;
  const [start, count, step] = [list(attrs, "start"), list(attrs, "count"), list(attrs, "step")];
  const [low, high] = [start[axis], start[axis] + (count[axis] - 1) * step[axis]].sort((a, b) => a - b);
  if (high < part.start || low >= part.end) return full(type.shape, 0);
  if (low < part.start || high >= part.end) return null;
  const shifted = start.with(axis, start[axis] - part.start);
  const all = inner.type.shape.every((side, i) => shifted[i] === 0 && step[i] === 1 && count[i] === side);
  return all ? inner : apply(sliceOp, [inner], { ...attrs, start: shifted });
};

/** By op: what a value can be replaced by, or null. Rules keep the type. */
const rules: Readonly<Record<string, readonly Rule[]>> = {
  add: [
    ({ inputs: [a, b] }) => literalOf(a) === 0 ? b : literalOf(b) === 0 ? a : null,
    join,
  ],
  sub: [({ inputs: [a, b] }) => literalOf(b) === 0 ? a : null],
  mul: [
    ({ inputs: [a, b] }) => literalOf(a) === 1 ? b : literalOf(b) === 1 ? a : null,
    (value) => value.inputs.some((x) => literalOf(x) === 0) ? zero(value) : null,
  ],
  div: [
    ({ inputs: [a, b] }) => literalOf(b) === 1 ? a : null,
    // A product with the reciprocal is as exact to within a rounding, and several times cheaper than a division.
    (value) => {
      const by = literalOf(value.inputs[1]);
      return by === null || by === 0
        ? null
        : apply(scalarOps.get("mul")!, [value.inputs[0], full(value.type.shape, 1 / by)]);
    },
  ],
  slice: [sliceOfPart],
  neg: [({ inputs: [a] }) => a.kind === "apply" && a.op.name === "neg" ? a.inputs[0] : null],
  permute: [
    (value) => {
      const [from] = value.inputs;
      if (from.kind !== "apply" || from.op !== value.op) return null;
      const inner = from.attrs.order as readonly number[];
      const order = (value.attrs.order as readonly number[]).map((axis) => inner[axis]);
      return order.every((axis, i) => axis === i) ? from.inputs[0] : apply(value.op, [from.inputs[0]], { order });
    },
  ],
  reshape: [
    (value) => {
      const [from] = value.inputs;
      if (sameShape(from.type.shape, value.type.shape)) return from;
      return from.kind === "apply" && from.op === value.op ? apply(value.op, [from.inputs[0]], value.attrs) : null;
    },
  ],
};

function rulesOf(value: Apply): readonly Rule[] {
  const own = rules[value.op.name] ?? [];
  return isScalar(value) ? [fold, ...own] : own;
}

function key(value: Value): string {
  if (value.kind === "const") return `const ${value.literal}`;
  if (value.kind !== "apply") return `${value.kind} ${value.name} ${value.type.shape}`;
  return `${value.op.name} ${value.inputs.map((from) => from.id)} ${JSON.stringify(value.attrs)}`;
}

export const simplify: Pass = { name: "simplify", run: simplified };

function simplified(graph: Graph): Graph {
  const known = new Map<string, Value>();
  return rebuild(graph, (value, inputs) => {
    let now = withInputs(value, inputs);
    for (let changed = true; changed && now.kind === "apply";) {
      changed = false;
      for (const rule of rulesOf(now)) {
        const next: Value | null = now.kind === "apply" ? rule(now) : null;
        if (next) {
          now = next;
          changed = true;
          break;
        }
      }
    }
    const text = key(now);
    const twin = known.get(text);
    if (twin) return twin;
    known.set(text, now);
    return now;
  });
}
