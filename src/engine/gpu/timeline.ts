/**
 * Where the time of a program goes: every dispatch in a pass of its own, between two timestamps.
 *
 * Passes of their own cost a little and forbid overlap, so the sum is somewhat more than a run takes; shares are what it tells.
 */
import type { Gpu } from "./device.ts";
import { dispatch, type Loaded } from "./loaded.ts";
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
  if (!gpu.timestamps) throw new EngineError(`Cannot time kernels on ${gpu.info.name}: it has no timestamp-query`);
  return await submitTimed(gpu, loaded)();
}

/** Submits the program's steps, each between two timestamps; what comes back reads them, once the caller can wait. */
export function submitTimed({ device }: Gpu, loaded: Loaded): () => Promise<Timing[]> {
  const perRound = MOST_QUERIES / 2;
  const rounds: (() => Promise<Timing[]>)[] = [];
  for (let start = 0; start < loaded.commands.length; start += perRound) {
    rounds.push(submitRound(device, loaded.commands.slice(start, start + perRound)));
  }
  return async () => {
    const timings: Timing[] = [];
    for (const read of rounds) timings.push(...await read());
    return timings;
  };
}

function submitRound(device: GPUDevice, commands: Loaded["commands"]): () => Promise<Timing[]> {
  const bytes = commands.length * 16;
  const queries = device.createQuerySet({ type: "timestamp", count: commands.length * 2 });
  const [resolveUsage, readUsage] = [
    GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  ];
  const resolved = device.createBuffer({ label: "timestamps", size: bytes, usage: resolveUsage });
  const staging = device.createBuffer({ label: "timestamps read", size: bytes, usage: readUsage });
  const encoder = device.createCommandEncoder({ label: "timeline" });
  for (const [i, command] of commands.entries()) {
    const pass = encoder.beginComputePass({
      timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
    });
    dispatch(command, pass);
    pass.end();
  }
  encoder.resolveQuerySet(queries, 0, commands.length * 2, resolved, 0);
  encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
  device.queue.submit([encoder.finish()]);
  return async () => {
    await staging.mapAsync(GPUMapMode.READ);
    const ticks = new BigUint64Array(staging.getMappedRange().slice(0));
    for (const object of [queries, resolved, staging]) object.destroy();
    return commands.map(({ step: { kernel, origin } }, i) => {
      const microseconds = Number(ticks[2 * i + 1] - ticks[2 * i]) / 1000;
      return { kernel: kernel.name, origin, microseconds, ...kernel.cost };
    });
  };
}

/** The timings as a Chrome trace (chrome://tracing, Perfetto): one after another, named by kernel, with their scopes. */
export function chromeTrace(timings: readonly Timing[]): string {
  let ts = 0;
  const traceEvents = timings.map(({ kernel, origin, microseconds, flops, bytes }) => {
    const event = { name: kernel, cat: origin.split(".")[0], ph: "X", pid: 1, tid: 1, ts, dur: microseconds };
    ts += microseconds;
    return { ...event, args: { scope: origin, flops, bytes } };
  });
  return JSON.stringify({ traceEvents });
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
