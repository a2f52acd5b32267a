/** Named tensors of zeros, and changes to them. */
import { generatorShapes } from "../../../src/weights/formats/generator_names.ts";
import type { HostTensor, StateDict } from "../../../src/weights/formats/tensor.ts";

export const zeros = (...shape: readonly number[]): HostTensor => ({
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
});

export const renamed = (tensors: StateDict, name: (name: string) => string): StateDict =>
  new Map(Array.from(tensors, ([key, value]) => [name(key), value]));

/** With these tensors instead of those of their names; null takes one away. */
export const changed = (tensors: StateDict, changes: Readonly<Record<string, HostTensor | null>>): StateDict =>
  new Map(
    [...tensors, ...Object.entries(changes)].filter((item): item is [string, HostTensor] =>
      changes[item[0]] !== null && item[1] !== null
    ),
  );

/** A generator of zeros. */
export function generator(): StateDict {
  return new Map(Array.from(generatorShapes(), ([name, shape]) => [name, zeros(...shape)]));
}
