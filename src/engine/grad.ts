/**
 * Reverse-mode differentiation: graph in, graph out.
 *
 * Each op's pullback is written with the same verbs as everything else, so passes, fusion and tests treat a gradient as any
 * other graph. Sums over several uses of a value are made in a fixed order: same graph, same bytes.
 */
import { constant, inputsOf, inScope, reachable, type Value } from "./ir/graph.ts";
import { EngineError, sameShape, typeText } from "./ir/type.ts";
import { add } from "./ops/elementwise.ts";
import { expand, full } from "./ops/broadcast.ts";

/**
 * d of / d wrt[i] for each i, with `of` a scalar f32[] (or any shape, with a `seed` of that shape). A value that does not reach
 * `of` gets zeros. Gradients stop at `wrt`: what lies before them is not visited.
 */
export function gradients(of: Value, wrt: readonly Value[], seed?: Value): Value[] {
  if (!seed && of.type.shape.length !== 0) {
    throw new EngineError(`Cannot differentiate ${typeText(of.type)}: needs a scalar, or a seed of its shape`);
  }
  if (seed && !sameShape(seed.type.shape, of.type.shape)) {
    throw new EngineError(
      `Cannot differentiate ${typeText(of.type)} with the seed ${typeText(seed.type)}: shapes must agree`,
    );
  }
  const leaves = new Set(wrt);
  const order = reachable([of]);
  const needed = new Set<Value>();
  for (const value of order) {
    if (leaves.has(value) || inputsOf(value).some((from) => needed.has(from))) needed.add(value);
  }
  const sums = new Map<Value, Value>([[of, seed ?? expand(constant(1), of.type.shape)]]);
  for (const value of order.toReversed()) {
    const g = sums.get(value);
    if (!g || !needed.has(value) || leaves.has(value) || value.kind !== "apply") continue;
    inScope(value.scope === "" ? "gradient" : `gradient.${value.scope}`, () => {
      const parts = value.op.pullback({ g, out: value, inputs: value.inputs, attrs: value.attrs });
      for (const [i, part] of parts.entries()) {
        const from = value.inputs[i];
        if (!part || !needed.has(from)) continue;
        if (!sameShape(part.type.shape, from.type.shape)) {
          throw new Error(
            `Bug: the pullback of ${value.op.name} gives ${typeText(part.type)} for an input of ${typeText(from.type)}`,
          );
        }
        const before = sums.get(from);
        sums.set(from, before ? add(before, part) : part);
      }
    });
  }
  return wrt.map((value) => sums.get(value) ?? full(value.type.shape, 0));
}
