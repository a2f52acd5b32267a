/**
 * Where the time of a program goes: every dispatch in a pass of its own, between two timestamps.
 *
 * Passes of their own cost a little and forbid overlap, so the sum is somewhat more than a run takes; shares are what it tells.
 */
import type { Gpu } from "./device.ts";
import type { Loaded } from "./executor.ts";
import { EngineError } from "../ir/type.ts";

export interface Timing {
  readonly kernel: string;
  readonly origin: string;
  readonly microseconds: number;
  readonly flops: number;
  readonly bytes: number;
}

/** WebGPU's limit of a query set. */
const MOST_QUERIES = 4096;

/** Runs a loaded program once more, with the inputs it was last fed, and times each dispatch. */
export async function timeline(gpu: Gpu, loaded: Loaded): Promise<Timing[]> {
  const { device } = gpu;
  if (!gpu.timestamps) throw new EngineError(`Cannot time kernels on ${gpu.info.name}: it has no timestamp-query`);
  const timings: Timing[] = [];
  const perRound = MOST_QUERIES / 2;
  for (let start = 0; start < loaded.commands.length; start += perRound) {
    const commands = loaded.commands.slice(start, start + perRound);
    const bytes = commands.length * 16;
    const queries = device.createQuerySet({ type: "timestamp", count: commands.length * 2 });
    const resolved = device.createBuffer({
      label: "timestamps",
      size: bytes,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    const staging = device.createBuffer({
      label: "timestamps read",
      size: bytes,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const encoder = device.createCommandEncoder({ label: "timeline" });
    for (const [i, { step, pipeline, bindings }] of commands.entries()) {
      const pass = encoder.beginComputePass({
        timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
      });
      if (step.kind === "dispatch") {
        pass.setPipeline(pipeline!);
        pass.setBindGroup(0, bindings!);
        pass.dispatchWorkgroups(...step.kernel.grid);
      }
      pass.end();
    }
    encoder.resolveQuerySet(queries, 0, commands.length * 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const ticks = new BigUint64Array(staging.getMappedRange().slice(0));
    for (const [i, { step }] of commands.entries()) {
      if (step.kind !== "dispatch") continue;
      timings.push({
        kernel: step.kernel.name,
        origin: step.origin,
        microseconds: Number(ticks[2 * i + 1] - ticks[2 * i]) / 1000,
        ...step.kernel.cost,
      });
    }
    for (const object of [queries, resolved, staging]) object.destroy();
  }
  return timings;
}

/** Timings added up by a key, longest first. */
export function grouped(
  timings: readonly Timing[],
  key: (timing: Timing) => string,
): { name: string; count: number; microseconds: number; flops: number; bytes: number }[] {
  const groups = new Map<string, { name: string; count: number; microseconds: number; flops: number; bytes: number }>();
  for (const timing of timings) {
    const name = key(timing);
    const group = groups.get(name) ?? { name, count: 0, microseconds: 0, flops: 0, bytes: 0 };
    group.count++;
    group.microseconds += timing.microseconds;
    group.flops += timing.flops;
    group.bytes += timing.bytes;
    groups.set(name, group);
  }
  return [...groups.values()].sort((a, b) => b.microseconds - a.microseconds);
}
