/**
 * The same products and convolutions by this engine and by TensorFlow.js's WebGPU backend, on one adapter, in one run.
 *
 *   deno run --allow-read --allow-env --allow-sys --no-lock tools/compare_tfjs.ts
 *
 * tfjs has no timestamps of its own, so both sides are timed by the wall clock over several runs that are waited for once.
 */
import * as tf from "npm:@tensorflow/tfjs-core@4.22.0";
import "npm:@tensorflow/tfjs-backend-webgpu@4.22.0";
import {
  compile,
  conv2d,
  f32,
  matmul,
  openGpu,
  openRuntime,
  sizeOf,
  state,
  transpose,
  type Value,
} from "../src/engine/mod.ts";

interface Case {
  readonly name: string;
  readonly shapes: readonly [number[], number[]];
  readonly flops: number;
  ours(a: Value, b: Value): Value;
  theirs(a: tf.Tensor, b: tf.Tensor): tf.Tensor;
}

const conv = (channels: number, side: number): Case => ({
  name: `conv 3x3 ${channels}->${channels} at ${side}x${side}`,
  shapes: [[1, channels, side, side], [channels, channels, 3, 3]],
  flops: 2 * 9 * channels ** 2 * side ** 2,
  ours: (x, w) => conv2d(x, w),
  // tfjs's WebGPU kernels are written for NHWC; the operands are in its own layout before the clock starts.
  theirs: (x, w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same"),
});

const cases: readonly Case[] = [
  {
    name: "matmul 785x768x3072", // as the extractor's layers are: weights [N, K]
    shapes: [[785, 768], [3072, 768]],
    flops: 2 * 785 * 768 * 3072,
    ours: (a, b) => matmul(a, transpose(b)),
    theirs: (a, b) => tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D, false, true),
  },
  {
    name: "matmul 785x768x3072, [K,N]",
    shapes: [[785, 768], [768, 3072]],
    flops: 2 * 785 * 768 * 3072,
    ours: (a, b) => matmul(a, b),
    theirs: (a, b) => tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D),
  },
  conv(64, 128),
  conv(16, 512),
];

const RUNS = 5;
const random = (count: number) => Float32Array.from({ length: count }, () => Math.random() - 0.5);

/** GFLOP/s of the best of a few rounds. */
async function rate(flops: number, run: () => void, wait: () => Promise<void>): Promise<number> {
  run();
  await wait();
  let best = Infinity;
  for (let round = 0; round < 3; round++) {
    const began = performance.now();
    for (let i = 0; i < RUNS; i++) run();
    await wait();
    best = Math.min(best, (performance.now() - began) / RUNS);
  }
  return flops / best / 1e6;
}

const gpu = await openGpu();
const runtime = openRuntime(gpu);
await tf.setBackend("webgpu");
await tf.ready();
console.log(`${gpu.info.name}; tfjs ${tf.version_core} ${tf.getBackend()}`);
for (const item of cases) {
  const [a, b] = item.shapes.map((shape, i) => state(`${item.name} ${i}`, f32(...shape), { trained: true }));
  const { step } = compile(item.name, { roots: new Map([["out", item.ours(a, b)]]) }, { profile: gpu.profile });
  const [loaded] = await runtime.load([step]);
  item.shapes.forEach((shape, i) => runtime.writeState(`${item.name} ${i}`, random(sizeOf(shape))));
  const ours = await rate(item.flops, () => runtime.run(loaded), () => runtime.settle());

  const nhwc = ([n, c, h, w]: number[]) => item.shapes[0].length === 4 ? [n, h, w, c] : [n, c];
  const hwio = ([o, i, h, w]: number[]) => item.shapes[0].length === 4 ? [h, w, i, o] : [o, i];
  const x = tf.tensor(random(sizeOf(item.shapes[0])), nhwc(item.shapes[0]));
  const w = tf.tensor(random(sizeOf(item.shapes[1])), hwio(item.shapes[1]));
  let last: tf.Tensor | null = null;
  const theirs = await rate(item.flops, () => {
    last?.dispose();
    last = item.theirs(x, w);
  }, async () => void await tf.slice(last!, last!.shape.map(() => 0), last!.shape.map(() => 1)).data());
  console.log(
    `${item.name.padEnd(28)} ours ${ours.toFixed(1).padStart(6)} GFLOP/s   tfjs ${
      theirs.toFixed(1).padStart(6)
    } GFLOP/s   ${(ours / theirs).toFixed(1)} x`,
  );
}
runtime.close();
