/**
 * One GPU for a test file. Where there is none, its tests are ignored and the reason is printed once: a suite that passes because
 * it skipped says so.
 */
import {
  compile,
  type Feeds,
  type Graph,
  openGpu,
  openRuntime,
  type Profile,
  type Runtime,
} from "../../../src/engine/mod.ts";
import type { ProfileName } from "./profiles.ts";

export interface TestGpu {
  readonly runtime: Runtime;
  readonly own: ProfileName;
  /** This adapter with the kernels of another; null, and the reason printed, where it cannot run them. */
  profile(name: ProfileName): Profile | null;
}

async function open(): Promise<TestGpu | null> {
  try {
    const gpu = await openGpu();
    const runtime = openRuntime(gpu);
    return {
      runtime,
      own: gpu.profile.name,
      profile(name) {
        if (name !== "subgroup8" || gpu.info.subgroup === 8) return { ...gpu.profile, name };
        console.log(`skipped: ${gpu.info.name} has no subgroups of 8 lanes, which the subgroup8 kernels need`);
        return null;
      },
    };
  } catch (error) {
    console.log(`skipped: every test on the GPU, because ${error instanceof Error ? error.message : error}`);
    return null;
  }
}

const gpu = await open();
globalThis.addEventListener("unload", () => gpu?.runtime.close());

/** A test that needs a GPU. */
export function gpuTest(name: string, body: (gpu: TestGpu) => Promise<void>): void {
  Deno.test({ name, ignore: gpu === null, fn: () => body(gpu!) });
}

export interface RunOptions {
  readonly profile: Profile;
  readonly fuse?: boolean;
  readonly budget?: number;
}

/** A graph, compiled and fed: `run` computes all of its roots once more. */
export async function prepare(
  { runtime }: TestGpu,
  graph: Graph,
  feeds: ReadonlyMap<string, Float64Array>,
  options: RunOptions,
): Promise<{ run(): Promise<Map<string, Float32Array>> }> {
  const { prelude, step } = compile("test", graph, options);
  const numbers: Feeds = new Map([...feeds].map(([name, data]) => [name, new Float32Array(data)]));
  for (const program of [prelude, step]) {
    for (const { role } of program?.buffers.values() ?? []) {
      const data = role.kind === "state" ? numbers.get(role.name) : undefined;
      if (role.kind === "state" && data) runtime.writeState(role.name, data);
    }
  }
  if (prelude) await runtime.run((await runtime.load([prelude]))[0]);
  const [loaded] = await runtime.load([step]);
  return {
    async run() {
      await runtime.run(loaded, numbers);
      const results = new Map<string, Float32Array>();
      for (const root of graph.roots.keys()) results.set(root, await runtime.readOutput(loaded, root));
      return results;
    },
  };
}
