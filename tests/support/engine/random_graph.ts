/**
 * Random graphs, from random numbers: each quadruple appends one value, made from values that are there. Small numbers make small
 * graphs, so fast-check shrinks them well. Values stay near one in size, and functions that jump are left out, because a pass may
 * round differently.
 */
import * as fc from "fast-check";
import * as ops from "../../../src/engine/mod.ts";
import type { Graph, Shape, Value } from "../../../src/engine/mod.ts";
import { valuesOf } from "../../../src/engine/ir/graph.ts";
import { noise } from "./numbers.ts";

export type Draw = readonly [verb: number, a: number, b: number, c: number];

export interface RandomGraph {
  readonly graph: Graph;
  readonly feeds: ReadonlyMap<string, Float64Array>;
}

const number = fc.nat({ max: 59 });

/** Graphs of up to `length` drawn values, most of them a few times as many. */
export function randomGraph(length: number): fc.Arbitrary<RandomGraph> {
  const draws = fc.array(fc.tuple(number, number, number, number), { minLength: 1, maxLength: length, size: "max" });
  return draws.map((drawn) => ({ ...graphOf(drawn), toString: () => JSON.stringify(drawn) }));
}

type Verb = (a: Value, b: Value, n: number, m: number) => Value;

const rank = (x: Value) => x.type.shape.length;
const last = (x: Value) => x.type.shape.at(-1) ?? 1;
/** At least one axis. */
const ranked = (x: Value) => rank(x) === 0 ? ops.reshape(x, [1]) : x;
const matrix = (x: Value) => ops.reshape(x, [ops.sizeOf(x.type.shape) / last(x), last(x)]);

/** `b` in the shape of `a`, by taking the mean or the start of what is too long and repeating what is too short. */
function fitted(b: Value, a: Value): Value {
  try {
    return ops.add(ops.mul(a, 0), b).type.shape.length === rank(a) ? b : ops.mean(b, rank(b));
  } catch {
    return ops.mean(b, rank(b));
  }
}

function divisors(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1).filter((i) => n % i === 0);
}

/** The columns of b, as many rows as a has columns: [K, N] out of whatever b is. */
function factor(a: Value, b: Value): Value {
  const k = last(a);
  const flat = ops.reshape(b, [1, ops.sizeOf(b.type.shape)]);
  return ops.expand(flat, [k, ops.sizeOf(b.type.shape)]);
}

const verbs: readonly Verb[] = [
  (a, b) => ops.add(a, fitted(b, a)),
  (a, b) => ops.sub(fitted(b, a), a),
  (a, b) => ops.mul(a, fitted(b, a)),
  (a, b) => ops.div(a, ops.add(1, ops.abs(fitted(b, a)))),
  (a, b) => ops.max(a, fitted(b, a)),
  (a, b) => ops.min(fitted(b, a), ops.neg(a)),
  (a, _, n) => ops.mul(a, [0.5, -1, 0, 1][n % 4]),
  (a, _, n) => ops.add(a, [0, 0.25, -2][n % 3]),
  (a) => ops.sigmoid(a),
  (a) => ops.exp(ops.neg(ops.abs(a))),
  (a) => ops.leakyRelu(a, 0.2),
  (a) => ops.gelu(a),
  (a) => ops.sqrt(ops.add(ops.mul(a, a), 1)),
  (a, _, n, m) => {
    const x = ranked(a);
    const axis = n % rank(x);
    const side = x.type.shape[axis];
    const start = m % side;
    return ops.slice(x, axis, start, Math.max(1, Math.ceil((side - start) / (1 + n % 2))), 1 + n % 2);
  },
  (a, _, n) => ops.flip(ranked(a), n % rank(ranked(a))),
  (a, _, n) => {
    const order = a.type.shape.map((_, axis) => axis);
    return ops.permute(a, order.map((axis) => (axis + n) % order.length));
  },
  (a, _, n) => ops.reshape(a, splitSides(ops.sizeOf(a.type.shape), n)),
  (a, _, n) => ops.expand(a, [1 + n % 3, ...a.type.shape]),
  (a) => ops.expand(ops.reshape(a, [...a.type.shape, 1]), [...a.type.shape, 3]),
  (a, _, n) => ops.mean(a, n % (rank(a) + 1)),
  (a) => ops.softmax(ranked(a)),
  (a, b, n) => {
    const x = ranked(a);
    const weight = ops.reshape(ops.expand(ops.mean(b, rank(b)), [last(x)]), [last(x)]);
    return ops.layerNorm(x, weight, ops.full([last(x)], n % 2), 0.1);
  },
  (a, _, n) => {
    const [rows, columns] = matrix(ranked(a)).type.shape;
    const affine = ops.reshape(ops.expand(ops.mean(a, rank(a)), [2]), [2, 1]);
    return ops.batchNorm(ops.reshape(a, n % 2 ? [1, 1, rows, columns] : [1, 1, columns, rows]), affine, 0.1);
  },
  (a, b, n) => {
    const left = matrix(ranked(a));
    const right = ops.transpose(factor(n % 2 ? left : ops.transpose(left), b));
    return ops.mul(ops.matmul(right, n % 2 ? ops.transpose(left) : left), 1 / (last(right) + 1));
  },
  (a, _, n) => ops.mul(ops.matmul(matrix(ranked(a)), ops.transpose(matrix(ranked(a)))), 1 / (n + last(a))),
  (a, b, n) => {
    const x = ranked(a);
    const [axis, other] = [n % rank(x), ops.expand(ops.mean(b, rank(b)), x.type.shape)];
    return ops.concat(n % 3 === 0 ? [x, other, x] : n % 3 === 1 ? [ops.mul(x, x), ops.sigmoid(x)] : [other, x], axis);
  },
];

/** Sides whose product is n: two or three of them. */
function splitSides(n: number, choice: number): Shape {
  const [first, all] = [divisors(n), [n]];
  const side = first[choice % first.length];
  const rest = divisors(n / side);
  const second = rest[choice % rest.length];
  return choice % 5 === 0 ? all : [side, second, n / side / second];
}

const LARGEST = 4000;

export function graphOf(draws: readonly Draw[]): RandomGraph {
  const values: Value[] = [
    ops.input("a", ops.f32(4, 6)),
    ops.input("b", ops.f32(6)),
    ops.input("c", ops.f32(2, 3, 4)),
    ops.state("trained", ops.f32(5, 4), { trained: true }),
    ops.state("frozen", ops.f32(4, 6), { trained: false }),
    ops.full([3, 4], 0.5),
  ];
  for (const [verb, a, b, c] of draws) {
    // Late values are preferred: graphs should grow deep.
    const pick = (n: number) => values[Math.max(0, values.length - 1 - n % Math.min(values.length, 1 + n))];
    const made = ops.withScope(`v${values.length}`, () => verbs[verb % verbs.length](pick(a), pick(b), c, a + b));
    if (ops.sizeOf(made.type.shape) <= LARGEST) values.push(made);
  }
  const roots = new Map<string, Value>([["last", values.at(-1)!]]);
  for (const [i, [verb, a, b]] of draws.entries()) {
    if (verb % 7 === 0) roots.set(`root${i}`, values[(a + b) % values.length]);
  }
  const [first] = draws;
  if (first[3] % 2 === 0) {
    const wrt = values.slice(0, 5);
    const loss = ops.sumAll(ops.mul(values.at(-1)!, values.at(-1)!));
    ops.gradients(loss, wrt).forEach((slope, i) => roots.set(`gradient${i}`, slope));
  }
  const graph = { roots };
  const feeds = new Map<string, Float64Array>();
  for (const value of valuesOf(graph)) {
    if (value.kind === "input" || value.kind === "state") {
      feeds.set(value.name, noise(ops.sizeOf(value.type.shape), value.name.length + value.name.charCodeAt(0)));
    }
  }
  return { graph, feeds };
}
