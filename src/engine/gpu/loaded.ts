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
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroup;
}

/** Records one step into a pass. */
export function dispatch({ step, pipeline, bindings }: Command, pass: GPUComputePassEncoder): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  pass.dispatchWorkgroups(...step.kernel.grid);
}
