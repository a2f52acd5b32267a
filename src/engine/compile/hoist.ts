/**
 * Hoisting: what depends on frozen states alone is computed once, not every step.
 *
 * Such values (an interpolated position embedding; the targets of a run without augmentation) move into a prelude graph whose
 * results become states. Their names are hashes of how they are computed, so programs that need the same value share it.
 */
import type { Graph, Value } from "../ir/graph.ts";
import { inputsOf, rebuild, state, valuesOf, withInputs } from "../ir/graph.ts";
import { isView } from "./views.ts";

export interface Hoisted {
  readonly step: Graph;
  /** What to compute before the first step: state name -> value. */
  readonly prelude: Graph;
}

/** FNV-1a, 2 x 32 bits: names need to differ, not to withstand anyone. */
function hash(text: string): string {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b + text.charCodeAt(i), 0x9e3779b1) ^ (b >>> 15);
  }
  return (a >>> 0).toString(16).padStart(8, "0") + (b >>> 0).toString(16).padStart(8, "0");
}

export function hoist(graph: Graph): Hoisted {
  const frozen = new Map<Value, string>();
  const worthIt = new Set<Value>();
  for (const value of valuesOf(graph)) {
    const inputs = inputsOf(value);
    if (value.kind === "input" || (value.kind === "state" && value.trained)) continue;
    if (!inputs.every((from) => frozen.has(from))) continue;
    const how = value.kind === "apply"
      ? `${value.op.name}${JSON.stringify(value.attrs)}(${inputs.map((from) => frozen.get(from))})`
      : value.kind === "const"
      ? String(value.literal)
      : `${value.kind} ${value.name}`;
    frozen.set(value, hash(`${how}:${value.type.shape}`));
    if (value.kind === "apply" && (!isView(value) || inputs.some((from) => worthIt.has(from)))) worthIt.add(value);
  }
  const moved = new Map<string, Value>();
  const stands = new Map<Value, Value>();
  const lift = (value: Value): Value => {
    if (!worthIt.has(value)) return value;
    if (isView(value)) return withInputs(value, value.inputs.map(lift));
    const known = stands.get(value);
    if (known) return known;
    const name = `once.${frozen.get(value)}`;
    const stored = state(name, value.type, { trained: false });
    moved.set(name, value);
    stands.set(value, stored);
    return stored;
  };
  const step = rebuild(graph, (value, inputs) => {
    if (frozen.has(value)) return value;
    return withInputs(value, inputs.map((from) => frozen.has(from) ? lift(from) : from));
  });
  return {
    step: { roots: new Map([...step.roots].map(([name, value]) => [name, frozen.has(value) ? lift(value) : value])) },
    prelude: { roots: moved },
  };
}
