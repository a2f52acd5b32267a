/**
 * Local rewrites, and one copy of what was written twice (common subexpressions). The rules are a table: each is one identity.
 */
import type { Apply, Graph, Pass, Value } from "../ir/graph.ts";
import { apply, rebuild, withInputs } from "../ir/graph.ts";
import { sameShape } from "../ir/type.ts";
import { full } from "../ops/broadcast.ts";
import { scalarOps } from "../ops/elementwise.ts";
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

/** By op: what a value can be replaced by, or null. Rules keep the type. */
const rules: Readonly<Record<string, readonly Rule[]>> = {
  add: [
    ({ inputs: [a, b] }) => literalOf(a) === 0 ? b : literalOf(b) === 0 ? a : null,
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
