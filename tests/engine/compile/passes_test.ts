/**
 * Passes, plans and programs over random graphs: a pass never changes what a graph means, a plan never loses a value that
 * someone still reads, a program never asks for what WebGPU does not promise, and fusion changes no number on the GPU.
 */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import * as ops from "../../../src/engine/mod.ts";
import { compile, f32, gradients, type Graph, input, type Value } from "../../../src/engine/mod.ts";
import { valuesOf } from "../../../src/engine/ir/graph.ts";
import { interpret } from "../../../src/engine/ir/interpret.ts";
import { verify } from "../../../src/engine/ir/verify.ts";
import { lowered, passesFor } from "../../../src/engine/compile/compile.ts";
import { storeEverything } from "../../../src/engine/compile/fuse.ts";
import { hoist } from "../../../src/engine/compile/hoist.ts";
import { planMemory } from "../../../src/engine/compile/plan.ts";
import { gpuTest, prepare } from "../../support/engine/gpu.ts";
import { profileNames, promisedProfile } from "../../support/engine/profiles.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { randomGraph } from "../../support/engine/random_graph.ts";
import { checkProgram, replayPlan } from "../../support/engine/replay.ts";

const SEED = 20261122;
const profile = promisedProfile("portable");

type Feeds = ReadonlyMap<string, Float64Array>;
type Results = ReadonlyMap<string, ArrayLike<number>>;

function assertSame(got: Results, want: Results, tolerance: number, what: string): void {
  assert.deepEqual([...got.keys()].sort(), [...want.keys()].sort(), `${what}: other roots`);
  // Against the largest root: one that cancels to nothing has no digits of its own.
  const scale = Math.max(
    1e-3,
    ...[...want.values()].map((values) => Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0))),
  );
  for (const [root, values] of want) {
    const size = Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));
    const error = relativeError(got.get(root)!, values) * (size || 1) / Math.max(size, 1e-3 * scale);
    assert.ok(error <= tolerance, `${what}: root ${root} differs by ${error.toExponential(2)}`);
  }
}

Deno.test("passes: each keeps what a random graph means", () => {
  fc.assert(
    fc.property(randomGraph(50), ({ graph, feeds }) => {
      const want = interpret(graph, feeds);
      let now = graph;
      for (const pass of passesFor({ profile })) {
        now = pass.run(now);
        verify(now, pass.name);
        assertSame(interpret(now, feeds), want, 1e-9, pass.name);
      }
    }),
    { seed: SEED, numRuns: 400 },
  );
});

Deno.test("passes: without fusion the meaning is kept too", () => {
  fc.assert(
    fc.property(randomGraph(50), ({ graph, feeds }) => {
      const want = interpret(graph, feeds);
      const simple = storeEverything(passesFor({ profile }).slice(0, 3).reduce((now, pass) => pass.run(now), graph));
      verify(simple, "storeEverything");
      assertSame(interpret(simple, feeds), want, 1e-9, "storeEverything");
      assertSame(interpret(lowered(graph, { profile, fuse: false }), feeds), want, 1e-9, "materialise, unfused");
    }),
    { seed: SEED + 1, numRuns: 100 },
  );
});

Deno.test("passes: hoisting splits a graph into a prelude and a step that together mean the same", () => {
  fc.assert(
    fc.property(randomGraph(50), ({ graph, feeds }) => {
      const { step, prelude } = hoist(graph);
      verify(step, "hoist");
      verify(prelude, "hoist");
      const changes = valuesOf(prelude).find((value) =>
        value.kind === "input" || (value.kind === "state" && value.trained)
      );
      assert.equal(changes, undefined, "what changes from run to run was computed once");
      const once: Feeds = interpret(prelude, feeds);
      assertSame(interpret(step, new Map([...feeds, ...once])), interpret(graph, feeds), 1e-12, "hoist");
    }),
    { seed: SEED + 3, numRuns: 200 },
  );
});

for (const fuse of [true, false]) {
  Deno.test(`plans: no value is overwritten or missing when it is read (${fuse ? "fused" : "unfused"})`, () => {
    fc.assert(
      fc.property(randomGraph(60), ({ graph }) => {
        const { step, prelude } = hoist(graph);
        for (const [part, results] of [[step, "io"], [prelude, "state"]] as const) {
          const low = lowered(part, { profile, fuse });
          replayPlan(low, planMemory(low, results));
        }
      }),
      { seed: SEED + 4, numRuns: 300 },
    );
  });

  Deno.test(`programs: no dispatch asks for more than WebGPU promises (${fuse ? "fused" : "unfused"})`, () => {
    fc.assert(
      fc.property(randomGraph(60), fc.constantFrom(...profileNames), ({ graph }, name) => {
        const { step, prelude } = compile("random", graph, { profile: promisedProfile(name), fuse });
        checkProgram(step);
        if (prelude) checkProgram(prelude);
      }),
      { seed: SEED + 5, numRuns: 300 },
    );
  });
}

/** The dispatches that a graph becomes, by their kernels' names, in order. */
const dispatchesOf = (out: Value) =>
  compile("counted", { roots: new Map([["out", out]]) }, { profile: promisedProfile("workgroup") }).step.steps.map((
    { kernel },
  ) => kernel.name);

Deno.test("fusion: what comes after a norm is computed as it is stored", () => {
  const [x, g] = [input("x", f32(8, 16)), input("g", f32(8, 16))];
  const weight = input("w", f32(16));
  assert.deepEqual(dispatchesOf(ops.add(ops.mul(ops.layerNorm(x, weight, weight, 1e-6), 2), g)), ["layer_norm"]);
  assert.deepEqual(dispatchesOf(ops.add(ops.softmax(x), g)), ["softmax"]);
});

Deno.test("fusion: a chain with many readers is computed where they all end up", () => {
  const [a, b] = [input("a", f32(1, 40, 50)), input("b", f32(3, 40, 50))];
  let long = a;
  for (let i = 0; i < 20; i++) long = ops.exp(ops.add(long, i)); // too long to be computed for two readers
  const wide = ops.expand(long, [3, 40, 50]);
  assert.deepEqual(dispatchesOf(ops.mul(ops.add(b, wide), ops.sub(b, wide))), ["elementwise"]);
  // Twenty times as many elements read it: it is stored.
  const wider = ops.expand(long, [20, 40, 50]);
  assert.deepEqual(dispatchesOf(ops.mul(ops.add(wider, 1), wider)), ["elementwise", "elementwise"]);
});

Deno.test("joining: the gradients of a value read in parts are computed in place, without zeros or sums", () => {
  const x = input("x", f32(6, 10));
  const all = ops.matmul(x, input("w", f32(10, 24)));
  const parts = [0, 1, 2].map((i) => ops.matmul(ops.slice(all, 1, 8 * i, 8), input(`w${i}`, f32(8, 5))));
  const out = ops.mul(ops.mul(parts[0], parts[1]), parts[2]);
  const [slope] = gradients(ops.sumAll(out), [x]);
  const names = dispatchesOf(slope);
  assert.ok(names.length === 11 && !names.includes("embed"), names.join()); // 4 products, 3 to multiply with, 4 products
});

/** Graphs whose dispatches are wide or large; name, roots. */
const extremes: Record<string, () => Value> = {
  "an elementwise op over 70,001 rows": () => ops.add(input("a", f32(70001, 1)), input("b", f32(40))),
  "an elementwise op over more than 65,535 workgroups": () => ops.exp(input("a", f32(64 * 65535 + 1))),
  "70,001 planes of a permuted tensor": () =>
    ops.exp(ops.permute(ops.expand(input("a", f32(70001, 3, 1)), [70001, 3, 50]), [0, 2, 1])),
  "sums of 600,000 rows": () => ops.sum(input("a", f32(600000, 9)), 1),
  "70,001 columns": () => ops.sum(ops.transpose(input("a", f32(5, 70001))), 1),
  "softmax of 600,000 rows": () => ops.softmax(input("a", f32(600000, 9))),
  "a product of 1,100,000 rows": () => ops.matmul(input("a", f32(1100000, 8)), input("b", f32(8, 4))),
  "a product of 1,100,000 columns": () => ops.matmul(input("a", f32(4, 8)), input("b", f32(8, 1100000))),
  "a convolution of a large image": () => ops.conv2d(input("a", f32(1, 3, 2048, 2048)), input("b", f32(16, 3, 3, 3))),
  "resampling 70,001 planes": () => ops.resample(input("a", f32(70001, 2, 2)), { height: 4, width: 4 }),
  "a sum of thirty tensors": () =>
    Array.from({ length: 30 }, (_, i) => input(`x${i}`, f32(50))).reduce((a, b) => ops.add(a, b)),
  "a product with fourteen tensors added": () =>
    Array.from({ length: 14 }, (_, i) => input(`x${i}`, f32(30, 20))).reduce(
      (a, b) => ops.add(a, b),
      ops.matmul(input("a", f32(30, 8)), input("b", f32(8, 20))),
    ),
  "a reduction with chains on both sides": () => {
    const chain = (shape: number[], prefix: string, start: Value) =>
      Array.from({ length: 5 }, (_, i) => input(`${prefix}${i}`, f32(...shape))).reduce((a, b) => ops.mul(a, b), start);
    return chain([30], "after", ops.sum(chain([30, 40], "before", input("x", f32(30, 40))), 1));
  },
  "nine views of one tensor, all of which must be copied": () => {
    const a = input("a", f32(16, 6));
    return Array.from({ length: 9 }, (_, i) => ops.reshape(ops.transpose(ops.slice(a, 0, i, 4)), [24])).reduce((x, y) =>
      ops.add(x, y)
    );
  },
  "a concatenation of pieces made of each other": () => {
    const a = ops.exp(input("a", f32(4, 5)));
    const b = ops.softmax(a);
    return ops.concat([b, ops.softmax(b), ops.concat([ops.neg(b), a])]);
  },
};

Deno.test("programs: wide and large graphs stay within what WebGPU promises", () => {
  for (const [what, build] of Object.entries(extremes)) {
    const graph: Graph = { roots: new Map([["out", build()]]) };
    for (const name of profileNames) {
      for (const fuse of [true, false]) {
        try {
          checkProgram(compile("extreme", graph, { profile: promisedProfile(name), fuse }).step);
        } catch (error) {
          throw new Error(`${what}, ${name}, ${fuse ? "fused" : "unfused"}`, { cause: error });
        }
      }
    }
    const low = lowered(graph, { profile });
    if (ops.sizeOf([...graph.roots.values()][0].type.shape) < 1e6) replayPlan(low, planMemory(low));
  }
});

gpuTest("programs: fused and unfused give what a random graph means", async (gpu) => {
  await fc.assert(
    fc.asyncProperty(randomGraph(14), async ({ graph, feeds }) => {
      const want = interpret(graph, feeds);
      for (const fuse of [true, false]) {
        const prepared = await prepare(gpu, graph, feeds, { profile: gpu.profile(gpu.own)!, fuse });
        assertSame(await prepared.run(), want, 2e-4, fuse ? "fused" : "unfused");
      }
    }),
    { seed: SEED + 6, numRuns: 30, endOnFailure: true },
  );
});
