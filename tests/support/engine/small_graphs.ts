/** Three small graphs that need every pass, and their whole way to a program as text. */
import * as ops from "../../../src/engine/mod.ts";
import {
  compile,
  type CompileOptions,
  f32,
  gradients,
  type Graph,
  graphText,
  input,
  programText,
  state,
  type Value,
} from "../../../src/engine/mod.ts";

/** A graph of an output, its loss against a weight, and the loss's gradients by the trained states. */
function trained(out: Value, states: Record<string, Value>): Graph {
  const loss = ops.withScope("loss", () => ops.mean(ops.mul(out, out), out.type.shape.length));
  const slopes = gradients(loss, Object.values(states));
  return {
    roots: new Map([["loss", loss], ...Object.keys(states).map((name, i): [string, Value] => [name, slopes[i]])]),
  };
}

const trainedState = (name: string, ...shape: number[]) => state(name, f32(...shape), { trained: true });

export const smallGraphs: Record<string, () => Graph> = {
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

/** The graph as it was built and after each pass, then the programs. */
export function compilationText(name: string, graph: Graph, options: CompileOptions): string {
  const parts = [`--- ${name}: as it was built\n`, graphText(graph)];
  const watch = (pass: string, now: Graph) => parts.push(`\n--- ${name}: after ${pass}\n`, graphText(now));
  const { prelude, step } = compile(name, graph, { ...options, watch });
  for (const program of [prelude, step]) {
    if (program) parts.push("\n--- ", programText(program));
  }
  return parts.join("");
}
