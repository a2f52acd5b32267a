/**
 * Opening an adapter: features are probed by asking for them, limits are the adapter's own, and what comes back knows how
 * kernels should be written for it. Nothing is decided by a vendor's name.
 */
import { debug } from "../debug.ts";
import type { Profile } from "../ir/program.ts";
import { EngineError } from "../ir/type.ts";

export interface Gpu {
  readonly device: GPUDevice;
  readonly info: AdapterInfo;
  readonly profile: Profile;
  readonly limits: { readonly bindingBytes: number; readonly bufferBytes: number; readonly uniformAlignment: number };
  /** timestamp-query works: kernels can be timed. */
  readonly timestamps: boolean;
  /** By WGSL text: equal text is one pipeline, whoever asks. */
  readonly pipelines: Map<string, GPUComputePipeline>;
  /** Why the device was lost, once it is. */
  lost(): string | null;
  /** The first command that the device refused, if it did: nothing computed after it can be trusted. */
  refused(): string | null;
  close(): void;
}

export interface AdapterInfo {
  readonly name: string;
  readonly software: boolean;
  /** There is no Vulkan driver, and OpenGL stands in: much slower, and first starts take minutes. */
  readonly opengl: boolean;
  /** Lanes of a subgroup that were seen to work, 0 where subgroups are not to be had. */
  readonly subgroup: number;
  readonly features: readonly string[];
}

export interface OpenOptions {
  /** Forces a set of kernels, for tests and comparisons. */
  readonly profile?: Profile["name"];
}

/** Opens the best adapter. Throws EngineError with what to do where there is none. */
export async function openGpu(options: OpenOptions = {}): Promise<Gpu> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new EngineError(
      "Cannot open a GPU: no WebGPU adapter was found. A Vulkan, Metal or DirectX 12 driver is needed; on Debian or Ubuntu " +
        "`apt-get install mesa-vulkan-drivers libvulkan1` brings one that works without a graphics card. `splice doctor` tells more",
    );
  }
  const { device, subgroups } = await requestDevice(adapter);
  let lost: string | null = null;
  let refused: string | null = null;
  device.addEventListener("uncapturederror", (event) => {
    refused ??= (event as GPUUncapturedErrorEvent).error.message;
    event.preventDefault();
  });
  device.lost.then((reason) => lost = reason.message || reason.reason || "no reason given");
  const subgroup = subgroups ? await probeSubgroups(device) : 0;
  const software = adapter.info.isFallbackAdapter;
  const name = options.profile ?? (software ? (subgroup === 8 ? "subgroup8" : "portable") : "workgroup");
  if (name === "subgroup8" && subgroup !== 8) {
    device.destroy();
    throw new EngineError(
      `Cannot use the subgroup8 kernels on ${adapter.info.description}: its subgroups are not of 8 lanes`,
    );
  }
  const { limits } = device;
  const info: AdapterInfo = {
    name: nameOf(adapter),
    software,
    opengl: isOpenGl(adapter),
    subgroup,
    features: [...new Set([...device.features, ...(subgroups ? ["subgroups"] : [])])],
  };
  debug("device", "device", `${info.name}, ${name} kernels, features ${info.features.join(" ")}\n`);
  return {
    device,
    info,
    profile: {
      name,
      maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
      maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
      maxInvocations: Math.min(256, limits.maxComputeInvocationsPerWorkgroup),
      maxBindingBytes: limits.maxStorageBufferBindingSize,
    },
    limits: {
      bindingBytes: limits.maxStorageBufferBindingSize,
      bufferBytes: limits.maxBufferSize,
      uniformAlignment: limits.minUniformBufferOffsetAlignment,
    },
    pipelines: new Map(),
    timestamps: device.features.has("timestamp-query"),
    lost: () => lost,
    refused: () => refused,
    close: () => device.destroy(),
  };
}

/** The adapters that can be asked for, by their names; WebGPU shows no others. */
export async function listAdapters(): Promise<string[]> {
  const wishes: GPURequestAdapterOptions[] = [
    { powerPreference: "high-performance" },
    { powerPreference: "low-power" },
    { forceFallbackAdapter: true },
  ];
  const names = new Set<string>();
  for (const wish of wishes) {
    const adapter = await navigator.gpu?.requestAdapter(wish);
    if (adapter) names.add(nameOf(adapter) + (isOpenGl(adapter) ? ", through OpenGL" : ""));
  }
  return [...names];
}

const nameOf = ({ info }: GPUAdapter) => info.description || `${info.vendor} ${info.device}`;

/** WebGPU does not tell; where there is no Vulkan, nothing is known of subgroups, and wgpu gives the widest range there is. */
function isOpenGl({ info }: GPUAdapter): boolean {
  const { subgroupMinSize, subgroupMaxSize } = info as GPUAdapterInfo & {
    subgroupMinSize?: number;
    subgroupMaxSize?: number;
  };
  return Deno.build.os === "linux" && subgroupMinSize === 4 && subgroupMaxSize === 128;
}

/** `adapter.features` does not list subgroups even where they work, so they are asked for and the refusal is the answer. */
async function requestDevice(adapter: GPUAdapter): Promise<{ device: GPUDevice; subgroups: boolean }> {
  const { limits } = adapter;
  const wanted: GPUFeatureName[] = (["timestamp-query", "shader-f16"] as const).filter((feature) =>
    adapter.features.has(feature)
  );
  const requiredLimits: Record<string, number> = {
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxBufferSize: limits.maxBufferSize,
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
    maxComputeWorkgroupSizeY: limits.maxComputeWorkgroupSizeY,
  };
  try {
    const device = await adapter.requestDevice({
      requiredFeatures: [...wanted, "subgroups" as GPUFeatureName],
      requiredLimits,
    });
    return { device, subgroups: true };
  } catch {
    return { device: await adapter.requestDevice({ requiredFeatures: wanted, requiredLimits }), subgroups: false };
  }
}

/** Runs sums and broadcasts of known results: a feature that is there and wrong is not there. */
async function probeSubgroups(device: GPUDevice): Promise<number> {
  const code = `
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32, @builtin(subgroup_size) size: u32, @builtin(subgroup_invocation_id) lane: u32) {
  out[i] = f32(size);
  out[64u + i] = subgroupAdd(f32(i)) - f32(size) * (f32(i - lane) + 0.5 * f32(size - 1u));
  out[128u + i] = subgroupBroadcast(f32(i), 1u) - f32(i - lane) - 1.0;
  out[192u + i] = subgroupMax(f32(i)) - f32(i - lane + size - 1u);
}`;
  device.pushErrorScope("validation");
  const bytes = 4 * 256;
  const out = device.createBuffer({
    label: "probe",
    size: bytes,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
  });
  const read = device.createBuffer({
    label: "probe read",
    size: bytes,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  try {
    const pipeline = device.createComputePipeline({
      label: "probe",
      layout: "auto",
      compute: { module: device.createShaderModule({ code }) },
    });
    const bindings = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: out } }],
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindings);
    pass.dispatchWorkgroups(1);
    pass.end();
    encoder.copyBufferToBuffer(out, 0, read, 0, bytes);
    device.queue.submit([encoder.finish()]);
    if (await device.popErrorScope()) return 0;
    await read.mapAsync(GPUMapMode.READ);
    const seen = new Float32Array(read.getMappedRange().slice(0));
    const right = seen.subarray(0, 64).every((size) => size === seen[0]) &&
      seen.subarray(64).every((rest) => rest === 0);
    return right ? seen[0] : 0;
  } catch {
    return 0;
  } finally {
    out.destroy();
    read.destroy();
  }
}
