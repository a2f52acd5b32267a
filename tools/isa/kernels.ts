/**
 * Lists the distinct kernels of whole training steps, as a GPU gets them, and has their SPIR-V written. Nothing is dispatched and no weights are needed: a step is compiled
 * from shapes alone, and a pipeline of each WGSL text is created on lavapipe, whose SPIR-V (naga's, the same as for every Vulkan driver with robustBufferAccess2) Mesa
 * writes to MESA_SPIRV_DUMP_PATH.
 *
 *   VK_DRIVER_FILES=…/lvp_icd.json MESA_SHADER_CACHE_DISABLE=true MESA_SPIRV_DUMP_PATH=DIR \
 *     deno run --allow-all kernels.ts OUT_DIR [--step N] [--only TEXT] [--profile JSON] [FILE.wgsl ...]
 *
 * Writes OUT_DIR/manifest.json and OUT_DIR/NAME.wgsl, and prints the SPIR-V files, a line each (others in DIR are wgpu's own). With FILE.wgsl arguments, those kernels alone
 * instead of the steps'.
 */
import type { Profile, Program } from "../../src/engine/mod.ts";
import { termsAt } from "../../src/splice/transfer/objective.ts";
import { parseRecipe } from "../../src/splice/transfer/recipe.ts";
import { largestCrops, stepCompiler, weightsOf } from "../../src/splice/transfer/step_program.ts";
import { describeEntry, MODELS } from "../../src/weights/store/manifest.ts";

export interface Manifest {
  readonly profile: Profile;
  readonly kernels: readonly KernelEntry[];
  readonly workloads: readonly Workload[];
}

/** One WGSL text. */
export interface KernelEntry {
  readonly id: string;
  readonly name: string;
  readonly wgsl: string;
  readonly spirv: string;
}

export interface Workload {
  readonly name: string;
  readonly dispatches: number;
  readonly flops: number;
  readonly bytes: number;
  readonly uses: readonly Use[];
}

/** What a step does with one text: sums over all its dispatches. */
export interface Use {
  readonly id: string;
  dispatches: number;
  flops: number;
  bytes: number;
  workgroups: number;
  readonly origin: string;
}

const WORKLOADS = [
  { name: "dino-vitb8 512px", model: "dino-vitb8", size: 512, side: 224 },
  { name: "splice-tiny8 256px", model: "splice-tiny8", size: 256, side: undefined },
];

interface Options {
  readonly out: string;
  readonly step: number;
  readonly only: string;
  readonly profile: Profile;
  readonly files: readonly string[];
}

function options(args: readonly string[]): Options {
  const plain: string[] = [];
  const named: Record<string, string> = { step: "1", only: "", profile: "{}" };
  for (let i = 0; i < args.length; i++) {
    if (args[i].startsWith("--")) named[args[i].slice(2)] = args[++i];
    else plain.push(args[i]);
  }
  const [out, ...files] = plain;
  return {
    out,
    step: Number(named.step),
    only: named.only,
    files,
    // What openGpu finds on a Radeon through wgpu, but for workgroup memory, where others have less than its 64 KiB.
    profile: {
      name: "workgroup",
      maxStorageBuffers: 16,
      maxWorkgroupBytes: 32768,
      maxInvocations: 256,
      maxBindingBytes: 2 ** 27,
      ...JSON.parse(named.profile),
    },
  };
}

/** The compiled programs of the workloads, by the same functions that the trainer calls. */
function programs({ step, only, profile }: Options): { name: string; program: Program }[] {
  return WORKLOADS.filter(({ name }) => name.includes(only)).map(({ name, model, size, side }) => {
    const parsed = parseRecipe({ model, size, ...(side ? { vit_side: side } : {}) });
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
    const vit = describeEntry(MODELS.find((entry) => entry.name === model)!);
    const square = { width: size, height: size };
    const terms = termsAt(step, parsed.recipe.entire_every, weightsOf(parsed.recipe));
    const compileStep = stepCompiler({ recipe: parsed.recipe, vit, profile }, square, square);
    return { name, program: compileStep(terms, largestCrops(parsed.recipe, square, square)).step };
  });
}

/** Creates pipelines one by one; what appears in the dump folder meanwhile is theirs. */
class Pipelines {
  readonly #device: GPUDevice;
  readonly #folder: string;
  readonly #seen: Set<string>;

  private constructor(device: GPUDevice, folder: string) {
    this.#device = device;
    this.#folder = folder;
    this.#seen = new Set(this.#dumps());
  }

  static async open(): Promise<Pipelines> {
    const folder = Deno.env.get("MESA_SPIRV_DUMP_PATH");
    if (!folder) throw new Error("MESA_SPIRV_DUMP_PATH must name a folder");
    const adapter = await navigator.gpu.requestAdapter();
    if (!adapter) throw new Error("no adapter: mesa-vulkan-drivers is needed");
    const { limits } = adapter;
    const requiredLimits = {
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
      maxComputeWorkgroupSizeY: limits.maxComputeWorkgroupSizeY,
    };
    // As the engine asks: subgroups are there though they are not listed, and raise the version of the SPIR-V.
    const f16 = adapter.features.has("shader-f16") ? ["shader-f16"] : [];
    const requiredFeatures = [...f16, "subgroups"] as GPUFeatureName[];
    return new Pipelines(await adapter.requestDevice({ requiredFeatures, requiredLimits }), folder);
  }

  /** The SPIR-V file of a kernel. */
  async spirv(name: string, wgsl: string): Promise<string> {
    this.#device.pushErrorScope("validation");
    const module = this.#device.createShaderModule({ label: name, code: wgsl });
    this.#device.createComputePipeline({ label: name, layout: "auto", compute: { module, entryPoint: "main" } });
    const error = await this.#device.popErrorScope();
    if (error) throw new Error(`${name} does not compile: ${error.message}`);
    const fresh = this.#dumps().filter((file) => !this.#seen.has(file));
    fresh.forEach((file) => this.#seen.add(file));
    if (fresh.length !== 1) throw new Error(`${name}: ${fresh.length} SPIR-V files appeared, 1 was expected`);
    return `${this.#folder}/${fresh[0]}`;
  }

  #dumps(): string[] {
    return [...Deno.readDirSync(this.#folder)].map((entry) => entry.name).filter((file) => file.endsWith(".spirv"));
  }
}

const chosen = options(Deno.args);
const texts = new Map<string, { id: string; name: string }>();
const counts = new Map<string, number>();
const identify = (name: string, wgsl: string): string => {
  const known = texts.get(wgsl);
  if (known) return known.id;
  const number = counts.get(name) ?? 0;
  counts.set(name, number + 1);
  const id = number === 0 ? name : `${name}.${number + 1}`;
  texts.set(wgsl, { id, name });
  return id;
};

const workloads: Workload[] = [];
if (chosen.files.length > 0) {
  const uses = chosen.files.map((path): Use => {
    const id = identify(path.split("/").pop()!.replace(/\.wgsl$/, ""), Deno.readTextFileSync(path));
    return { id, dispatches: 1, flops: 0, bytes: 0, workgroups: 0, origin: path };
  });
  workloads.push({ name: "files", dispatches: uses.length, flops: 0, bytes: 0, uses });
} else {
  for (const { name, program } of programs(chosen)) {
    const uses = new Map<string, Use>();
    for (const { kernel, origin } of program.steps) {
      const id = identify(kernel.name, kernel.wgsl);
      const use = uses.get(id) ?? { id, dispatches: 0, flops: 0, bytes: 0, workgroups: 0, origin };
      uses.set(id, use);
      use.dispatches++;
      use.flops += kernel.cost.flops;
      use.bytes += kernel.cost.bytes;
      use.workgroups += kernel.grid[0] * kernel.grid[1] * kernel.grid[2];
    }
    const sum = (key: "flops" | "bytes") => [...uses.values()].reduce((total, use) => total + use[key], 0);
    workloads.push({
      name,
      dispatches: program.steps.length,
      flops: sum("flops"),
      bytes: sum("bytes"),
      uses: [...uses.values()],
    });
  }
}

const pipelines = await Pipelines.open();
const kernels: KernelEntry[] = [];
for (const [wgsl, { id, name }] of texts) {
  const path = `${chosen.out}/${id}.wgsl`;
  Deno.writeTextFileSync(path, wgsl);
  const spirv = await pipelines.spirv(id, wgsl);
  kernels.push({ id, name, wgsl: path, spirv });
  console.log(spirv);
}
const manifest: Manifest = { profile: chosen.profile, kernels, workloads };
Deno.writeTextFileSync(`${chosen.out}/manifest.json`, JSON.stringify(manifest, null, 1));
Deno.exit(0); // what Mesa's threads still do does not matter
