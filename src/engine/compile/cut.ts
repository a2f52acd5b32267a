/**
 * Cutting: a tensor that is larger than what the device binds at once is computed and kept as parts, groups of channels, each a tensor of its own.
 *
 * A part is a range of the first axis of more than one element. What works on each channel by itself (scalar chains, statistics of planes, resampling, views, joining channels) works
 * on each part by itself and gives the bytes of the whole; convolutions and products over a cut operand are sums over its parts (cut_rules.ts). Tensors that meet in scalar chains
 * have their bounds in common, so that nothing is copied to fit. A tensor whose single channel is too large stays so, and the device's refusal tells of it. Invariant: same meaning;
 * a graph of which nothing is too large is returned as it is.
 */
import type { Graph, Pass, Value } from "../ir/graph.ts";
import { describe, inScope, valuesOf, withInputs } from "../ir/graph.ts";
import { byteSize, EngineError } from "../ir/type.ts";
import { type Cutting, rules } from "./cut_rules.ts";
import { boundsOf, type Form, isCut, joined, leadingAxis, ranges, refined } from "./parts.ts";
import { simplify } from "./simplify.ts";
import { baseOf, isScalar, isView } from "./views.ts";

/** Makes parts of tensors of more than `most` bytes. */
export function cutAbove(most: number): Pass {
  return {
    name: "cut",
    run(graph) {
      const large = valuesOf(graph).some((value) => !isView(value) && byteSize(value.type) > most);
      // The parts of one weight or factor are asked for again and again.
      return large ? simplify.run(cutGraph(graph, most)) : graph;
    },
  };
}

function cutGraph(graph: Graph, most: number): Graph {
  const cutting = openCutting(graph, most);
  const forms = new Map<Value, Form>();
  const whole = (value: Value, reader: Value): Value => {
    const form = forms.get(value)!;
    if (isCut(form) && byteSize(value.type) > most) {
      throw new EngineError(
        `Cannot compute ${describe(reader)} on this device: it has to bind ${
          describe(value)
        } at once, which is more than the ` +
          `${most} bytes it can, and knows no way to work on parts; choose a smaller size`,
        { kind: "memory" },
      );
    }
    return joined(form);
  };
  const formOf = (value: Value): Form => {
    if (value.kind !== "apply") return value;
    const inputs = value.inputs.map((from) => forms.get(from)!);
    if (inputs.some(isCut) || cutting.large(value)) {
      const made = rules[isScalar(value) ? "scalar" : value.op.name]?.({ value, inputs, cutting });
      if (made) return made;
    }
    return withInputs(value, value.inputs.map((from) => whole(from, value)));
  };
  for (const value of valuesOf(graph)) forms.set(value, inScope(value.scope, () => formOf(value)));
  return { roots: new Map([...graph.roots].map(([name, value]) => [name, joined(forms.get(value)!)])) };
}

/** Values that meet channel by channel are a class; its bounds include those at which the pieces of its concatenations meet. */
function openCutting(graph: Graph, most: number): Cutting {
  const parents = new Map<Value, Value>();
  const classOf = (value: Value): Value => {
    let now = value;
    for (let next = parents.get(now); next; next = parents.get(now)) now = next;
    if (now !== value) parents.set(value, now);
    return now;
  };
  const side = ({ type: { shape } }: Value) => shape[leadingAxis(shape)] ?? 1;
  const joints = new Map<Value, readonly number[]>();
  for (const value of valuesOf(graph)) {
    if (value.kind !== "apply") continue;
    if (value.op.lower.kind === "concat") {
      const axis = value.attrs.axis as number;
      if (axis === leadingAxis(value.type.shape)) {
        joints.set(value, boundsOf(value.inputs.map(({ type }) => type.shape[axis])));
      }
      continue;
    }
    for (const from of isScalar(value) ? value.inputs : value.inputs.slice(0, 1)) {
      if (side(from) === side(value) && classOf(from) !== classOf(value)) parents.set(classOf(from), classOf(value));
    }
  }
  const fixed = new Map<Value, readonly number[]>();
  for (const [value, bounds] of joints) fixed.set(classOf(value), refined(fixed.get(classOf(value)) ?? [], bounds));
  return {
    large: (value) => byteSize(value.type) > most && byteSize(baseOf(value).type) > most,
    bounds(value) {
      const room = Math.max(1, Math.floor(most * side(value) / byteSize(value.type)));
      const inner = (fixed.get(classOf(value)) ?? []).filter((at) => at < side(value));
      const even = ([from, to]: readonly [number, number]) => {
        const pieces = Math.ceil((to - from) / room);
        return Array.from({ length: pieces + 1 }, (_, k) => from + Math.round(k * (to - from) / pieces));
      };
      return refined(...ranges(refined([0, side(value)], inner)).map(even));
    },
  };
}
