/**
 * Reading programs aloud: buffers, pipelines and bind groups are made once when programs are loaded; a run records and submits, and allocates
 * nothing.
 *
 * States are shared by name among the programs of a runtime, scratch by rank of size, so that several programs (a step, a step
 * with the whole image, other crop sizes) need no more memory than the largest. Nothing here is thread-safe; one runtime, one owner.
 */
import type { Program, Slice, Step } from "../ir/program.ts";
import { EngineError } from "../ir/type.ts";
import type { Gpu } from "./device.ts";
import { debugs, debugTimeline } from "../debug.ts";
import type { Command, Loaded } from "./loaded.ts";
import { mebibytes, openMemory, STORAGE } from "./memory.ts";
import { pipelineFor } from "./pipelines.ts";
import { openSubmits } from "./submits.ts";
import { chromeTrace, grouped, submitTimed, type Timing } from "./timeline.ts";

export type Feeds = ReadonlyMap<string, Float32Array>;

/** Results of several runs, gathered on the GPU and read together. */
export interface Log {
  readonly buffer: GPUBuffer;
  readonly width: number;
  readonly slots: number;
}

export interface RunOptions {
  readonly keep?: { readonly output: string; readonly log: Log; readonly slot: number };
  readonly signal?: AbortSignal | undefined;
}

export interface Runtime {
  readonly gpu: Gpu;
  /** Makes everything the programs need. Compiles each distinct kernel once, ever. */
  load(programs: readonly Program[]): Promise<Loaded[]>;
  /**
   * Feeds, runs and, if asked, keeps one output in a slot of a log. Resolves when all of it is submitted, to how many submits that took; to null if `signal` was aborted
   * between two of them, and then it is as if it had never run.
   */
  run(loaded: Loaded, feeds?: Feeds, options?: RunOptions): Promise<number | null>;
  /** Sets a state; it may be loaded later. Data is copied. */
  writeState(name: string, data: Float32Array): void;
  readState(name: string): Promise<Float32Array>;
  readOutput(loaded: Loaded, name: string): Promise<Float32Array>;
  /** A log of `slots` results of `width` numbers. */
  openLog(width: number, slots: number): Log;
  /** Waits for everything submitted, and reads the first `count` slots. */
  readLog(log: Log, count: number): Promise<Float32Array>;
  /** Waits until the GPU has done all that was submitted; throws EngineError if it was lost. */
  settle(): Promise<void>;
  /** Bytes of all buffers, and pipelines made. */
  usage(): { bytes: number; pipelines: number };
  /** Frees the buffers; the device and its pipelines stay for other runtimes. */
  release(): void;
  /** Frees the buffers and closes the device. */
  close(): void;
}

export function openRuntime(gpu: Gpu): Runtime {
  const { device } = gpu;
  const memory = openMemory(gpu);
  const submits = openSubmits(gpu);
  const runsOf = new WeakMap<Loaded, number>();
  const timelines: [name: string, read: () => Promise<Timing[]>][] = [];

  async function load(program: Program): Promise<Loaded> {
    for (const [, { bytes, role }] of program.buffers) {
      if (bytes > gpu.limits.bindingBytes) {
        throw new EngineError(
          `Cannot run ${program.name} on this device: it needs a tensor of ${mebibytes(bytes)}${
            role.kind === "state" ? ` (${role.name})` : ""
          }, ` +
            `and a binding holds at most ${mebibytes(gpu.limits.bindingBytes)}; choose a smaller size`,
          { kind: "memory" },
        );
      }
    }
    device.pushErrorScope("out-of-memory");
    const buffers = memory.scratch(program);
    for (const [id, { bytes, role }] of program.buffers) {
      if (role.kind === "state") buffers.set(id, memory.state(role.name, bytes));
      if (role.kind === "io") buffers.set(id, memory.allocate(`${program.name} io`, bytes, STORAGE));
    }
    const uniforms = uniformBlocks(program.steps);
    if (await device.popErrorScope()) {
      throw new EngineError(
        `Cannot load ${program.name}: the device is out of memory (${
          mebibytes(memory.bytes())
        } in use); choose a smaller size`,
        { kind: "memory" },
      );
    }
    const commands: Command[] = [];
    for (const [i, step] of program.steps.entries()) {
      const pipeline = await pipelineFor(gpu, step.kernel, step.origin);
      const entries: GPUBindGroupEntry[] = step.args.map((id, binding) => ({
        binding,
        resource: { buffer: buffers.get(id)! },
      }));
      const block = uniforms.get(i);
      if (block) entries.push({ binding: entries.length, resource: block });
      commands.push({
        step,
        pipeline,
        bindings: device.createBindGroup({ label: step.origin, layout: pipeline.getBindGroupLayout(0), entries }),
      });
    }
    return { program, commands, buffers };
  }

  /** All sizes of all kernels in one uniform buffer, written once. */
  function uniformBlocks(steps: readonly Step[]): Map<number, GPUBufferBinding> {
    const align = gpu.limits.uniformAlignment;
    const blocks = new Map<number, { offset: number; size: number }>();
    let bytes = 0;
    for (const [i, { kernel }] of steps.entries()) {
      if (kernel.params.length === 0) continue;
      const size = Math.ceil(kernel.params.length / 4) * 16;
      blocks.set(i, { offset: bytes, size });
      bytes = Math.ceil((bytes + size) / align) * align;
    }
    if (bytes === 0) return new Map();
    const words = new Int32Array(bytes / 4);
    for (const [i, { offset }] of blocks) words.set(steps[i].kernel.params, offset / 4);
    const buffer = memory.allocate("sizes", bytes, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
    device.queue.writeBuffer(buffer, 0, words);
    return new Map([...blocks].map(([i, block]) => [i, { buffer, ...block }]));
  }

  function feed(loaded: Loaded, feeds: Feeds): void {
    for (const [name, slice] of loaded.program.inputs) {
      const data = feeds.get(name);
      if (!data) throw new EngineError(`Cannot run ${loaded.program.name}: input ${name} was not fed`);
      // A range outside its data would bring the process down inside the driver's bindings.
      if (data.byteLength !== slice.bytes) {
        throw new EngineError(`Cannot feed ${name}: ${data.length} numbers given, ${slice.bytes / 4} needed`);
      }
      device.queue.writeBuffer(loaded.buffers.get(slice.buffer)!, slice.offset, data as Float32Array<ArrayBuffer>);
    }
  }

  function run(loaded: Loaded, feeds: Feeds = new Map(), options: RunOptions = {}): Promise<number | null> {
    feed(loaded, feeds);
    return submit(loaded, options);
  }

  async function submit(loaded: Loaded, { keep, signal }: RunOptions): Promise<number | null> {
    const finish = (encoder: GPUCommandEncoder) => {
      if (!keep) return;
      const { slice, buffer } = outputOf(loaded, keep.output);
      encoder.copyBufferToBuffer(buffer, slice.offset, keep.log.buffer, keep.slot * keep.log.width * 4, slice.bytes);
    };
    // Where timelines are asked for, the second run of a program is timed: the first still compiles kernels.
    const runs = (runsOf.get(loaded) ?? 0) + 1;
    runsOf.set(loaded, runs);
    if (runs !== 2 || !gpu.timestamps || !debugs("timeline")) return await submits.run(loaded, finish, signal);
    timelines.push([loaded.program.name, submitTimed(gpu, loaded)]);
    const encoder = device.createCommandEncoder({ label: loaded.program.name });
    finish(encoder);
    device.queue.submit([encoder.finish()]);
    return 1;
  }

  async function tellTimelines(): Promise<void> {
    for (const [name, read] of timelines.splice(0)) {
      const timings = await read();
      debugTimeline(name, grouped(timings, ({ kernel }) => kernel), chromeTrace(timings));
    }
  }

  function outputOf(loaded: Loaded, name: string): { slice: Slice; buffer: GPUBuffer } {
    const slice = loaded.program.outputs.get(name);
    if (!slice) {
      throw new EngineError(
        `Cannot read ${name}: ${loaded.program.name} has the outputs ${[...loaded.program.outputs.keys()].join(", ")}`,
      );
    }
    return { slice, buffer: loaded.buffers.get(slice.buffer)! };
  }

  async function read(buffer: GPUBuffer, offset: number, bytes: number): Promise<Float32Array> {
    const staging = device.createBuffer({
      label: "read",
      size: bytes,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    try {
      const encoder = device.createCommandEncoder({ label: "read" });
      encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes);
      device.queue.submit([encoder.finish()]);
      return await mapped(staging, bytes);
    } finally {
      staging.destroy();
    }
  }

  async function mapped(buffer: GPUBuffer, bytes: number): Promise<Float32Array> {
    checkAlive();
    await buffer.mapAsync(GPUMapMode.READ, 0, bytes);
    checkAlive();
    await tellTimelines();
    const data = new Float32Array(buffer.getMappedRange(0, bytes).slice(0));
    buffer.unmap();
    return data;
  }

  function checkAlive(): void {
    const reason = gpu.lost();
    if (reason !== null) {
      throw new EngineError(`The GPU was lost (${reason}); start again from the last checkpoint`, { kind: "lost" });
    }
    const refused = gpu.refused();
    if (refused !== null) throw new Error(`Bug: the GPU refused a command: ${refused}`);
  }

  return {
    gpu,
    async load(programs) {
      // Largest first, so that the scratch of all others fits into the pool.
      const bytes = (program: Program) =>
        [...program.buffers.values()].reduce(
          (sum, buffer) => sum + (buffer.role.kind === "scratch" ? buffer.bytes : 0),
          0,
        );
      const order = [...programs].sort((a, b) => bytes(b) - bytes(a));
      const made = new Map<Program, Loaded>();
      for (const program of order) made.set(program, await load(program));
      return programs.map((program) => made.get(program)!);
    },
    run,
    writeState(name, data) {
      device.queue.writeBuffer(memory.state(name, data.byteLength), 0, data as Float32Array<ArrayBuffer>);
    },
    readState(name) {
      const state = memory.find(name);
      if (!state) throw new EngineError(`Cannot read state ${name}: there is none of that name`);
      return read(state.buffer, 0, state.bytes);
    },
    readOutput(loaded, name) {
      const { slice, buffer } = outputOf(loaded, name);
      return read(buffer, slice.offset, slice.bytes);
    },
    openLog(width, slots) {
      return {
        buffer: memory.allocate("log", width * slots * 4, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST),
        width,
        slots,
      };
    },
    readLog: (log, count) => mapped(log.buffer, count * log.width * 4),
    async settle() {
      await device.queue.onSubmittedWorkDone();
      checkAlive();
      await tellTimelines();
    },
    usage: () => ({ bytes: memory.bytes(), pipelines: gpu.pipelines.size }),
    release: memory.release,
    close() {
      memory.release();
      gpu.close();
    },
  };
}
