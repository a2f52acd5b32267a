/** Little memory: what is computed again instead of kept means the same, and values that share buffers are never in each other's way. */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import * as ops from "../../../src/engine/mod.ts";
import { f32, gradients, type Graph, input, state, type Value } from "../../../src/engine/mod.ts";
import { describe } from "../../../src/engine/ir/graph.ts";
import { interpret } from "../../../src/engine/ir/interpret.ts";
import { verify } from "../../../src/engine/ir/verify.ts";
import { lowered } from "../../../src/engine/compile/compile.ts";
import { type MemoryPlan, planMemory, scratchBytes } from "../../../src/engine/compile/plan.ts";
import { recomputeAbove } from "../../../src/engine/compile/recompute.ts";
import { baseOf } from "../../../src/engine/compile/views.ts";
import { gpuTest, prepare } from "../../support/engine/gpu.ts";
import { feedsOf } from "../../support/engine/numbers.ts";
import { promisedProfile } from "../../support/engine/profiles.ts";
import { randomGraph } from "../../support/engine/random_graph.ts";
import { replayPlan } from "../../support/engine/replay.ts";

const SEED = 20261129;
const profile = promisedProfile("portable");

/** WebGPU refuses a dispatch that reads and writes one buffer. */
function checkApart({ order, placement }: MemoryPlan): void {
  for (const value of order) {
    if (value.op.lower.kind === "concat") continue;
    const target = placement.get(value)!.buffer;
    const same = value.inputs.find((from) => placement.get(baseOf(from))?.buffer === target);
    assert.equal(same, undefined, `${describe(value)} is written to the buffer that it is read from`);
  }
}

Deno.test("recompute: random graphs keep their meaning and their plans hold", () => {
  let changed = 0;
  fc.assert(
    fc.property(randomGraph(60), fc.integer({ min: 0, max: 2000 }), ({ graph, feeds }, budget) => {
      const low = lowered(graph, { profile });
      const lighter = recomputeAbove(budget).run(low);
      if (lighter !== low) changed++;
      verify(lighter, "recompute");
      assert.deepEqual(interpret(lighter, feeds), interpret(low, feeds), "a number changed");
      for (const results of ["io", "state"] as const) {
        const plan = planMemory(lighter, results, budget);
        replayPlan(lighter, plan);
        checkApart(plan);
        assert.ok(scratchBytes(plan) <= scratchBytes(planMemory(lighter, results, Infinity)), "a dense plan is larger");
      }
    }),
    { seed: SEED, numRuns: 700 },
  );
  assert.ok(changed >= 50, `only ${changed} of 700 graphs were changed`);
});

/** Blocks that halve and double planes again and join them, normalised: what the networks are made of. */
function network(): Graph {
  const weights: Value[] = [];
  const trained = (...shape: number[]) => {
    weights.push(state(`w${weights.length}`, f32(...shape), { trained: true }));
    return weights.at(-1)!;
  };
  const unit = (x: Value, channels: number, stride: 1 | 2 = 1) => {
    const raw = ops.conv2d(x, trained(channels, x.type.shape[1], 3, 3), { stride });
    return ops.leakyRelu(ops.batchNorm(raw, trained(2, channels), 1e-5), 0.2);
  };
  const level = (x: Value, depth: number): Value => {
    const down = unit(unit(x, 8, 2), 8);
    const deep = depth === 0 ? down : level(down, depth - 1);
    const doubled = ops.resample(deep, { height: x.type.shape[2], width: x.type.shape[3] });
    return unit(unit(ops.concat([unit(x, 4), doubled], 1), 8), 8);
  };
  const out = level(input("x", f32(1, 3, 64, 64)), 2);
  const slopes = gradients(ops.sumAll(ops.mul(out, out)), weights);
  return { roots: new Map(slopes.map((slope, i) => [`slope${i}`, slope])) };
}

Deno.test("recompute: a network's backward pass holds a quarter less", () => {
  const low = lowered(network(), { profile });
  const [whole, lighter] = [low, recomputeAbove(0).run(low)].map((graph) => {
    const plan = planMemory(graph, "io", 0);
    replayPlan(graph, plan);
    return scratchBytes(plan);
  });
  assert.ok(lighter <= 0.75 * whole, `${lighter} bytes of ${whole}`);
});

gpuTest("recompute: the GPU gives the same bytes with little memory", async (gpu) => {
  const graph = network();
  const feeds = feedsOf(graph);
  const run = async (budget: number) =>
    await (await prepare(gpu, graph, feeds, { profile: gpu.profile(gpu.own)!, budget })).run();
  assert.deepEqual(await run(0), await run(Infinity));
});

Deno.test("recompute: what fits is left as it is", () => {
  const low = lowered(network(), { profile });
  assert.equal(recomputeAbove(scratchBytes(planMemory(low, "io", Infinity))).run(low), low);
});
