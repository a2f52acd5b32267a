/**
 * Tensors as parts: what stands for one that is larger than the device binds at once, and how to get at a range of it.
 */
import type { Value } from "../ir/graph.ts";
import type { Shape } from "../ir/type.ts";
import { concat, slice } from "../ops/movement.ts";

/** A tensor as its parts along an axis: `parts[k]` is [bounds[k], bounds[k + 1]). */
export interface Cut {
  readonly axis: number;
  readonly bounds: readonly number[];
  readonly parts: readonly Value[];
}

/** What stands for a value: another one, or its parts. */
export type Form = Value | Cut;

export type Range = readonly [from: number, to: number];

export const isCut = (form: Form): form is Cut => "parts" in form;

export function ranges(bounds: readonly number[]): Range[] {
  return bounds.slice(1).map((to, k) => [bounds[k], to]);
}

/** The bounds of all lists, in order. */
export function refined(...lists: readonly (readonly number[])[]): number[] {
  return [...new Set(lists.flat())].sort((a, b) => a - b);
}

/** Where the first of parts of these sides begins, where each next one does, and where the last ends. */
export function boundsOf(sides: readonly number[]): number[] {
  let end = 0;
  return [0, ...sides.map((side) => end += side)];
}

/** All parts as one tensor. */
export function joined(form: Form): Value {
  return isCut(form) ? concat(form.parts, form.axis) : form;
}

/** Elements [from, to) of an axis. */
export function part(form: Form, axis: number, [from, to]: Range): Value {
  if (!isCut(form)) return slice(form, axis, from, to - from);
  if (form.axis !== axis) return slice(joined(form), axis, from, to - from);
  const pieces = ranges(form.bounds).flatMap(([low, high], k) => {
    const [first, end] = [Math.max(low, from), Math.min(high, to)];
    return first < end ? [slice(form.parts[k], axis, first - low, end - first)] : [];
  });
  return concat(pieces, axis);
}

/** The first axis of more than one element: what is next to each other along it lies next to each other. */
export function leadingAxis(shape: Shape): number {
  return Math.max(0, shape.findIndex((side) => side > 1));
}
