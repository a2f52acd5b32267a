/**
 * Three small graphs, after each pass and as programs, as text under tests/golden: a change of a pass is a diff to read.
 *
 *   deno task test tests/engine_golden_test.ts -- --update     writes the texts anew
 *
 * Programs are for a made-up adapter, the same everywhere. Their grids are the kernels' business and left out, so that tuning a
 * kernel does not touch these files.
 */
import assert from "node:assert/strict";
import * as ops from "../src/engine/mod.ts";
import {
  compile,
  f32,
  gradients,
  type Graph,
  graphText,
  input,
  programText,
  state,
  type Value,
} from "../src/engine/mod.ts";
import { promisedProfile } from "./support/gpu.ts";

const folder = new URL("./golden/", import.meta.url);
const update = Deno.args.includes("--update");

/** A graph of an output, its loss against a weight, and the loss's gradients by the trained states. */
function trained(out: Value, states: Record<string, Value>): Graph {
  const loss = ops.withScope("loss", () => ops.mean(ops.mul(out, out), out.type.shape.length));
  const slopes = gradients(loss, Object.values(states));
  return {
    roots: new Map([["loss", loss], ...Object.keys(states).map((name, i): [string, Value] => [name, slopes[i]])]),
  };
}

const trainedState = (name: string, ...shape: number[]) => state(name, f32(...shape), { trained: true });

const graphs: Record<string, () => Graph> = {
  linear() {
    const [weight, bias] = [trainedState("weight", 24, 16), trainedState("bias", 24)];
    const x = input("x", f32(10, 16));
    const out = ops.withScope("linear", () => ops.gelu(ops.add(ops.matmul(x, ops.transpose(weight)), bias)));
    return trained(out, { weight, bias });
  },
  convolution() {
    const [weight, affine] = [trainedState("weight", 8, 3, 3, 3), trainedState("affine", 2, 8)];
    const x = input("x", f32(1, 3, 18, 20));
    const out = ops.withScope("block", () => {
      const convolved = ops.conv2d(x, weight, { padding: "reflect" });
      return ops.leakyRelu(ops.batchNorm(convolved, affine, 1e-5), 0.2);
    });
    return trained(out, { weight, affine });
  },
  attention() {
    const frozen = (name: string, ...shape: number[]) => state(name, f32(...shape), { trained: false });
    const x = input("x", f32(10, 64));
    const out = ops.withScope("block", () => {
      const normed = ops.layerNorm(x, frozen("norm.weight", 64), frozen("norm.bias", 64), 1e-6);
      const qkv = ops.add(ops.matmul(normed, ops.transpose(frozen("qkv.weight", 192, 64))), frozen("qkv.bias", 192));
      const [q, k, v] = [0, 64, 128].map((start) => ops.slice(qkv, 1, start, 64));
      // The scale of the output depends on frozen states alone: it is computed once.
      return ops.add(x, ops.mul(ops.attention(q, k, v), ops.exp(frozen("scale", 64))));
    });
    const [slope] = gradients(ops.sumAll(out), [x]);
    return { roots: new Map([["out", out], ["slope", slope]]) };
  },
};

function textOf(name: string, graph: Graph): string {
  const parts = [`--- ${name}: as it was built\n`, graphText(graph)];
  const watch = (pass: string, now: Graph) => parts.push(`\n--- ${name}: after ${pass}\n`, graphText(now));
  const { prelude, step } = compile(name, graph, { profile: promisedProfile("portable"), watch });
  for (const program of [prelude, step]) {
    if (program) parts.push("\n--- ", programText(program).replaceAll(/ \[[\d,]+\] /g, " "));
  }
  return parts.join("");
}

for (const [name, build] of Object.entries(graphs)) {
  Deno.test(`golden: ${name}`, () => {
    const file = new URL(`${name}.txt`, folder);
    const text = textOf(name, build());
    if (update) Deno.writeTextFileSync(file, text);
    assert.equal(
      text,
      Deno.readTextFileSync(file),
      `tests/golden/${name}.txt is another text; --update writes it anew`,
    );
  });
}
