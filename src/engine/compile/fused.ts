/**
 * An op with scalar chains attached: `prologue` expressions that make its inputs, and an `epilogue` that its result passes through.
 *
 * Inputs are the prologue's operands (or the op's own inputs), `attrs.operands` of them, then the epilogue's. In an epilogue x0 is
 * the result and x1, x2, ... its operands. A fused op has a type rule and a meaning like any other, so passes can be tested.
 */
import type { Op } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Attrs, TensorType } from "../ir/type.ts";
import { evaluateExpression, parseExpression, preludeOf, renderer } from "../ops/elementwise.ts";

const prologues = (attrs: Attrs): readonly string[] | null =>
  attrs.prologue === undefined ? null : (attrs.prologue as string).split(" | ");
const made = new Map<Op, Op>();

/** The types the base op sees: its own inputs, or one per prologue expression, all of the operands' shape. */
function ownTypes(types: readonly TensorType[], attrs: Attrs): readonly TensorType[] {
  return prologues(attrs)?.map(() => types[0]) ?? types.slice(0, attrs.operands as number);
}

function apply(expression: string, inputs: readonly Float64Array[]): Float64Array {
  const statements = parseExpression(expression);
  return inputs[0].map((_, i) => evaluateExpression(statements, inputs.map((x) => x[i])));
}

/** `base` with room for chains; one object per base. */
export function fusedOp(base: Op): Op {
  const known = made.get(base);
  if (known) return known;
  const op: Op = {
    name: `fused_${base.name}`,
    infer: (types, attrs) => base.infer(ownTypes(types, attrs), attrs),
    meaning(inputs, types, attrs) {
      const own = inputs.slice(0, attrs.operands as number);
      const fed = prologues(attrs)?.map((expression) => apply(expression, own)) ?? own;
      const result = base.meaning(fed, ownTypes(types, attrs), attrs);
      return attrs.epilogue === undefined
        ? result
        : apply(attrs.epilogue as string, [result, ...inputs.slice(own.length)]);
    },
    pullback() {
      throw new Error("Bug: gradients are taken before fusion");
    },
    lower: {
      kind: "kernel",
      epilogue: false,
      prologue: false,
      contiguous: base.lower.kind === "kernel" && base.lower.contiguous === true,
      strided: base.lower.kind === "kernel" && base.lower.strided === true,
      build(request: KernelRequest) {
        if (base.lower.kind !== "kernel") throw new Error(`Bug: ${base.name} is no kernel`);
        const { attrs, inputs } = request;
        const texts = prologues(attrs);
        const own = attrs.operands as number;
        const epilogue = attrs.epilogue as string | undefined;
        const kernel = base.lower.build({
          ...request,
          inputs: inputs.slice(0, own),
          prologue: texts && texts.map(renderer),
          epilogue: epilogue === undefined ? null : { operands: inputs.slice(own), render: renderer(epilogue) },
        });
        const functions = preludeOf([...(texts ?? []), ...(epilogue === undefined ? [] : [epilogue])]);
        return { ...kernel, wgsl: functions + kernel.wgsl };
      },
    },
  };
  made.set(base, op);
  return op;
}
