/**
 * Passes, plans and programs over random graphs: a pass never changes what a graph means, a plan never loses a value that
 * someone still reads, a program never asks for what WebGPU does not promise, and fusion changes no number on the GPU.
 */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import * as ops from "../../../src/engine/mod.ts";
import { compile, f32, type Graph, input, type Value } from "../../../src/engine/mod.ts";
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
