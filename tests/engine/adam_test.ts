/** Adam on the GPU against its formula in f64, over steps; and a program with it keeps to what WebGPU allows. */
import assert from "node:assert/strict";
import { ADAM_INPUT, adamFeed, compile, f32, input, mul, state, sub, withAdam } from "../../src/engine/mod.ts";
import { gpuTest } from "../support/engine/gpu.ts";
import { noise, relativeError } from "../support/engine/numbers.ts";
import { checkProgram } from "../support/engine/replay.ts";

const LENGTH = 1037;
const RATE = 2e-3;
const betas: [number, number] = [0.9, 0.999];

gpuTest("adam: five steps are those of the paper, and the moments live on as states", async ({ runtime }) => {
  // The gradient of (weight - target)^2 / 2 * scale: nothing but what Adam is given.
  const weight = state("adam.weight", f32(LENGTH), { trained: true });
  const gradient = mul(sub(weight, input("target", f32(LENGTH))), input("scale", f32(LENGTH)));
  const graph = { roots: new Map([["gradient", gradient]]) };
  const { step } = compile("adam", graph, { profile: runtime.gpu.profile });
  const options = { betas, epsilon: 1e-8, state: "adam.weight", gradient: "gradient" };
  const program = withAdam(step, options);
  checkProgram(program);

  const [target, scale] = [noise(LENGTH, 1), noise(LENGTH, 2, "positive")];
  const p = noise(LENGTH, 3);
  const zeros = new Float32Array(LENGTH);
  runtime.writeState("adam.weight", new Float32Array(p));
  for (const name of ["adam.weight.m", "adam.weight.v"]) runtime.writeState(name, zeros);
  const [loaded] = await runtime.load([program]);

  const [m, v] = [new Float64Array(LENGTH), new Float64Array(LENGTH)];
  for (let t = 1; t <= 5; t++) {
    for (let i = 0; i < LENGTH; i++) {
      const g = (p[i] - target[i]) * scale[i];
      m[i] = betas[0] * m[i] + (1 - betas[0]) * g;
      v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g;
      p[i] -= RATE * (m[i] / (1 - betas[0] ** t)) / (Math.sqrt(v[i] / (1 - betas[1] ** t)) + options.epsilon);
    }
    const feeds = { target, scale };
    const numbers = Object.entries(feeds).map(([name, data]): [string, Float32Array] => [name, new Float32Array(data)]);
    await runtime.run(loaded, new Map([...numbers, [ADAM_INPUT, adamFeed(t, RATE, betas)]]));
  }
  for (const [name, want] of [["adam.weight", p], ["adam.weight.m", m], ["adam.weight.v", v]] as const) {
    const error = relativeError(await runtime.readState(name), want);
    assert.ok(error < 1e-6, `${name}: relative error ${error.toExponential(2)}`);
  }
});
