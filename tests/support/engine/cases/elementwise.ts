/** Scalar functions: each once over an odd number of elements, and the broadcast, strided and huge shapes once for all. */
import * as ops from "../../../../src/engine/mod.ts";
import { any, applyOp, type Case, type CaseTable, type Operand, positive } from "./case.ts";

/** Phi(x) by Simpson's rule: 2000 steps from -12. */
function normalCumulative(x: number): number {
  const density = (t: number) => Math.exp(-t * t / 2) / Math.sqrt(2 * Math.PI);
  const [low, steps] = [-12, 2000];
  const h = (x - low) / steps;
  let sum = density(low) + density(x);
  for (let i = 1; i < steps; i++) sum += (i % 2 === 1 ? 4 : 2) * density(low + i * h);
  return sum * h / 3;
}

const geluSlope = (x: number) => normalCumulative(x) + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);

/** By name: operands, the function, and its roundings where they are many. */
const functions: Record<string, [operands: readonly Operand[], f: (...x: number[]) => number, roundings?: number]> = {
  add: [[any(37), any(37)], (a, b) => a + b],
  sub: [[any(37), any(37)], (a, b) => a - b],
  mul: [[any(37), any(37)], (a, b) => a * b],
  div: [[any(37), positive(37)], (a, b) => a / b],
  max: [[any(37), any(37)], (a, b) => a > b ? a : b],
  min: [[any(37), any(37)], (a, b) => a < b ? a : b],
  copy: [[any(37)], (a) => a],
  neg: [[any(37)], (a) => 0 - a],
  abs: [[any(37)], (a) => a < 0 ? -a : a],
  exp: [[any(37)], (a) => Math.E ** a],
  log: [[positive(37)], (a) => Math.log2(a) * Math.LN2],
  sqrt: [[positive(37)], (a) => a ** 0.5],
  floor: [[any(37)], (a) => a - ((a % 1) + 1) % 1],
  positive: [[any(37)], (a) => Math.max(Math.sign(a), 0)],
  sigmoid: [[any(37)], (a) => 0.5 + 0.5 * Math.tanh(a / 2)],
  leaky_relu: [[any(37), positive(37)], (x, slope) => Math.max(x, 0) + slope * Math.min(x, 0)],
  leaky_slope: [[any(37), positive(37)], (x, slope) => x > 0 ? 1 : slope],
  gelu: [[any(37)], (x) => x * normalCumulative(x), 16],
  gelu_slope: [[any(37)], geluSlope, 16],
};

const more: Record<string, readonly Case[]> = {
  add: [
    { name: "scalars", inputs: [any(), any()], build: (a, b) => ops.add(a, b) },
    { name: "one element of rank 4", inputs: [any(1, 1, 1, 1), any(1)], build: (a, b) => ops.add(a, b) },
    {
      name: "a scalar, a row, a column and a plane",
      inputs: [any(), any(7), any(5, 1), any(3, 1, 1)],
      build: (a, b, c, d) => ops.add(ops.add(ops.add(a, b), c), d),
    },
    {
      name: "permuted with flipped with strided",
      inputs: [any(5, 3, 4), any(3, 4, 5), any(3, 8, 9)],
      build: (a, b, c) =>
        ops.add(
          ops.add(ops.permute(a, [1, 2, 0]), ops.flip(ops.flip(b, 0), 2)),
          ops.slice(ops.slice(c, 1, 1, 4, 2), 2, 8, 5, -2),
        ),
    },
    {
      name: "rank 6",
      inputs: [any(2, 3, 1, 2, 3, 2), any(2, 1, 2, 1, 3, 1)],
      build: (a, b) => ops.add(a, b),
    },
    { name: "70,001 rows", inputs: [any(70001, 1), any(33)], build: (a, b) => ops.add(a, b), roundings: 8 },
  ],
  mul: [
    { name: "a tensor with itself turned", inputs: [any(6, 6)], build: (a) => ops.mul(a, ops.transpose(a)) },
    { name: "by literals", inputs: [any(9)], build: (a) => ops.mul(ops.mul(a, -1e-7), 3e8) },
    { name: "more than 65,535 workgroups", inputs: [any(4194341)], build: (a) => ops.mul(a, a) },
  ],
  max: [{ name: "clamp", inputs: [any(40)], build: (a) => ops.clamp(a, -0.5, 0.5) }],
};

const listed = Object.entries(functions).map(([name, [inputs, f, roundings]]): [string, { cases: Case[] }] => {
  const plain: Case = {
    name: "37 elements",
    inputs,
    build: (...x) => applyOp(name, x),
    formula: (...x) => x[0].map((_, i) => f(...x.map((values) => values[i]))),
    ...(roundings ? { roundings } : {}),
  };
  return [name, { cases: [plain, ...(more[name] ?? [])] }];
});

export const elementwiseCases: CaseTable = {
  ...Object.fromEntries(listed),
  elementwise: {
    differentiable: false,
    cases: [{
      name: "a chain of four",
      inputs: [any(5, 7), any(5, 7)],
      build: (a, b) => applyOp("elementwise", [a, b], { expression: "mul x0 x1; add %0 0.5; neg %1; max %2 x1" }),
      formula: (a, b) => a.map((x, i) => Math.max(-(x * b[i] + 0.5), b[i])),
    }],
  },
};
