/**
 * Matrix product and attention kernels of every profile against f64 loops. Every operand lies in a buffer full of NaN, so
 * that a read outside it shows; every result in a buffer full of a mark, so that a store outside it shows.
 */
import type { Chain, Kernel, Profile } from "../../../src/engine/ir/program.ts";
import { contiguous, f32, type Layout, sizeOf } from "../../../src/engine/ir/type.ts";
import { attentionKernel } from "../../../src/engine/wgsl/attention/attention.ts";
import { matmulKernel } from "../../../src/engine/wgsl/matmul/matmul.ts";

type Sides = readonly [number, number, number];
type Floats = Float32Array<ArrayBuffer>;

const MARK = -12345;
const PROFILES: readonly Profile[] = (["subgroup8", "portable", "workgroup"] as const).map((name) => ({
  name,
  maxStorageBuffers: 8,
  maxWorkgroupBytes: 16384,
  maxInvocations: 256,
  maxBindingBytes: 2 ** 27,
}));

/** Ways of a [Z, R, C] operand to lie in its buffer. */
const LAYOUTS = {
  plain: (shape: Sides) => contiguous(shape),
  turned: ([z, r, c]: Sides) => ({ offset: 0, shape: [z, r, c], strides: [r * c, 1, r] }),
  merged: ([z, r, c]: Sides) => ({ offset: 0, shape: [z, r, c], strides: [c, z * c, 1] }),
  shared: ([z, r, c]: Sides) => ({ offset: 0, shape: [z, r, c], strides: [0, c, 1] }),
  loose: ([z, r, c]: Sides) => ({ offset: 5, shape: [z, r, c], strides: [r * (c + 3) + 1, c + 3, 1] }),
  aligned: ([z, r, c]: Sides) => ({ offset: 8, shape: [z, r, c], strides: [r * (c + 4), c + 4, 1] }),
  alignedTurned: ([z, r, c]: Sides) => ({ offset: 4, shape: [z, r, c], strides: [c * (r + 4), 1, r + 4] }),
  sparse: ([z, r, c]: Sides) => ({ offset: 1, shape: [z, r, c], strides: [r * c * 2, c * 2, 2] }),
  mirrored: ([z, r, c]: Sides) => ({ offset: c - 1, shape: [z, r, c], strides: [r * c, c, -1] }),
  perColumn: ([z, r, c]: Sides) => ({ offset: 0, shape: [z, r, c], strides: [0, 0, 1] }),
  perRow: ([z, r, c]: Sides) => ({ offset: 2, shape: [z, r, c], strides: [0, 1, 0] }),
  single: ([z, r, c]: Sides) => ({ offset: 3, shape: [z, r, c], strides: [0, 0, 0] }),
} satisfies Record<string, (shape: Sides) => Layout>;
type LayoutName = keyof typeof LAYOUTS;

function at({ offset, strides }: Layout, z: number, r: number, c: number): number {
  return offset + z * strides[0] + r * strides[1] + c * strides[2];
}

function everyIndex({ shape: [zs, rs, cs] }: Layout, visit: (z: number, r: number, c: number) => void) {
  for (let z = 0; z < zs; z++) for (let r = 0; r < rs; r++) for (let c = 0; c < cs; c++) visit(z, r, c);
}

/** A buffer that holds `layout`, `filler` elsewhere. */
function empty(layout: Layout, filler: number): Floats {
  const last = layout.shape.reduce((sum, side, axis) => sum + Math.max(0, (side - 1) * layout.strides[axis]), 0);
  return new Float32Array(layout.offset + last + 7).fill(filler);
}

interface Tensor {
  readonly layout: Layout;
  readonly data: Floats;
}

/** Numbers in [-1, 1) by a linear congruence: the same in every run. */
function noise(layout: Layout, seed: number): Tensor {
  const data = empty(layout, NaN);
  let state = Math.imul(seed + 1, 0x9e3779b1);
  everyIndex(layout, (z, r, c) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    data[at(layout, z, r, c)] = state / 2 ** 31;
  });
  return { layout, data };
}

// --- one kernel on the GPU -------------------------------------------------------------------------------------------

/** A device and its pipelines by their text, which are what costs time here. */
interface Gpu {
  readonly device: GPUDevice;
  readonly pipelines: Map<string, GPUComputePipeline>;
}

async function run(
  { device, pipelines }: Gpu,
  kernel: Kernel,
  inputs: readonly Tensor[],
  out: Layout,
): Promise<Floats> {
  const live: GPUBuffer[] = [];
  const buffer = (data: Floats | Int32Array<ArrayBuffer>, usage: number) => {
    const size = Math.ceil(data.byteLength / 16) * 16;
    const made = device.createBuffer({ size, usage: usage | GPUBufferUsage.COPY_DST });
    device.queue.writeBuffer(made, 0, data);
    live.push(made);
    return made;
  };
  const result = empty(out, MARK);
  const target = buffer(result, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC);
  const buffers = [
    ...inputs.map(({ data }) => buffer(data, GPUBufferUsage.STORAGE)),
    target,
    buffer(new Int32Array(kernel.params), GPUBufferUsage.UNIFORM),
  ];
  const staging = buffer(result, GPUBufferUsage.MAP_READ);
  device.pushErrorScope("validation");
  const pipeline = pipelines.get(kernel.wgsl) ?? device.createComputePipeline({
    layout: "auto",
    compute: { module: device.createShaderModule({ code: kernel.wgsl }), entryPoint: "main" },
  });
  pipelines.set(kernel.wgsl, pipeline);
  const entries = buffers.map((made, binding) => ({ binding, resource: { buffer: made } }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(...kernel.grid);
  pass.end();
  encoder.copyBufferToBuffer(target, 0, staging, 0, target.size);
  device.queue.submit([encoder.finish()]);
  const error = await device.popErrorScope();
  if (error) throw new Error(`${kernel.name}: ${error.message}`);
  await staging.mapAsync(GPUMapMode.READ);
  result.set(new Float32Array(staging.getMappedRange()).subarray(0, result.length));
  staging.unmap();
  for (const made of live) made.destroy();
  return result;
}

/** Every element of `out` within its tolerance, and the mark everywhere else. */
function compare(got: Floats, out: Layout, want: (z: number, r: number, c: number) => [value: number, within: number]) {
  const rest = got.slice();
  everyIndex(out, (z, r, c) => {
    const [value, within] = want(z, r, c);
    const found = got[at(out, z, r, c)];
    if (!(Math.abs(found - value) <= within)) {
      throw new Error(`element [${z}, ${r}, ${c}] is ${found}, expected ${value} within ${within}`);
    }
    rest[at(out, z, r, c)] = MARK;
  });
  const stray = rest.findIndex((x) => x !== MARK);
  if (stray >= 0) throw new Error(`word ${stray} outside the result was overwritten with ${rest[stray]}`);
}

// --- products --------------------------------------------------------------------------------------------------------

interface Product {
  readonly sides: readonly [batch: number, m: number, k: number, n: number];
  readonly a?: LayoutName;
  readonly b?: LayoutName;
  readonly out?: LayoutName;
  readonly splits?: number;
  /** Left out with the kernels of GPUs, whose texts take a software driver ten seconds each, where others say the same of them. */
  readonly notOnGpu?: true;
  /** Layouts of what the epilogue max(0, x * first + second) - third reads. */
  readonly epilogue?: readonly [LayoutName, LayoutName, LayoutName];
}

const PRODUCTS: readonly Product[] = [
  { sides: [1, 1, 1, 1] },
  { sides: [1, 5, 3, 7], a: "loose", b: "loose", out: "loose" },
  { sides: [2, 33, 64, 65], b: "turned", notOnGpu: true },
  { sides: [3, 25, 8, 37], a: "merged", b: "alignedTurned", out: "merged", notOnGpu: true },
  { sides: [3, 50, 37, 64], b: "shared", out: "merged", notOnGpu: true },
  { sides: [2, 70, 37, 64], a: "shared", b: "aligned", epilogue: ["single", "perColumn", "merged"] },
  { sides: [1, 48, 4, 100], a: "turned", b: "plain", out: "turned" },
  { sides: [1, 64, 12, 33], a: "aligned", b: "loose", epilogue: ["single", "perColumn", "merged"], notOnGpu: true },
  { sides: [2, 17, 12, 44], a: "sparse", b: "alignedTurned", out: "sparse", notOnGpu: true },
  { sides: [2, 30, 21, 34], a: "mirrored", b: "mirrored", out: "mirrored" },
  { sides: [1, 16, 16, 250], epilogue: ["perRow", "loose", "single"] },
  { sides: [1, 4, 16, 300], a: "loose", epilogue: ["perRow", "perRow", "plain"] },
  { sides: [1, 7, 64, 132], b: "turned" },
  { sides: [1, 3, 785, 3] },
  { sides: [1, 1, 768, 200], b: "turned", epilogue: ["single", "perColumn", "plain"] },
  { sides: [12, 1, 64, 61], b: "turned" },
  { sides: [1, 130, 16, 3], a: "plain", b: "turned", epilogue: ["perRow", "perColumn", "plain"], notOnGpu: true },
  { sides: [2, 90, 5, 1], a: "sparse", out: "merged", notOnGpu: true },
  { sides: [1, 40, 3072, 36], b: "turned" },
  { sides: [1, 16, 30000, 16], b: "turned", splits: 37 },
  { sides: [1, 20, 1001, 30], splits: 7 },
  { sides: [1, 9, 10, 9], a: "turned", splits: 8 },
];

/** What GPUs take in larger tiles, or in none, by shape, with sides that leave remainders. */
const GPU_PRODUCTS: readonly Product[] = [
  { sides: [12, 785, 8, 260], a: "turned", epilogue: ["single", "perColumn", "plain"] }, // 64 x 64, 8 x 8 a lane, by fours
  { sides: [48, 130, 5, 2047] }, // 128 x 128
  { sides: [1, 785, 68, 1024], b: "alignedTurned", a: "aligned" }, // 64 x 64 by 128 lanes
  { sides: [1, 65, 64, 192], b: "turned", epilogue: ["single", "perColumn", "plain"] }, // 16 x 64
  { sides: [1, 16, 4, 2048], epilogue: ["perRow", "plain", "single"] }, // few rows
  { sides: [1, 3, 1, 2048] },
  { sides: [1, 1, 3137, 64], b: "turned" },
  { sides: [1, 3, 4096, 16], b: "turned", splits: 3 },
  { sides: [1, 13, 63, 31], a: "loose", b: "turned" },
];

const onGpus = [...PRODUCTS, ...GPU_PRODUCTS].filter(({ notOnGpu }) => !notOnGpu);

function productText({ sides, a, b, out, splits, epilogue }: Product): string {
  return `[${sides}] a ${a ?? "plain"} b ${b ?? "plain"} out ${out ?? "plain"}` +
    `${splits ? ` in ${splits} parts` : ""}${epilogue ? ` with ${epilogue}` : ""}`;
}

/** Sides around those of tiles, and those that networks have. */
const RAGGED = [
  1,
  2,
  3,
  4,
  5,
  7,
  8,
  15,
  16,
  17,
  31,
  33,
  63,
  64,
  65,
  66,
  127,
  128,
  129,
  192,
  200,
  785,
  1023,
  2048,
  3137,
];
/** Multiply-adds of the largest random product, which the host makes too. */
const MOST = 1.5e6;

/** Random products whose kernels have been compiled already: another shape is only other numbers for the same text. */
function raggedProducts(profile: Profile, { count, known }: { count: number; known: (text: string) => boolean }) {
  let state = 20261128;
  const below = (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * n);
  };
  const one = <T>(list: readonly T[]) => list[below(list.length)];
  const names = Object.keys(LAYOUTS).filter((name): name is LayoutName => !/^(per|single|shared)/.test(name));
  const found: Product[] = [];
  for (let tries = 0; found.length < count && tries < 100_000; tries++) {
    const sides = [one([1, 1, 2, 3]), one(RAGGED), one(RAGGED), one(RAGGED)] as const;
    const epilogue = one([undefined, undefined, ["single", "perColumn", "plain"] as const]);
    const product = { sides, a: one(names), b: one(names), out: one(names), ...(epilogue ? { epilogue } : {}) };
    if (sides.reduce((all, side) => all * side) > MOST) continue;
    if (known(kernelOf(profile, product).kernel.wgsl)) found.push(product);
  }
  return found;
}

function kernelOf(profile: Profile, product: Product) {
  const { sides: [batch, m, k, n], splits = 1 } = product;
  const [a, b] = [LAYOUTS[product.a ?? "plain"]([batch, m, k]), LAYOUTS[product.b ?? "plain"]([batch, k, n])];
  const out = LAYOUTS[product.out ?? "plain"]([splits > 1 ? splits : batch, m, n]);
  const extras = (product.epilogue ?? []).map((name) => LAYOUTS[name]([batch, m, n]));
  const epilogue: Chain | null = product.epilogue
    ? {
      operands: extras.map((layout) => ({ type: f32(...layout.shape), layout })),
      render: ([x, scale, bias, other], prefix) => ({
        statements: `let ${prefix}t = fma(${x}, ${scale}, ${bias});`,
        result: `max(0.0, ${prefix}t) - ${other}`,
      }),
    }
    : null;
  return { kernel: matmulKernel({ a, b, out, epilogue, splits, profile }), a, b, out, extras };
}

async function checkProduct(gpu: Gpu, profile: Profile, product: Product) {
  const { sides: [, m, k, n], splits = 1 } = product;
  const { kernel, out, ...layouts } = kernelOf(profile, product);
  const [a, b] = [noise(layouts.a, 1), noise(layouts.b, 2)];
  const extras = layouts.extras.map((layout, i) => noise(layout, 3 + i));
  const got = await run(gpu, kernel, [a, b, ...extras], out);
  // A split product may choose its chunks as it likes: what counts is that they add up, so its parts are summed first.
  if (splits > 1) {
    const total = contiguous([1, m, n]);
    const summed = empty(total, 0);
    everyIndex(out, (z, r, c) => summed[at(total, 0, r, c)] += got[at(out, z, r, c)]);
    compare(summed.subarray(0, sizeOf(total.shape)), total, expected);
  } else {
    compare(got, out, expected);
  }

  function expected(z: number, r: number, c: number): [number, number] {
    let sum = 0;
    let size = 0;
    for (let i = 0; i < k; i++) {
      const term = a.data[at(a.layout, z, r, i)] * b.data[at(b.layout, z, i, c)];
      sum += term;
      size += Math.abs(term);
    }
    if (extras.length > 0) {
      const [scale, bias, other] = extras.map(({ data, layout }) => data[at(layout, z, r, c)]);
      sum = Math.max(0, sum * scale + bias) - other;
    }
    return [sum, 1e-6 * size + 1e-6];
  }
}

// --- attention -------------------------------------------------------------------------------------------------------

interface Attention {
  readonly sides: readonly [heads: number, queries: number, keys: number];
  readonly layout?: LayoutName;
  /** Scores grow with it: large ones must neither overflow nor lose the greatest. */
  readonly size?: number;
}

const ATTENTIONS: readonly Attention[] = [
  { sides: [2, 1, 50], layout: "merged" },
  { sides: [1, 3, 7], layout: "loose" },
  { sides: [12, 1, 785], layout: "merged" },
  { sides: [3, 37, 61], layout: "merged" },
  { sides: [2, 33, 24], layout: "loose" },
  { sides: [1, 5, 1] },
  { sides: [2, 70, 100], layout: "turned" },
  { sides: [1, 64, 193], size: 40 },
];

async function checkAttention(gpu: Gpu, profile: Profile, { sides, layout = "plain", size = 3 }: Attention) {
  const [heads, queries, keys] = sides;
  const lay = LAYOUTS[layout];
  const q = noise(lay([heads, queries, 64]), 1);
  const k = noise(lay([heads, keys, 64]), 2);
  const v = noise(lay([heads, keys, 64]), 3);
  q.data.forEach((x, i) => q.data[i] = x * size);
  // Behind the 64 channels of each row, the logarithm of what its softmax was divided by.
  const all = lay([heads, queries, 65]);
  const out = { ...all, shape: [heads, queries, 64] };
  const [head, row, channel] = all.strides;
  const sums = { offset: all.offset + 64 * channel, shape: [heads, queries], strides: [head, row] };
  const scale = 0.125;
  const kernel = attentionKernel({ q: q.layout, k: k.layout, v: v.layout, out, sums, scale, profile });
  const got = await run(gpu, kernel, [q, k, v], all);
  const rows = new Map<string, ReturnType<typeof softmaxRow>>();
  compare(got, all, (h, m, d) => {
    const key = `${h} ${m}`;
    const { weights, logarithm } = rows.get(key) ?? softmaxRow(h, m);
    rows.set(key, { weights, logarithm });
    if (d === 64) return [logarithm, 2e-6 * (size + Math.abs(logarithm))];
    const value = weights.reduce((sum, weight, n) => sum + weight * v.data[at(v.layout, h, n, d)], 0);
    return [value, 2e-6 * size];
  });

  function softmaxRow(h: number, m: number): { weights: number[]; logarithm: number } {
    const scores = Array.from({ length: keys }, (_, n) => {
      let sum = 0;
      for (let d = 0; d < 64; d++) sum += q.data[at(q.layout, h, m, d)] * k.data[at(k.layout, h, n, d)];
      return sum * scale;
    });
    const top = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - top));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { weights: weights.map((weight) => weight / total), logarithm: top + Math.log(total) };
  }
}

// --- the tests -------------------------------------------------------------------------------------------------------

/** A device for the profile, or why there is none. */
async function open(profile: Profile): Promise<GPUDevice | string> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return "no WebGPU adapter";
  if (profile.name !== "subgroup8") return await adapter.requestDevice();
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  if (subgroupMinSize !== 8 || subgroupMaxSize !== 8) {
    return `subgroups have ${subgroupMinSize}…${subgroupMaxSize} lanes`;
  }
  try {
    return await adapter.requestDevice({ requiredFeatures: ["subgroups"] });
  } catch {
    return "no subgroups";
  }
}

for (const profile of PROFILES) {
  Deno.test(`matmul and attention kernels, ${profile.name}`, async (t) => {
    const device = await open(profile);
    if (typeof device === "string") {
      console.log(`skipped matmul and attention kernels, ${profile.name}: ${device}`);
      return;
    }
    const gpu = { device, pipelines: new Map<string, GPUComputePipeline>() };
    try {
      for (const product of profile.name === "workgroup" ? onGpus : PRODUCTS) {
        await t.step(`matmul ${productText(product)}`, () => checkProduct(gpu, profile, product));
      }
      await t.step("products of random ragged sides", async () => {
        const products = raggedProducts(profile, { count: 60, known: (text) => gpu.pipelines.has(text) });
        if (products.length < 60) throw new Error(`only ${products.length} products`);
        for (const product of products) {
          await checkProduct(gpu, profile, product).catch((error) => {
            throw new Error(productText(product), { cause: error });
          });
        }
      });
      for (const attention of ATTENTIONS) {
        const name = `attention [${attention.sides}] ${attention.layout ?? "plain"}`;
        await t.step(name, () => checkAttention(gpu, profile, attention));
      }
    } finally {
      device.destroy();
    }
  });
}

Deno.test("one text serves every size of one structure", () => {
  const texts = [100, 333].map((side) => {
    const shape = {
      a: contiguous([1, side, 64]),
      b: contiguous([1, 64, side + 1]),
      out: contiguous([1, side, side + 1]),
    };
    return PROFILES.map((profile) => matmulKernel({ ...shape, epilogue: null, splits: 1, profile }).wgsl);
  });
  if (texts[0].join() !== texts[1].join()) throw new Error("matmul's text depends on its sizes");
});
