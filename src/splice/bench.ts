/**
 * Measurements of this program on this adapter: rates of the main kernels, the time of a training step and where it goes, and
 * what a step of the published model would take of memory. Never a test: numbers depend on the machine and its mood, so what
 * counts are ratios within one run.
 */
import {
  ADAM_INPUT,
  adamFeed,
  compile,
  type Compiled,
  conv2d,
  f32,
  type Graph,
  grouped,
  input,
  type Loaded,
  matmul,
  openRuntime,
  type Profile,
  randomStream,
  type Runtime,
  sizeOf,
  timeline,
  type Timing,
  transpose,
  type Value,
  withAdam,
} from "../engine/mod.ts";
import { openGenerator } from "../nets/unet.ts";
import { openVit } from "../nets/vit.ts";
import type { VitDescription } from "../weights/formats/vit_family.ts";
import { describeEntry, MODELS } from "../weights/store/manifest.ts";
import { freshSlab, writeTrained } from "./transfer/checkpoint.ts";
import { uploadExtractor } from "./transfer/extractor.ts";
import { loadStep } from "./transfer/load_step.ts";
import { memoryOf, type MemoryReport } from "./transfer/memory.ts";
import { objective, termsAt, type Weights } from "./transfer/objective.ts";
import { drawCrops } from "./transfer/augment.ts";
import type { Extractor } from "./transfer/trainer.ts";

export interface KernelRate {
  readonly name: string;
  readonly milliseconds: number;
  readonly gflops: number;
}

export interface GroupShare {
  readonly name: string;
  readonly dispatches: number;
  readonly milliseconds: number;
  /** Of the sum over all kernels. */
  readonly share: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
}

export interface StepBench {
  /** Side of both (square) images, and of what the extractor sees, in pixels. */
  readonly size: number;
  readonly extractorSide: number;
  /** Wall time of a step, the least of several. */
  readonly milliseconds: number;
  /** Of it, what the host spends on feeding, recording and submitting. */
  readonly hostMilliseconds: number;
  readonly gflops: number;
  /** gflops over the best matrix product's. */
  readonly ofMatmul: number;
  readonly dispatches: number;
  /** Of the last run that was timed. */
  readonly submits: number;
  readonly plannedBytes: number;
  readonly groups: readonly GroupShare[];
}

export interface BenchReport {
  readonly adapter: string;
  readonly profile: string;
  readonly kernels: readonly KernelRate[];
  readonly steps: readonly StepBench[];
  /** A step of ViT-B/8 with augmentation, the heaviest kind, by image side. */
  readonly planned: readonly ({ readonly model: string; readonly size: number } & MemoryReport)[];
}

const WEIGHTS: Weights = { global_cls: 10, global_ssim: 1, global_id: 1, entire_ssim: 1, entire_cls: 10 };
const EVERY = 75;
const ADAM = { betas: [0, 0.99] as const, epsilon: 1e-8, state: "generator", gradient: "gradient" };
const VIT_B8 = describeEntry(MODELS.find(({ name }) => name === "dino-vitb8")!);
const REPEATS = 6;

/** One op over fed inputs: from frozen states it would be hoisted out of the step, and computed once. */
interface Case {
  readonly name: string;
  readonly shapes: readonly (readonly number[])[];
  build(...x: Value[]): Value;
}

const CASES: readonly Case[] = [
  // As the extractor's layers are: weights [N, K]; then the same product with the right operand [K, N].
  { name: "matmul 785x768x3072", shapes: [[785, 768], [3072, 768]], build: (a, b) => matmul(a, transpose(b)) },
  { name: "matmul 785x768x3072, [K,N]", shapes: [[785, 768], [768, 3072]], build: (a, b) => matmul(a, b) },
  { name: "matmul 1024x1024x1024", shapes: [[1024, 1024], [1024, 1024]], build: (a, b) => matmul(a, b) },
  { name: "conv 3x3 64->64 at 128x128", shapes: [[1, 64, 128, 128], [64, 64, 3, 3]], build: (x, w) => conv2d(x, w) },
  { name: "conv 3x3 16->16 at 512x512", shapes: [[1, 16, 512, 512], [16, 16, 3, 3]], build: (x, w) => conv2d(x, w) },
];

export interface BenchOptions {
  readonly runtime: Runtime;
  readonly extractor: Extractor;
  readonly extractorSide: number;
  readonly sizes: readonly number[];
  /** Called before each part, with what is measured next. */
  onPart(name: string): void;
}

export async function bench(options: BenchOptions): Promise<BenchReport> {
  const { runtime } = options;
  const kernels: KernelRate[] = [];
  for (const item of CASES) {
    options.onPart(item.name);
    kernels.push(await kernelRate(runtime, item));
  }
  const best = Math.max(...kernels.filter(({ name }) => name.startsWith("matmul")).map(({ gflops }) => gflops));
  const steps: StepBench[] = [];
  for (const size of options.sizes) {
    options.onPart(`training step at ${size} px`);
    steps.push(await stepBench(options, size, best));
  }
  options.onPart("memory plans");
  const planned = [512, 1024, 2000].map((size) => ({
    model: "dino-vitb8",
    size,
    ...planOf(VIT_B8, size, runtime.gpu.profile),
  }));
  return { adapter: runtime.gpu.info.name, profile: runtime.gpu.profile.name, kernels, steps, planned };
}

async function kernelRate(runtime: Runtime, item: Case): Promise<KernelRate> {
  const random = randomStream(1);
  const inputs = item.shapes.map((shape, i) => input(`x${i}`, f32(...shape)));
  const feeds = new Map(
    item.shapes.map((
      shape,
      i,
    ) => [`x${i}`, Float32Array.from({ length: sizeOf(shape) }, () => random.uniform() - 0.5)]),
  );
  const { step } = compile(item.name, { roots: new Map([["out", item.build(...inputs)]]) }, {
    profile: runtime.gpu.profile,
  });
  const [loaded] = await runtime.load([step]);
  await runtime.run(loaded, feeds);
  const flops = step.steps.reduce((sum, { kernel }) => sum + kernel.cost.flops, 0);
  let milliseconds = Infinity;
  for (let i = 0; i < REPEATS; i++) milliseconds = Math.min(milliseconds, await deviceTime(runtime, loaded, feeds));
  return { name: item.name, milliseconds, gflops: flops / milliseconds / 1e6 };
}

/** Milliseconds of one run on the device: by timestamps, else by the wall clock over several runs. */
async function deviceTime(runtime: Runtime, loaded: Loaded, feeds: ReadonlyMap<string, Float32Array>): Promise<number> {
  if (runtime.gpu.timestamps) return sumOf(await timeline(runtime.gpu, loaded)) / 1000;
  await runtime.settle();
  const began = performance.now();
  for (let i = 0; i < 20; i++) await runtime.run(loaded, feeds);
  await runtime.settle();
  return (performance.now() - began) / 20;
}

const sumOf = (timings: readonly Timing[]) => timings.reduce((sum, { microseconds }) => sum + microseconds, 0);

/** The compiled step of a square pair, crops as large as the images; `step` 1 is an ordinary one, 75 the heaviest. */
function compiledStep(shape: VitDescription, size: number, side: number, step: number, profile: Profile): Compiled {
  const square = { height: size, width: size };
  const graph: Graph = objective({
    vit: openVit(shape),
    generator: openGenerator("reflect"),
    structure: square,
    appearance: square,
    weights: WEIGHTS,
    side,
    longest: 480,
    resize: "bilinear",
    crops: { structure: size, appearance: size },
  }, termsAt(step, EVERY, WEIGHTS));
  const { prelude, step: program } = compile(`step at ${size}`, graph, { profile });
  return { prelude, step: withAdam(program, ADAM) };
}

function planOf(shape: VitDescription, size: number, profile: Profile): MemoryReport {
  return memoryOf(compiledStep(shape, size, shape.native, EVERY, profile));
}

async function stepBench(options: BenchOptions, size: number, best: number): Promise<StepBench> {
  const runtime = openRuntime(options.runtime.gpu);
  const { extractor, extractorSide } = options;
  const compiled = compiledStep(extractor.vit, size, extractorSide, 1, runtime.gpu.profile);
  uploadExtractor(runtime, extractor, [compiled.prelude, compiled.step]);
  const random = randomStream(2, size);
  const loaded = await loadStep(runtime, compiled);
  for (const { role, bytes } of loaded.program.buffers.values()) {
    if (role.kind === "state" && (role.name === "structure" || role.name === "appearance")) {
      runtime.writeState(role.name, Float32Array.from({ length: bytes / 4 }, () => random.uniform()));
    }
  }
  writeTrained(runtime, "generator", { slab: freshSlab(random) });
  const square = { height: size, width: size };
  const drawn = drawCrops(random, { structure: square, appearance: square }, 0.5);
  const zero = (vector: Float32Array, at: readonly number[]) => vector.map((value, i) => at.includes(i) ? 0 : value);
  const feeds = new Map([
    [ADAM_INPUT, adamFeed(1, 2e-3, ADAM.betas)],
    ["structure_draw", zero(drawn.structure, [1, 2])], // the crop is the whole image: its corner is 0, 0
    ["appearance_draw", zero(drawn.appearance, [1, 2])],
  ]);
  await runtime.run(loaded, feeds);
  await runtime.settle();
  let [milliseconds, hostMilliseconds] = [Infinity, Infinity];
  let submits: number | null = null;
  for (let i = 0; i < REPEATS; i++) {
    const began = performance.now();
    submits = await runtime.run(loaded, feeds);
    const submitted = performance.now();
    await runtime.settle();
    milliseconds = Math.min(milliseconds, performance.now() - began);
    hostMilliseconds = Math.min(hostMilliseconds, submitted - began);
  }
  const timings = runtime.gpu.timestamps ? await timeline(runtime.gpu, loaded) : [];
  const sum = sumOf(timings);
  const flops = loaded.program.steps.reduce((total, { kernel }) => total + kernel.cost.flops, 0);
  const gflops = flops / milliseconds / 1e6;
  runtime.release();
  return {
    size,
    extractorSide,
    milliseconds,
    hostMilliseconds,
    gflops,
    ofMatmul: gflops / best,
    dispatches: loaded.program.steps.length,
    submits: submits!,
    plannedBytes: memoryOf(compiled).totalBytes,
    groups: grouped(timings, ({ kernel }) => familyOf(kernel)).map((group) => ({
      name: group.name,
      dispatches: group.count,
      milliseconds: group.microseconds / 1000,
      share: group.microseconds / sum,
      gflops: group.flops / group.microseconds / 1000,
      gigabytesPerSecond: group.bytes / group.microseconds / 1000,
    })),
  };
}

/** Kernels of one family in different tiles count together. */
function familyOf(kernel: string): string {
  const family = ["matmul", "attention", "conv_weight_gradient", "conv_input_gradient", "conv", "resample"].find((
    prefix,
  ) => kernel.startsWith(prefix));
  return family ?? kernel;
}
