/**
 * The only door to the engine: building graphs, differentiating them, compiling them, running them.
 *
 *   const x = input("x", f32(4, 8));
 *   const graph = { roots: new Map([["y", softmax(x)]]) };
 *   const { step } = compile("example", graph, { profile: gpu.profile });
 */
export { compile, type Compiled, type CompileOptions } from "./compile/compile.ts";
export { type AdapterInfo, type Gpu, listAdapters, openGpu, type OpenOptions } from "./gpu/device.ts";
export { type Feeds, type Log, openRuntime, type Runtime } from "./gpu/executor.ts";
export type { Loaded } from "./gpu/loaded.ts";
export { gradients } from "./grad.ts";
export { constant, type Graph, input, state, type Value, withScope } from "./ir/graph.ts";
export { graphText, programText } from "./ir/print.ts";
export type { Profile, Program } from "./ir/program.ts";
export { byteSize, EngineError, f32, type Shape, sizeOf, type TensorType, typeText } from "./ir/type.ts";
export * from "./ops/mod.ts";
export { ADAM_INPUT, adamFeed, type AdamOptions, withAdam } from "./adam.ts";
export { type RandomStream, randomStream } from "./random.ts";
export { grouped, timeline, type Timing } from "./gpu/timeline.ts";
