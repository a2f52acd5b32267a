/**
 * Elementwise ops: a table of scalar functions, each with its meaning, its WGSL and its derivative, and the verbs over them.
 *
 * Verbs broadcast by NumPy's rule through `expand`, so the ops themselves see operands of one shape, and the gradient of a
 * broadcast is `expand`'s business alone. `elementwise` is a whole chain of them as one op: what fusion makes. Its expression
 * is text, one statement an op, `mul x0 x1; add %0 0.5`: x is an operand, % an earlier statement, a number itself.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply, constant } from "../ir/graph.ts";
import type { KernelRequest, Render } from "../ir/program.ts";
import type { Attrs, Shape, TensorType } from "../ir/type.ts";
import { broadcastShapes, EngineError, sameShape, sizeOf, typeText } from "../ir/type.ts";
import { elementwiseKernel } from "../wgsl/elementwise.ts";
import { expand } from "./broadcast.ts";
import { density, ERF, gaussian } from "./gaussian.ts";

export type Tensor = Value | number;

interface Scalar {
  readonly arity: number;
  meaning(...x: number[]): number;
  wgsl(...x: string[]): string;
  /** The gradient per argument. `out` is the op's result, `x` its arguments, all of one shape. */
  pullback(g: Value, out: Value, x: readonly Value[]): readonly (Value | null)[];
  /** WGSL functions it calls. */
  readonly prelude?: string;
}

const table: Record<string, Scalar> = {
  add: { arity: 2, meaning: (a, b) => a + b, wgsl: (a, b) => `${a} + ${b}`, pullback: (g) => [g, g] },
  sub: { arity: 2, meaning: (a, b) => a - b, wgsl: (a, b) => `${a} - ${b}`, pullback: (g) => [g, neg(g)] },
  mul: {
    arity: 2,
    meaning: (a, b) => a * b,
    wgsl: (a, b) => `${a} * ${b}`,
    pullback: (g, _, [a, b]) => [mul(g, b), mul(g, a)],
  },
  div: {
    arity: 2,
    meaning: (a, b) => a / b,
    wgsl: (a, b) => `${a} / ${b}`,
    pullback: (g, out, [, b]) => [div(g, b), neg(div(mul(g, out), b))],
  },
  max: {
    arity: 2,
    meaning: Math.max,
    wgsl: (a, b) => `max(${a}, ${b})`,
    pullback: (g, _, [a, b]) => [mul(g, positive(sub(a, b))), mul(g, sub(1, positive(sub(a, b))))],
  },
  min: {
    arity: 2,
    meaning: Math.min,
    wgsl: (a, b) => `min(${a}, ${b})`,
    pullback: (g, _, [a, b]) => [mul(g, positive(sub(b, a))), mul(g, sub(1, positive(sub(b, a))))],
  },
  /** The argument itself: what a copy is made of. */
  copy: { arity: 1, meaning: (a) => a, wgsl: (a) => a, pullback: (g) => [g] },
  neg: { arity: 1, meaning: (a) => -a, wgsl: (a) => `-(${a})`, pullback: (g) => [neg(g)] },
  abs: {
    arity: 1,
    meaning: Math.abs,
    wgsl: (a) => `abs(${a})`,
    pullback: (g, _, [a]) => [mul(g, sub(mul(2, positive(a)), 1))],
  },
  exp: { arity: 1, meaning: Math.exp, wgsl: (a) => `exp(${a})`, pullback: (g, out) => [mul(g, out)] },
  log: { arity: 1, meaning: Math.log, wgsl: (a) => `log(${a})`, pullback: (g, _, [a]) => [div(g, a)] },
  sqrt: { arity: 1, meaning: Math.sqrt, wgsl: (a) => `sqrt(${a})`, pullback: (g, out) => [div(mul(g, 0.5), out)] },
  floor: { arity: 1, meaning: Math.floor, wgsl: (a) => `floor(${a})`, pullback: () => [null] },
  /** 1 where x > 0, else 0. */
  positive: {
    arity: 1,
    meaning: (a) => a > 0 ? 1 : 0,
    wgsl: (a) => `select(0.0, 1.0, ${a} > 0.0)`,
    pullback: () => [null],
  },
  sigmoid: {
    arity: 1,
    meaning: (a) => 1 / (1 + Math.exp(-a)),
    wgsl: (a) => `1.0 / (1.0 + exp(-(${a})))`,
    pullback: (g, out) => [mul(g, mul(out, sub(1, out)))],
  },
  /** x where x > 0, else slope * x. */
  leaky_relu: {
    arity: 2,
    meaning: (x, slope) => x > 0 ? x : slope * x,
    wgsl: (x, slope) => `select(${slope} * ${x}, ${x}, ${x} > 0.0)`,
    pullback: (g, _, [x, slope]) => [mul(g, leakySlope(x, slope)), mul(g, min(x, 0))],
  },
  /** The derivative of leaky_relu: 1 where x > 0, else slope. */
  leaky_slope: {
    arity: 2,
    meaning: (x, slope) => x > 0 ? 1 : slope,
    wgsl: (x, slope) => `select(${slope}, 1.0, ${x} > 0.0)`,
    pullback: (g, _, [x]) => [null, mul(g, sub(1, positive(x)))],
  },
  /** Exact GELU: x * Phi(x). */
  gelu: {
    arity: 1,
    meaning: (x) => x * gaussian(x),
    wgsl: (x) => `0.5 * ${x} * (1.0 + erf_approx(${x} * 0.7071067811865476))`,
    pullback: (g, _, [x]) => [mul(g, geluSlope(x))],
    prelude: ERF,
  },
  /** The derivative of GELU: Phi(x) + x phi(x). */
  gelu_slope: {
    arity: 1,
    meaning: (x) => gaussian(x) + x * density(x),
    wgsl: (x) =>
      `0.5 * (1.0 + erf_approx(${x} * 0.7071067811865476)) + ${x} * 0.3989422804014327 * exp(-0.5 * ${x} * ${x})`,
    // phi'(x) = -x phi(x), so the second derivative is (2 - x^2) phi(x).
    pullback: (
      g,
      _,
      [x],
    ) => [mul(g, mul(sub(2, mul(x, x)), mul(1 / Math.sqrt(2 * Math.PI), exp(mul(mul(x, x), -0.5)))))],
    prelude: ERF,
  },
};

function sharedShape(name: string, inputs: readonly TensorType[]): TensorType {
  const odd = inputs.find((type) => !sameShape(type.shape, inputs[0].shape) || type.dtype !== "f32");
  if (odd) {
    throw new EngineError(`Cannot ${name} ${inputs.map(typeText).join(" with ")}: operands must be f32 of one shape`);
  }
  return inputs[0];
}

function scalarOp(name: string): Op {
  const scalar = table[name];
  return {
    name,
    infer: (inputs) => sharedShape(name, inputs),
    meaning(inputs) {
      const out = new Float64Array(inputs[0].length);
      const args = new Array<number>(inputs.length);
      for (let i = 0; i < out.length; i++) {
        for (let k = 0; k < inputs.length; k++) args[k] = inputs[k][i];
        out[i] = scalar.meaning(...args);
      }
      return out;
    },
    pullback: ({ g, out, inputs }) => scalar.pullback(g, out, inputs),
    lower: { kind: "scalar" },
  };
}

/** Every scalar op by name. */
export const scalarOps: ReadonlyMap<string, Op> = new Map(Object.keys(table).map((name) => [name, scalarOp(name)]));

function asValue(x: Tensor): Value {
  return typeof x === "number" ? constant(x) : x;
}

function broadcast(name: string, args: readonly Tensor[]): Value {
  const values = args.map(asValue);
  const shape = values.reduce<Shape>((so_far, value) => broadcastShapes(so_far, value.type.shape, name), []);
  return apply(scalarOps.get(name)!, values.map((value) => expand(value, shape)));
}

export const add = (a: Tensor, b: Tensor): Value => broadcast("add", [a, b]);
export const sub = (a: Tensor, b: Tensor): Value => broadcast("sub", [a, b]);
export const mul = (a: Tensor, b: Tensor): Value => broadcast("mul", [a, b]);
export const div = (a: Tensor, b: Tensor): Value => broadcast("div", [a, b]);
export const max = (a: Tensor, b: Tensor): Value => broadcast("max", [a, b]);
export const min = (a: Tensor, b: Tensor): Value => broadcast("min", [a, b]);
export const neg = (a: Tensor): Value => broadcast("neg", [a]);
export const abs = (a: Tensor): Value => broadcast("abs", [a]);
export const exp = (a: Tensor): Value => broadcast("exp", [a]);
export const log = (a: Tensor): Value => broadcast("log", [a]);
export const sqrt = (a: Tensor): Value => broadcast("sqrt", [a]);
export const floor = (a: Tensor): Value => broadcast("floor", [a]);
export const positive = (a: Tensor): Value => broadcast("positive", [a]);
export const sigmoid = (a: Tensor): Value => broadcast("sigmoid", [a]);
export const leakyRelu = (x: Tensor, slope: Tensor): Value => broadcast("leaky_relu", [x, slope]);
export const gelu = (x: Tensor): Value => broadcast("gelu", [x]);
const leakySlope = (x: Tensor, slope: Tensor): Value => broadcast("leaky_slope", [x, slope]);
const geluSlope = (x: Tensor): Value => broadcast("gelu_slope", [x]);
/** `low <= x <= high`, elementwise. */
export const clamp = (x: Tensor, low: Tensor, high: Tensor): Value => min(max(x, low), high);

/** One statement of an expression: an op's name and its arguments (`x0`, `%1`, `0.5`). */
export type Statement = { readonly op: string; readonly args: readonly string[] };

export function parseExpression(text: string): Statement[] {
  return text.split("; ").map((statement) => {
    const [op, ...args] = statement.split(" ");
    if (table[op]?.arity !== args.length) throw new Error(`Bug: cannot read expression statement "${statement}"`);
    return { op, args };
  });
}

export function expressionText(statements: readonly Statement[]): string {
  return statements.map(({ op, args }) => [op, ...args].join(" ")).join("; ");
}

/** The value of an expression in f64; `x[k]` are its operands at one element. */
export function evaluateExpression(statements: readonly Statement[], x: readonly number[]): number {
  const done: number[] = [];
  for (const { op, args } of statements) {
    done.push(
      table[op].meaning(
        ...args.map((arg) => arg[0] === "x" ? x[+arg.slice(1)] : arg[0] === "%" ? done[+arg.slice(1)] : +arg),
      ),
    );
  }
  return done[done.length - 1];
}

/** The WGSL functions an expression calls. */
export function preludeOf(texts: readonly string[]): string {
  const preludes = texts.flatMap(parseExpression).map(({ op }) => table[op].prelude).filter((prelude) =>
    prelude !== undefined
  );
  return [...new Set(preludes)].join("");
}

/** An expression as WGSL. */
export function renderer(text: string): Render {
  const statements = parseExpression(text);
  return (x, prefix) => {
    const literal = (arg: string) =>
      arg[0] === "x" ? x[+arg.slice(1)] : arg[0] === "%" ? `${prefix}t${arg.slice(1)}` : literalText(+arg);
    const lines = statements.map(({ op, args }, i) => `let ${prefix}t${i} = ${table[op].wgsl(...args.map(literal))};`);
    return { statements: lines.join("\n"), result: `${prefix}t${statements.length - 1}` };
  };
}

/** An f32 literal of WGSL; negative numbers in brackets, because `a - -1f` is not WGSL. */
function literalText(value: number): string {
  const text = `${Math.fround(value) === value ? value : Number(value.toPrecision(9))}`;
  const suffixed = /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
  return value < 0 ? `(${suffixed})` : suffixed;
}

/** A whole scalar chain as one op: `attrs.expression` over operands of one shape. */
export const elementwise: Op = {
  name: "elementwise",
  infer: (inputs) => sharedShape("elementwise", inputs),
  meaning(inputs, types, attrs) {
    const statements = parseExpression(attrs.expression as string);
    const out = new Float64Array(sizeOf(types[0].shape));
    for (let i = 0; i < out.length; i++) out[i] = evaluateExpression(statements, inputs.map((x) => x[i]));
    return out;
  },
  pullback() {
    throw new Error("Bug: gradients are taken before fusion");
  },
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    strided: true,
    build({ inputs, output, attrs, profile }: KernelRequest) {
      const text = attrs.expression as string;
      const chain = { operands: inputs, render: renderer(text) };
      return elementwiseKernel({
        chain,
        output: output.layout,
        prelude: preludeOf([text]),
        operations: parseExpression(text).length,
        profile,
      });
    },
  },
};

export function elementwiseAttrs(statements: readonly Statement[]): Attrs {
  return { expression: expressionText(statements) };
}
