/**
 * The contract of an op, over every op there is: its meaning is what a formula says, its pullback is the derivative of its
 * meaning, and the GPU computes its meaning, fused and unfused, on every profile, the same bytes each time.
 *
 * An op without cases fails. What a case is: tests/support/engine/cases.
 */
import assert from "node:assert/strict";
import {
  add,
  f32,
  gradients,
  type Graph,
  input,
  leakyRelu,
  mul,
  sizeOf,
  sumAll,
  type Value,
} from "../../src/engine/mod.ts";
import { valuesOf } from "../../src/engine/ir/graph.ts";
import { interpret } from "../../src/engine/ir/interpret.ts";
import { verify } from "../../src/engine/ir/verify.ts";
import { allOps } from "../../src/engine/ops/mod.ts";
import type { Case } from "../support/engine/cases/case.ts";
import { cases } from "../support/engine/cases/mod.ts";
import { gpuTest, prepare, type RunOptions, type TestGpu } from "../support/engine/gpu.ts";
import { profileNames } from "../support/engine/profiles.ts";
import { dot, noise, relativeError } from "../support/engine/numbers.ts";

/** Half the distance from 1 to the next f32: the error of one rounding. */
const ROUNDING = 2 ** -24;
/** Gradients say nothing new about long tensors, and f64 meanings take their time. */
const LARGEST_DIFFERENTIATED = 20000;

type Feeds = Map<string, Float64Array>;

function operands({ inputs }: Case): { values: Value[]; feeds: Feeds } {
  const values = inputs.map(({ shape }, i) => input(`x${i}`, f32(...shape)));
  const feeds = new Map(
    inputs.map(({ shape, domain }, i) => [`x${i}`, noise(sizeOf(shape), 1000 + i, domain)]),
  );
  return { values, feeds };
}

function evaluate(value: Value, feeds: Feeds): Float64Array {
  return interpret({ roots: new Map([["out", value]]) }, feeds).get("out")!;
}

function within(error: number, tolerance: number, what: string): void {
  assert.ok(
    error <= tolerance,
    `${what}: relative error ${error.toExponential(2)}, allowed ${tolerance.toExponential(2)}`,
  );
}

// --- meanings against formulas -----------------------------------------------------------------------------------------------

function checkFormula(example: Case): void {
  if (!example.formula) return;
  const { values, feeds } = operands(example);
  const out = example.build(...values);
  verify({ roots: new Map([["out", out]]) }, "building");
  within(relativeError(evaluate(out, feeds), example.formula(...feeds.values())), 1e-9, example.name);
}

// --- pullbacks against differences ---------------------------------------------------------------------------------------------

/** The slope of a scalar along one random direction in all of `values` at once: by central differences, and by its gradients. */
function checkSlope(scalar: Value, values: readonly Value[], feeds: Feeds, what: string): Value[] {
  const names = values.map((value) => value.kind === "input" ? value.name : "");
  const direction = new Map(names.map((name, i) => [name, noise(feeds.get(name)!.length, 2000 + i)]));
  const step = 1e-5;
  const moved = (by: number) =>
    evaluate(
      scalar,
      new Map([...feeds].map(([name, x]) => [name, x.map((value, i) => value + by * (direction.get(name)?.[i] ?? 0))])),
    )[0];
  const difference = (moved(step) - moved(-step)) / (2 * step);
  const slopes = gradients(scalar, values);
  const graph = { roots: new Map(slopes.map((slope, i) => [names[i], slope])) };
  verify(graph, "differentiating");
  const found = interpret(graph, feeds);
  const slope = names.reduce((sum, name) => sum + dot(found.get(name)!, direction.get(name)!), 0);
  // Differences of a scalar that is large beside its slope lose digits to it.
  const scale = Math.abs(difference) + Math.abs(slope) + 1e-3 * Math.abs(moved(0)) + 1e-3;
  within(Math.abs(difference - slope) / scale, 1e-6, what);
  return slopes;
}

function checkGradients(example: Case): void {
  const { values, feeds } = operands(example);
  const smooth = values.filter((_, i) => example.inputs[i].domain !== "whole");
  if (smooth.length === 0 || sizeOf(example.build(...values).type.shape) > LARGEST_DIFFERENTIATED) return;
  if ([...feeds.values()].some(({ length }) => length > LARGEST_DIFFERENTIATED)) return;
  /** A random weight for each element, as one more input. */
  const weigh = (value: Value, name: string) => {
    const weight = input(name, value.type);
    feeds.set(name, noise(sizeOf(value.type.shape), 3000 + feeds.size));
    return sumAll(mul(value, weight));
  };
  const slopes = checkSlope(weigh(example.build(...values), "w"), smooth, feeds, `${example.name}: first order`);
  const second = slopes.map((slope, i) => weigh(slope, `w${i}`)).reduce((a, b) => add(a, b));
  checkSlope(second, smooth, feeds, `${example.name}: second order`);
}

// --- the GPU against meanings ---------------------------------------------------------------------------------------------------

/** The op alone, and the op between scalar chains, which gives fusion something to do. */
function chained(example: Case): { graph: Graph; feeds: Feeds } {
  const { values, feeds } = operands(example);
  const plain = example.build(...values);
  // Halves are exact: what follows sees the same numbers in f32 as in f64.
  const halves = values.map((value, i) => example.inputs[i].domain === "whole" ? value : mul(value, 0.5));
  const shift = input("shift", plain.type);
  feeds.set("shift", noise(sizeOf(plain.type.shape), 4000));
  const between = add(leakyRelu(example.build(...halves), 0.25), shift);
  return { graph: { roots: new Map([["plain", plain], ["chained", between]]) }, feeds };
}

const wanted = new Map<Case, { graph: Graph; feeds: Feeds; want: Map<string, Float64Array> }>();

/** The oracle is asked once a case. */
function want(example: Case) {
  const known = wanted.get(example);
  if (known) return known;
  const { graph, feeds } = chained(example);
  const made = { graph, feeds, want: interpret(graph, feeds) };
  wanted.set(example, made);
  return made;
}

async function checkOnGpu(gpu: TestGpu, example: Case, options: RunOptions): Promise<void> {
  const { graph, feeds, want: expected } = want(example);
  const prepared = await prepare(gpu, graph, feeds, options);
  const got = await prepared.run();
  const tolerance = ROUNDING * ((example.roundings ?? 8) + 2 * Math.sqrt(example.terms ?? 1));
  for (const [root, values] of expected) {
    const mode = options.fuse === false ? "unfused" : "fused";
    within(
      relativeError(got.get(root)!, values),
      tolerance,
      `${example.name} (${root}, ${mode}, ${options.profile.name})`,
    );
  }
  assert.deepEqual(await prepared.run(), got, `${example.name}: a second run gives other bytes`);
}

// --- the suite ----------------------------------------------------------------------------------------------------------------

Deno.test("contract: every op has cases, and they are about it", () => {
  assert.deepEqual(Object.keys(cases).sort(), allOps.map((op) => op.name).sort());
  for (const [name, { cases: examples }] of Object.entries(cases)) {
    assert.ok(examples.length > 0, `${name} has no cases`);
    for (const example of examples) {
      const values = valuesOf({ roots: new Map([["out", example.build(...operands(example).values)]]) });
      const there = values.some((value) => value.kind === "apply" && value.op.name === name);
      assert.ok(there, `the case "${example.name}" of ${name} has no ${name} in it`);
    }
  }
});

for (const [name, { cases: examples, differentiable }] of Object.entries(cases)) {
  Deno.test(`contract: ${name}: its meaning is its formula`, () => examples.forEach(checkFormula));

  Deno.test({
    name: `contract: ${name}: its pullback is its derivative${
      differentiable === false ? " (made after differentiation)" : ""
    }`,
    ignore: differentiable === false,
    fn: () => examples.forEach(checkGradients),
  });

  gpuTest(`contract: ${name}: the GPU computes its meaning`, async (gpu) => {
    const profile = gpu.profile(gpu.own)!;
    for (const example of examples) {
      await checkOnGpu(gpu, example, { profile, fuse: false });
      await checkOnGpu(gpu, example, { profile });
      if (example !== examples[0]) wanted.delete(example);
    }
  });
}

for (const profileName of profileNames) {
  gpuTest(`contract: every op with the kernels of ${profileName}`, async (gpu) => {
    const profile = gpu.profile(profileName);
    if (!profile || profileName === gpu.own) return;
    for (const { cases: [example] } of Object.values(cases)) await checkOnGpu(gpu, example, { profile });
  });
}
