/** What the contract suite knows about an op: small graphs around it, and another way to say what it computes. */
import { type Shape, type Value } from "../../../../src/engine/mod.ts";
import { apply } from "../../../../src/engine/ir/graph.ts";
import type { Attrs } from "../../../../src/engine/ir/type.ts";
import { allOps } from "../../../../src/engine/ops/mod.ts";
import type { Domain } from "../numbers.ts";

export interface Operand {
  readonly shape: Shape;
  readonly domain: Domain;
}

export interface Case {
  readonly name: string;
  readonly inputs: readonly Operand[];
  /** A graph with the op in it. */
  build(...x: Value[]): Value;
  /** The result by an obvious formula that shares nothing with the op's meaning. */
  readonly formula?: (...x: Float64Array[]) => ArrayLike<number>;
  /** Terms an element of the result is a sum of: f32 sums are the less exact the longer they are. */
  readonly terms?: number;
  /** How many times the error of one f32 operation an element may be off besides, 8 unless told otherwise. */
  readonly roundings?: number;
}

export interface OpCases {
  /** false: its pullback is a promise never to be asked (the op is made after differentiation). */
  readonly differentiable?: false;
  /** The first case runs on every profile, the others on the adapter's own. */
  readonly cases: readonly Case[];
}

export type CaseTable = Readonly<Record<string, OpCases>>;

export const any = (...shape: number[]): Operand => ({ shape, domain: "any" });
export const positive = (...shape: number[]): Operand => ({ shape, domain: "positive" });
export const whole = (...shape: number[]): Operand => ({ shape, domain: "whole" });

/** Applies an op that has no verb of its own. */
export function applyOp(name: string, inputs: readonly Value[], attrs: Attrs = {}): Value {
  return apply(allOps.find((op) => op.name === name)!, inputs, attrs);
}

/** The multi-indices of a shape in row-major order. */
export function indicesOf(shape: Shape): number[][] {
  return shape.reduce<number[][]>(
    (all, side) => all.flatMap((index) => Array.from({ length: side }, (_, i) => [...index, i])),
    [[]],
  );
}

/** Row-major reading of a tensor by multi-index. */
export function reader(x: ArrayLike<number>, shape: Shape): (...index: number[]) => number {
  return (...index) => x[index.reduce((at, i, axis) => at * shape[axis] + i, 0)];
}

export function rowsOf(x: Float64Array, length: number): Float64Array[] {
  return Array.from({ length: x.length / length }, (_, r) => x.subarray(r * length, (r + 1) * length));
}
