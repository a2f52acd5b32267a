/** Checks what every pass must keep: types follow from the rules, inputs come before their readers, roots are there. */
import { describe, type Graph, inputsOf, valuesOf } from "./graph.ts";
import { sameShape, typeText } from "./type.ts";

/** Throws a `Bug:` that names the pass and the value. */
export function verify(graph: Graph, pass: string): void {
  for (const value of valuesOf(graph)) {
    const late = inputsOf(value).find((from) => from.id >= value.id);
    if (late) throw new Error(`Bug: after ${pass}, ${describe(value)} reads ${describe(late)}, which comes later`);
    if (value.kind !== "apply") continue;
    const type = value.op.infer(value.inputs.map((from) => from.type), value.attrs);
    if (!sameShape(type.shape, value.type.shape) || type.dtype !== value.type.dtype) {
      throw new Error(`Bug: after ${pass}, ${describe(value)} should be ${typeText(type)}`);
    }
  }
}
