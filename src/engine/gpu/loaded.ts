/** A program made ready to run, and its recording into a command buffer. */
import type { BufferId, Program, Step } from "../ir/program.ts";

/** A program whose buffers, pipelines and bind groups exist. */
export interface Loaded {
  readonly program: Program;
  readonly commands: readonly Command[];
  readonly buffers: ReadonlyMap<BufferId, GPUBuffer>;
}

/** A step, ready to be recorded. */
export interface Command {
  readonly step: Step;
  readonly pipeline: GPUComputePipeline | null;
  readonly bindings: GPUBindGroup | null;
}

/** Records all steps; neighbouring dispatches share a pass. */
export function encode(loaded: Loaded, encoder: GPUCommandEncoder): void {
  let pass: GPUComputePassEncoder | null = null;
  for (const { step, pipeline, bindings } of loaded.commands) {
    switch (step.kind) {
      case "dispatch":
        pass ??= encoder.beginComputePass({ label: loaded.program.name });
        pass.setPipeline(pipeline!);
        pass.setBindGroup(0, bindings!);
        pass.dispatchWorkgroups(...step.kernel.grid);
        break;
      case "copy":
        pass?.end();
        pass = null;
        encoder.copyBufferToBuffer(
          loaded.buffers.get(step.from.buffer)!,
          step.from.offset,
          loaded.buffers.get(step.to.buffer)!,
          step.to.offset,
          step.from.bytes,
        );
        break;
      case "clear":
        pass?.end();
        pass = null;
        encoder.clearBuffer(loaded.buffers.get(step.slice.buffer)!, step.slice.offset, step.slice.bytes);
        break;
      default:
        step satisfies never;
    }
  }
  pass?.end();
}
