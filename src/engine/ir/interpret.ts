/** Graphs computed by the meanings of their ops, in f64: slow, obvious, and what everything else is measured against. */
import { describe, type Graph, type Value, valuesOf } from "./graph.ts";
import { sizeOf } from "./type.ts";

/** The value of every root. `feeds` holds inputs and states by name. */
export function interpret(graph: Graph, feeds: ReadonlyMap<string, Float64Array>): Map<string, Float64Array> {
  const done = new Map<Value, Float64Array>();
  for (const value of valuesOf(graph)) done.set(value, valueOf(value));
  return new Map([...graph.roots].map(([name, value]) => [name, done.get(value)!]));

  function valueOf(value: Value): Float64Array {
    switch (value.kind) {
      case "const":
        return Float64Array.of(value.literal);
      case "apply":
        return value.op.meaning(
          value.inputs.map((from) => done.get(from)!),
          value.inputs.map((from) => from.type),
          value.attrs,
        );
      case "input":
      case "state": {
        const fed = feeds.get(value.name);
        if (fed?.length !== sizeOf(value.type.shape)) {
          throw new Error(`Bug: ${describe(value)} was fed ${fed?.length ?? "nothing"}`);
        }
        return fed;
      }
      default:
        return value satisfies never;
    }
  }
}
