/**
 * Tensors cut into parts, because of a device that binds little at once: what graphs mean stays, no stored tensor is larger than can be bound, and the GPU computes by parts what it
 * computes whole.
 */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import * as ops from "../../../src/engine/mod.ts";
import { compile, EngineError, f32, gradients, type Graph, input, state, type Value } from "../../../src/engine/mod.ts";
import { interpret } from "../../../src/engine/ir/interpret.ts";
import { verify } from "../../../src/engine/ir/verify.ts";
import { lowered } from "../../../src/engine/compile/compile.ts";
import { cutAbove } from "../../../src/engine/compile/cut.ts";
import { expandComposites } from "../../../src/engine/compile/expand.ts";
import { planMemory } from "../../../src/engine/compile/plan.ts";
import { simplify } from "../../../src/engine/compile/simplify.ts";
import { gpuTest, prepare } from "../../support/engine/gpu.ts";
import { feedsOf, relativeError } from "../../support/engine/numbers.ts";
import { profileNames, promisedProfile } from "../../support/engine/profiles.ts";
import { randomGraph } from "../../support/engine/random_graph.ts";
import { replayPlan } from "../../support/engine/replay.ts";

const SEED = 20261128;

function assertClose(got: ReadonlyMap<string, ArrayLike<number>>, want: typeof got, tolerance: number, what: string) {
  assert.deepEqual([...got.keys()], [...want.keys()]);
  for (const [root, values] of want) {
    const error = relativeError(got.get(root)!, values);
    assert.ok(error <= tolerance, `${what}: ${root} differs by ${error.toExponential(2)}`);
  }
}

/** The graph as the pass meets it. */
const prepared = (graph: Graph) => simplify.run(expandComposites(promisedProfile("portable")).run(simplify.run(graph)));

Deno.test("cut: random graphs keep their meaning, or are refused", () => {
  let refused = 0;
  fc.assert(
    fc.property(randomGraph(40), fc.integer({ min: 16, max: 2000 }), ({ graph, feeds }, most) => {
      const whole = prepared(graph);
      try {
        const cut = cutAbove(most).run(whole);
        verify(cut, "cut");
        const low = lowered(graph, { profile: { ...promisedProfile("portable"), maxBindingBytes: most } });
        replayPlan(low, planMemory(low));
        const want = interpret(whole, feeds);
        for (const [root, values] of interpret(cut, feeds)) {
          const scale = Math.max(1e-3, ...want.get(root)!.map(Math.abs));
          const worst = values.reduce((most, x, i) => Math.max(most, Math.abs(x - want.get(root)![i])), 0);
          assert.ok(worst <= 1e-9 * scale, `${root} differs by ${worst}`);
        }
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
        assert.match(error.message, /^Cannot compute .*work on parts; choose a smaller size/);
        refused++;
      }
    }),
    { seed: SEED, numRuns: 400 },
  );
  assert.ok(refused < 300, `${refused} of 400 were refused`);
});

const [height, width] = [25, 38];

/** A small network with all that the generator is made of, and its gradients. Odd sides, so that doubled planes are cropped. */
function network(padding: ops.Padding): Graph {
  const trained = (name: string, ...shape: number[]) => state(name, f32(...shape), { trained: true });
  const states: Record<string, Value> = {
    skip: trained("skip", 4, 3, 1, 1),
    skipNorm: trained("skipNorm", 2, 4),
    down: trained("down", 10, 3, 3, 3),
    downNorm: trained("downNorm", 2, 10),
    joinedNorm: trained("joinedNorm", 2, 14),
    up: trained("up", 8, 14, 3, 3),
    upNorm: trained("upNorm", 2, 8),
    mix: trained("mix", 8, 8, 1, 1),
    out: trained("out", 3, 8, 1, 1),
    bias: trained("bias", 3),
  };
  const unit = (raw: Value, norm: Value) => ops.leakyRelu(ops.batchNorm(raw, norm, 1e-5), 0.2);
  const x = input("x", f32(1, 3, height, width));
  const skip = unit(ops.conv2d(x, states.skip), states.skipNorm);
  const down = unit(ops.conv2d(x, states.down, { stride: 2 }), states.downNorm);
  const doubled = ops.resample(down, { height: 2 * down.type.shape[2], width: 2 * down.type.shape[3] });
  const cropped = ops.slice(ops.slice(doubled, 2, 0, height), 3, 0, width);
  const joined = ops.batchNorm(ops.concat([skip, cropped], 1), states.joinedNorm, 1e-5);
  const up = unit(ops.conv2d(joined, states.up, { padding }), states.upNorm);
  const mixed = ops.leakyRelu(ops.conv2d(up, states.mix), 0.2);
  const bias = ops.reshape(states.bias, [1, 3, 1, 1]);
  const image = ops.sigmoid(ops.add(ops.conv2d(mixed, states.out), bias));
  const target = ops.mul(x, x);
  const loss = ops.sumAll(ops.mul(ops.sub(image, target), ops.sub(image, target)));
  const slopes = gradients(loss, Object.values(states)).map((slope) =>
    ops.reshape(slope, [ops.sizeOf(slope.type.shape)])
  );
  return { roots: new Map([["image", image], ["gradient", ops.concat(slopes)]]) };
}

/** In channels of the network's full size. */
const room = (channels: number) => channels * height * width * 4;

for (const padding of ["zero", "reflect"] as const) {
  Deno.test(`cut: a network and its gradients keep their meaning (${padding} padding)`, () => {
    const whole = prepared(network(padding));
    const feeds = feedsOf(whole);
    const want = interpret(whole, feeds);
    for (const channels of [3, 4, 5, 9]) {
      const cut = cutAbove(room(channels)).run(whole);
      verify(cut, "cut");
      assertClose(interpret(cut, feeds), want, 1e-9, `${channels} channels`);
    }
  });

  Deno.test(`cut: no buffer of a network's program is larger than a binding (${padding} padding)`, () => {
    for (const channels of [3, 4, 5, 9]) {
      const profile = { ...promisedProfile("portable"), maxBindingBytes: room(channels) };
      const low = lowered(network(padding), { profile });
      const plan = planMemory(low);
      replayPlan(low, plan);
      const largest = Math.max(...[...plan.buffers.values()].map(({ bytes }) => bytes));
      assert.ok(
        largest <= room(channels),
        `${channels} channels: ${largest} bytes are bound, ${room(channels)} can be`,
      );
    }
  });
}

gpuTest("cut: the GPU computes a network by parts as it does whole, on every set of kernels", async (gpu) => {
  for (const name of profileNames) {
    const profile = gpu.profile(name);
    if (!profile) continue;
    for (const padding of ["zero", "reflect"] as const) {
      const graph = network(padding);
      const feeds = feedsOf(graph);
      const run = async (maxBindingBytes: number) =>
        await (await prepare(gpu, graph, feeds, { profile: { ...profile, maxBindingBytes } })).run();
      const want = await run(profile.maxBindingBytes);
      for (const channels of [3, 5, 9]) {
        assertClose(await run(room(channels)), want, 1e-6, `${name}, ${channels} channels`);
      }
    }
  }
});

Deno.test("cut: several images are convolved part by part", () => {
  const [x, weight] = [input("x", f32(3, 2, 9, 8)), input("weight", f32(4, 2, 3, 3))];
  const out = ops.conv2d(ops.exp(x), weight, { padding: "reflect" });
  const [slope] = gradients(ops.sumAll(ops.mul(out, out)), [x]);
  const whole = prepared({ roots: new Map([["out", out], ["slope", slope]]) });
  const feeds = feedsOf(whole);
  const cut = cutAbove(4 * 4 * 9 * 8).run(whole);
  assert.notEqual(cut, whole);
  assertClose(interpret(cut, feeds), interpret(whole, feeds), 1e-12, "images");
});

Deno.test("cut: where nothing is too large, the graph is left alone", () => {
  const graph = network("zero");
  assert.equal(cutAbove(room(14)).run(graph), graph);
});

Deno.test("cut: an op that has to have a large tensor at once is named", () => {
  const x = input("x", f32(64, 64));
  const graph = { roots: new Map([["out", ops.softmax(ops.transpose(ops.exp(x)))]]) };
  assert.throws(
    () => compile("large", graph, { profile: { ...promisedProfile("portable"), maxBindingBytes: 4096 } }),
    (error) => error instanceof EngineError && error.kind === "memory" && /softmax/.test(error.message),
  );
});
