/**
 * From a kernel to a pipeline: header, layout and bind group all follow from `access`. A WGSL text is compiled once a device;
 * what does not compile is the engine's own mistake, and is shown with numbered lines.
 */
import type { Kernel } from "../ir/program.ts";
import type { Gpu } from "./device.ts";

/** Texts do not depend on sizes: a model needs two hundred or so, and the one longest unused goes first. */
const MOST_PIPELINES = 1000;

export async function pipelineFor(gpu: Gpu, kernel: Kernel, origin: string): Promise<GPUComputePipeline> {
  const known = gpu.pipelines.get(kernel.wgsl);
  if (known) {
    gpu.pipelines.delete(kernel.wgsl);
    gpu.pipelines.set(kernel.wgsl, known);
    return known;
  }
  const { device } = gpu;
  device.pushErrorScope("validation");
  const entries: GPUBindGroupLayoutEntry[] = kernel.access.map((access, binding) => ({
    binding,
    visibility: GPUShaderStage.COMPUTE,
    buffer: { type: access === "read" ? "read-only-storage" : "storage" },
  }));
  if (kernel.params.length > 0) {
    entries.push({ binding: entries.length, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform" } });
  }
  const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
  const module = device.createShaderModule({ label: kernel.name, code: kernel.wgsl });
  const pipeline = device.createComputePipeline({
    label: kernel.name,
    layout,
    compute: { module, entryPoint: "main" },
  });
  const error = await device.popErrorScope();
  if (error) {
    const where = `kernel ${kernel.name} (at ${origin || "top"})`;
    throw new Error(`Bug: ${where} does not compile: ${error.message}\n${numbered(kernel.wgsl)}`);
  }
  gpu.pipelines.set(kernel.wgsl, pipeline);
  if (gpu.pipelines.size > MOST_PIPELINES) gpu.pipelines.delete(gpu.pipelines.keys().next().value!); // who uses it holds it
  return pipeline;
}

function numbered(wgsl: string): string {
  return wgsl.split("\n").map((line, i) => `${String(i + 1).padStart(4)} ${line}`).join("\n");
}
