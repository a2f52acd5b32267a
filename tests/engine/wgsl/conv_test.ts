/**
 * Convolution and resampling kernels of every profile against plain f64 loops, and each adjoint against its forward kernel:
 * <conv(x), g> = <x, conv^T(g)>. Shapes are awkward on purpose: odd sides, single pixels, channel counts off the tile.
 */
import { type Chain, type Kernel, type Profile } from "../../../src/engine/ir/program.ts";
import { contiguous, f32, type Layout, type Shape, sizeOf } from "../../../src/engine/ir/type.ts";
import { convInputGradientKernel, convKernel, type Padding } from "../../../src/engine/wgsl/conv/conv.ts";
import { convWeightGradientKernel } from "../../../src/engine/wgsl/conv/conv_gradient.ts";
import {
  type Interpolation,
  resampleAdjointKernel,
  resampleKernel,
} from "../../../src/engine/wgsl/resample/resample.ts";

const profiles: readonly Profile[] = (["subgroup8", "portable", "workgroup"] as const).map((name) => ({
  name,
  maxStorageBuffers: 8,
  maxWorkgroupBytes: 16384,
  maxInvocations: 256,
  maxBindingBytes: 2 ** 27,
}));

interface Tensor {
  readonly layout: Layout;
  readonly data: Float32Array<ArrayBuffer>;
}

/** Numbers in [-1, 1) from a seed, the same on every run, among NaN, which must reach no result. */
function noise(shape: Shape, seed: number, offset = 0): Tensor {
  let state = seed * 2654435761 >>> 0;
  const data = new Float32Array(offset + sizeOf(shape) + 4).fill(NaN);
  for (let i = 0; i < sizeOf(shape); i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[offset + i] = state / 2 ** 31 - 1;
  }
  return { layout: contiguous(shape, offset), data };
}

function view({ data, layout: { offset, shape } }: Tensor): Float32Array<ArrayBuffer> {
  return data.subarray(offset, offset + sizeOf(shape));
}

// --- a runner: one kernel, its operands, its result ------------------------------------------------------------------

class Runner {
  readonly #pipelines = new Map<string, GPUComputePipeline>();
  constructor(readonly device: GPUDevice) {}

  /** Whether the kernel's text has been compiled. */
  knows(kernel: Kernel): boolean {
    return this.#pipelines.has(kernel.wgsl);
  }

  /** Runs a kernel whose last binding is its result. */
  async run(kernel: Kernel, inputs: readonly Tensor[], out: Layout): Promise<Float32Array<ArrayBuffer>> {
    const { device } = this;
    const live: GPUBuffer[] = [];
    const buffer = (bytes: number, usage: number, data?: ArrayBufferView<ArrayBuffer>) => {
      // Kernels may read storage four words at a time.
      const made = device.createBuffer({ size: Math.ceil(bytes / 16) * 16, usage });
      if (data) device.queue.writeBuffer(made, 0, data);
      live.push(made);
      return made;
    };
    const bytes = 4 * (sizeOf(out.shape) + out.offset);
    const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    const buffers = inputs.map(({ data }) => buffer(data.byteLength, storage, data));
    const result = buffer(bytes, storage | GPUBufferUsage.COPY_SRC, new Float32Array(bytes / 4).fill(NaN));
    buffers.push(result);
    if (kernel.access.length !== buffers.length) {
      throw new Error(`${kernel.name} has ${kernel.access.length} bindings, given ${buffers.length}`);
    }
    const words = new Int32Array(kernel.params);
    buffers.push(buffer(words.byteLength, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST, words));
    const staging = buffer(bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    device.pushErrorScope("validation");
    let pipeline = this.#pipelines.get(kernel.wgsl);
    if (!pipeline) {
      const module = device.createShaderModule({ code: kernel.wgsl, label: kernel.name });
      pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
      this.#pipelines.set(kernel.wgsl, pipeline);
    }
    const entries = buffers.map((b, binding) => ({ binding, resource: { buffer: b } }));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(...kernel.grid);
    pass.end();
    encoder.copyBufferToBuffer(result, 0, staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    const error = await device.popErrorScope();
    if (error) throw new Error(`${kernel.name}: ${error.message}`);
    await staging.mapAsync(GPUMapMode.READ);
    const data = new Float32Array(staging.getMappedRange()).slice(out.offset, bytes / 4);
    staging.unmap();
    for (const b of live) b.destroy();
    return data;
  }
}

async function withDevice(body: (runner: Runner) => Promise<void>): Promise<void> {
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) return console.log("skipped: no WebGPU adapter");
  // `subgroups` is granted where adapter.features does not list it; without it the profile subgroup8 cannot be tested.
  const device = await adapter.requestDevice({ requiredFeatures: ["subgroups" as GPUFeatureName] }).catch(() => null);
  if (!device) return console.log("skipped: the adapter grants no subgroups");
  try {
    await body(new Runner(device));
  } finally {
    device.destroy();
  }
}

// --- f64 meanings ----------------------------------------------------------------------------------------------------

interface ConvCase {
  readonly batch?: number;
  readonly inner: number;
  readonly outer: number;
  readonly height: number;
  readonly width: number;
  readonly size: number;
  readonly stride: number;
  readonly padding: Padding;
  /** The gradient can be read four words at a time. */
  readonly aligned?: boolean;
}

function outSide(side: number, c: ConvCase): number {
  return Math.floor((side - 1) / c.stride) + 1;
}

/** Calls `visit` with the flat indices of x, weight and out for every product of the convolution. */
function forEachProduct(c: ConvCase, visit: (x: number, weight: number, out: number) => void): void {
  const [height, width] = [outSide(c.height, c), outSide(c.width, c)];
  const p = (c.size - 1) / 2;
  const source = (at: number, side: number) => {
    if (at >= 0 && at < side) return at;
    return c.padding === "zero" ? -1 : at < 0 ? -at : 2 * (side - 1) - at;
  };
  for (let b = 0; b < (c.batch ?? 1); b++) {
    for (let o = 0; o < c.outer; o++) {
      for (let i = 0; i < c.inner; i++) {
        for (let ky = 0; ky < c.size; ky++) {
          for (let kx = 0; kx < c.size; kx++) {
            const weight = ((o * c.inner + i) * c.size + ky) * c.size + kx;
            for (let y = 0; y < height; y++) {
              const row = source(y * c.stride + ky - p, c.height);
              if (row < 0) continue;
              for (let x = 0; x < width; x++) {
                const column = source(x * c.stride + kx - p, c.width);
                if (column < 0) continue;
                visit(
                  ((b * c.inner + i) * c.height + row) * c.width + column,
                  weight,
                  ((b * c.outer + o) * height + y) * width + x,
                );
              }
            }
          }
        }
      }
    }
  }
}

/** out = operand0 * value + operand1, to see that an epilogue gets its operands at the right index. */
function testChain(operands: readonly Tensor[]): Chain {
  return {
    operands: operands.map(({ layout }) => ({ type: f32(...layout.shape), layout })),
    render: ([value, scale, shift], prefix) => ({
      statements: `let ${prefix}scaled = ${value} * ${scale};`,
      result: `${prefix}scaled + ${shift}`,
    }),
  };
}

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} elements, expected ${expected.length}`);
  }
  let scale = 1e-3;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]));
  for (let i = 0; i < expected.length; i++) {
    // Written so that a NaN fails.
    if (!(Math.abs(actual[i] - expected[i]) <= tolerance * scale)) {
      throw new Error(`${what}: element ${i} is ${actual[i]}, expected ${expected[i]}`);
    }
  }
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

// --- convolutions ----------------------------------------------------------------------------------------------------

const convCases: readonly ConvCase[] = [
  { inner: 1, outer: 1, height: 1, width: 1, size: 1, stride: 1, padding: "zero" },
  { inner: 5, outer: 20, height: 7, width: 9, size: 1, stride: 1, padding: "zero", batch: 2 },
  { inner: 4, outer: 3, height: 6, width: 5, size: 1, stride: 2, padding: "zero" },
  { inner: 3, outer: 16, height: 13, width: 37, size: 3, stride: 1, padding: "zero", batch: 2 },
  { inner: 1, outer: 5, height: 1, width: 1, size: 3, stride: 1, padding: "zero" },
  { inner: 4, outer: 1, height: 1, width: 19, size: 3, stride: 1, padding: "zero" },
  { inner: 3, outer: 4, height: 17, width: 1, size: 3, stride: 2, padding: "zero" },
  { inner: 16, outer: 20, height: 16, width: 64, size: 3, stride: 1, padding: "zero" },
  { inner: 130, outer: 36, height: 5, width: 6, size: 3, stride: 1, padding: "zero" },
  { inner: 20, outer: 130, height: 8, width: 8, size: 3, stride: 1, padding: "zero" },
  { inner: 36, outer: 16, height: 11, width: 15, size: 3, stride: 2, padding: "zero", batch: 2 },
  { inner: 16, outer: 36, height: 12, width: 34, size: 3, stride: 2, padding: "zero" },
  { inner: 3, outer: 5, height: 2, width: 2, size: 3, stride: 1, padding: "reflect" },
  { inner: 4, outer: 16, height: 9, width: 41, size: 3, stride: 1, padding: "reflect", batch: 2 },
  { inner: 5, outer: 20, height: 10, width: 13, size: 3, stride: 2, padding: "reflect" },
  { inner: 18, outer: 3, height: 3, width: 5, size: 3, stride: 1, padding: "reflect" },
  { inner: 9, outer: 6, height: 4, width: 6, size: 3, stride: 1, padding: "reflect", batch: 2, aligned: true },
  { inner: 16, outer: 20, height: 17, width: 64, size: 3, stride: 1, padding: "reflect", aligned: true },
  { inner: 4, outer: 8, height: 2, width: 7, size: 3, stride: 1, padding: "reflect" },
  { inner: 4, outer: 8, height: 7, width: 2, size: 3, stride: 2, padding: "reflect" },
  { inner: 18, outer: 9, height: 3, width: 67, size: 3, stride: 2, padding: "reflect", batch: 2 },
  { inner: 33, outer: 5, height: 15, width: 3, size: 3, stride: 2, padding: "reflect" },
  { inner: 16, outer: 20, height: 2, width: 33, size: 3, stride: 2, padding: "reflect", aligned: true },
  { inner: 4, outer: 16, height: 11, width: 14, size: 5, stride: 1, padding: "zero" },
  { inner: 4, outer: 5, height: 3, width: 12, size: 5, stride: 1, padding: "reflect" },
  { inner: 3, outer: 16, height: 14, width: 9, size: 5, stride: 2, padding: "reflect" },
  { inner: 5, outer: 4, height: 9, width: 35, size: 7, stride: 1, padding: "reflect" },
  { inner: 4, outer: 16, height: 4, width: 8, size: 7, stride: 2, padding: "reflect", batch: 2 },
  { inner: 3, outer: 3, height: 6, width: 7, size: 7, stride: 2, padding: "zero" },
];

/** subgroup8 runs every structure; the others, whose texts take the driver longer to compile, one of each kind. */
function runs(profile: Profile, { size, stride, padding }: ConvCase): boolean {
  switch (profile.name) {
    case "subgroup8":
      return true;
    case "portable":
      return size <= 3 || (size === 5 && padding === "reflect");
    case "workgroup":
      return size === 3 || (padding === "reflect" && size === 7 && stride === 2);
  }
}

function label(c: ConvCase, profile: Profile): string {
  return `${profile.name} ${c.size}x${c.size} stride ${c.stride} ${c.padding} ` +
    `[${c.batch ?? 1},${c.inner},${c.height},${c.width}] to ${c.outer}`;
}

function tensors(c: ConvCase) {
  const batch = c.batch ?? 1;
  return {
    x: noise([batch, c.inner, c.height, c.width], 1, 3),
    weight: noise([c.outer, c.inner, c.size, c.size], 2, 5),
    gradient: noise([batch, c.outer, outSide(c.height, c), outSide(c.width, c)], 3, c.aligned ? 4 : 2),
  };
}

/** The convolution, and its gradients: by x, and by the weight in one part and in three. */
function kernelsOf(c: ConvCase, profile: Profile) {
  const { x, weight, gradient } = tensors(c);
  const { stride, padding } = c;
  const options = { stride, padding, profile };
  const out = contiguous(gradient.layout.shape, 1);
  const xOut = contiguous(x.layout.shape, 2);
  const forward = convKernel({ x: x.layout, weight: weight.layout, out, epilogue: null, ...options });
  const operands = { gradient: gradient.layout, weight: weight.layout };
  // Reflections of a wide kernel are folded in the graph.
  const backward = padding === "zero" || c.size <= 3
    ? convInputGradientKernel({ ...operands, out: xOut, epilogue: null, ...options })
    : null;
  const ofWeight = [1, 3].map((splits) => {
    const out = contiguous([splits, ...weight.layout.shape], 1);
    const operands = { x: x.layout, gradient: gradient.layout, out };
    return { splits, out, kernel: convWeightGradientKernel({ ...operands, splits, ...options }) };
  });
  return { out, xOut, forward, backward, ofWeight };
}

async function checkConv(runner: Runner, profile: Profile, c: ConvCase): Promise<void> {
  const { x, weight, gradient } = tensors(c);
  const { out, xOut, forward, backward, ofWeight } = kernelsOf(c, profile);
  const what = label(c, profile);
  const [xs, ws, gs] = [view(x), view(weight), view(gradient)];
  const expected = {
    out: new Float64Array(gs.length),
    x: new Float64Array(xs.length),
    weight: new Float64Array(ws.length),
  };
  forEachProduct(c, (i, w, o) => {
    expected.out[o] += xs[i] * ws[w];
    expected.x[i] += gs[o] * ws[w];
    expected.weight[w] += gs[o] * xs[i];
  });
  const y = await runner.run(forward, [x, weight], out);
  assertClose(y, expected.out, 2e-6, `forward ${what}`);
  if (backward) {
    const dx = await runner.run(backward, [gradient, weight], xOut);
    assertClose(dx, expected.x, 2e-6, `input gradient ${what}`);
    const size = Math.sqrt(dot(xs, xs) * dot(dx, dx));
    const apart = Math.abs(dot(xs, dx) - dot(y, gs)) / size;
    if (!(apart <= 1e-6)) {
      throw new Error(`adjointness ${what}: the products differ by ${apart} of their operands' lengths`);
    }
  }
  for (const { splits, out, kernel } of ofWeight) {
    const parts = await runner.run(kernel, [x, gradient], out);
    const dw = new Float64Array(ws.length);
    parts.forEach((part, at) => dw[at % ws.length] += part);
    assertClose(dw, expected.weight, 4e-6, `weight gradient in ${splits} ${what}`);
  }
}

const RAGGED_SIDES = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 257, 1023, 2048];
const RAGGED_CHANNELS = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 36, 63, 64, 65, 128, 132];
/** Multiply-adds of the largest random convolution, which the host makes three times. */
const MOST = 1e6;

/** Random convolutions whose kernels have been compiled already: another shape is only other numbers for the same text. */
function raggedConvs(runner: Runner, profile: Profile, count: number): ConvCase[] {
  let state = 20261128;
  const one = <T>(list: readonly T[]): T => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return list[Math.floor(state / 2 ** 32 * list.length)];
  };
  const found: ConvCase[] = [];
  for (let tries = 0; found.length < count && tries < 20_000; tries++) {
    const { size, stride, padding } = one(convCases);
    const c: ConvCase = {
      ...{ size, stride, padding, batch: one([1, 1, 2]) },
      ...{ inner: one(RAGGED_CHANNELS), outer: one(RAGGED_CHANNELS) },
      ...{ height: one(RAGGED_SIDES), width: one(RAGGED_SIDES) },
    };
    // What is reflected must be there.
    if (padding === "reflect" && Math.min(c.height, c.width) <= size / 2) continue;
    const products = c.batch! * c.inner * c.outer * size ** 2 * outSide(c.height, c) * outSide(c.width, c);
    if (products > MOST || c.inner * c.height * c.width > MOST) continue;
    const { forward, backward, ofWeight } = kernelsOf(c, profile);
    const all = [forward, ...(backward ? [backward] : []), ...ofWeight.map(({ kernel }) => kernel)];
    if (all.every((kernel) => runner.knows(kernel))) found.push(c);
  }
  return found;
}

for (const profile of profiles) {
  Deno.test(`conv and its gradients match f64 loops (${profile.name})`, () =>
    withDevice(async (runner) => {
      for (const c of convCases.filter((c) => runs(profile, c))) await checkConv(runner, profile, c);
      const ragged = raggedConvs(runner, profile, 40);
      if (ragged.length < 40) throw new Error(`only ${ragged.length} random convolutions`);
      for (const c of ragged) await checkConv(runner, profile, c);
    }));

  Deno.test(`a conv epilogue reads its operands at the output's index (${profile.name})`, () =>
    withDevice(async (runner) => {
      const cases: [ConvCase, "forward" | "backward"][] = [[convCases[3], "forward"], [convCases[10], "backward"]];
      for (const [c, direction] of cases) {
        const { x, weight, gradient } = tensors(c);
        const { stride, padding } = c;
        const bias = noise([c.outer], 7);
        const result = direction === "forward" ? gradient.layout.shape : x.layout.shape;
        const source = direction === "forward" ? x : gradient;
        const perChannel = direction === "forward" ? bias : noise([c.inner], 8);
        const scale = noise(result, 9, 4);
        const shift = { layout: { offset: 0, shape: result, strides: [0, 1, 0, 0] }, data: perChannel.data };
        const out = contiguous(result, 7);
        const options = { weight: weight.layout, out, stride, padding, profile };
        const build = (epilogue: Chain | null) =>
          direction === "forward"
            ? convKernel({ ...options, x: x.layout, epilogue })
            : convInputGradientKernel({ ...options, gradient: gradient.layout, epilogue });
        const plain = await runner.run(build(null), [source, weight], out);
        const chained = await runner.run(build(testChain([scale, shift])), [source, weight, scale, shift], out);
        const plane = result[2] * result[3];
        const expected = plain.map((value, i) =>
          value * view(scale)[i] + perChannel.data[Math.floor(i / plane) % result[1]]
        );
        assertClose(chained, expected, 1e-6, `${direction} epilogue ${label(c, profile)}`);
      }
    }));
}

// --- resampling ------------------------------------------------------------------------------------------------------

interface ResampleCase {
  readonly planes: number;
  readonly from: readonly [number, number];
  readonly to: readonly [number, number];
  /** Source pixels per output pixel; the ratio of the sides if left out. */
  readonly scale?: readonly [number, number];
}

const resampleCases: readonly ResampleCase[] = [
  { planes: 3, from: [8, 16], to: [16, 32] },
  { planes: 2, from: [7, 5], to: [14, 10] },
  { planes: 5, from: [1, 1], to: [2, 2] },
  { planes: 1, from: [1, 9], to: [2, 18] },
  { planes: 3, from: [51, 64], to: [22, 28] },
  { planes: 2, from: [9, 20], to: [30, 13] },
  { planes: 4, from: [14, 14], to: [11, 15], scale: [14 / 11.1, 14 / 15.1] },
  { planes: 1, from: [40, 3], to: [4, 40] },
];

/** Taps of output i along one axis: source pixel and weight, in f64. */
function taps(i: number, side: number, scale: number, mode: Interpolation): [number, number][] {
  const raw = (i + 0.5) * scale - 0.5;
  const position = mode === "bilinear" ? Math.max(raw, 0) : raw;
  const below = Math.floor(position);
  const t = position - below;
  const cubic = (d: number) =>
    d <= 1 ? (1.25 * d - 2.25) * d * d + 1 : d < 2 ? ((-0.75 * d + 3.75) * d - 6) * d + 3 : 0;
  const weights = mode === "bilinear" ? [1 - t, t] : [1 + t, t, 1 - t, 2 - t].map(cubic);
  const first = mode === "bilinear" ? below : below - 1;
  return weights.map((weight, u) => [Math.min(Math.max(first + u, 0), side - 1), weight]);
}

for (const profile of profiles) {
  for (const mode of ["bilinear", "bicubic"] as const) {
    Deno.test(`${mode} resampling and its adjoint match f64 loops (${profile.name})`, () =>
      withDevice(async (runner) => {
        for (const c of resampleCases) {
          const [scaleY, scaleX] = c.scale ?? [c.from[0] / c.to[0], c.from[1] / c.to[1]];
          const x = noise([c.planes, ...c.from], 1, 3);
          const gradient = noise([c.planes, ...c.to], 2, 6);
          const operand = noise(gradient.layout.shape, 4, 1);
          const [xs, gs] = [view(x), view(gradient)];
          const expected = new Float64Array(gs.length);
          const expectedAdjoint = new Float64Array(xs.length);
          let at = 0;
          for (let n = 0; n < c.planes; n++) {
            for (let i = 0; i < c.to[0]; i++) {
              for (let j = 0; j < c.to[1]; j++, at++) {
                for (const [row, wy] of taps(i, c.from[0], scaleY, mode)) {
                  for (const [column, wx] of taps(j, c.from[1], scaleX, mode)) {
                    const from = (n * c.from[0] + row) * c.from[1] + column;
                    expected[at] += wy * wx * xs[from];
                    expectedAdjoint[from] += wy * wx * gs[at];
                  }
                }
              }
            }
          }
          const what = `${mode} ${profile.name} ${c.from} to ${c.to}`;
          const out = contiguous(gradient.layout.shape, 3);
          const options = { mode, scaleY, scaleX, profile };
          const forward = resampleKernel({ ...options, x: x.layout, out, epilogue: null });
          const y = await runner.run(forward, [x], out);
          assertClose(y, expected, 1e-5, what);
          const chain = testChain([operand, operand]);
          const chained = resampleKernel({ ...options, x: x.layout, out, epilogue: chain });
          const scaled = await runner.run(chained, [x, operand, operand], out);
          assertClose(
            scaled,
            expected.map((v, i) => v * view(operand)[i] + view(operand)[i]),
            1e-5,
            `epilogue ${what}`,
          );

          const xOut = contiguous(x.layout.shape, 1);
          const adjoint = resampleAdjointKernel({ ...options, gradient: gradient.layout, out: xOut, epilogue: null });
          const dx = await runner.run(adjoint, [gradient], xOut);
          assertClose(dx, expectedAdjoint, 1e-5, `adjoint ${what}`);
          assertClose([dot(xs, dx)], [dot(y, gs)], 1e-5, `adjointness ${what}`);
        }
      }));
  }
}
