/** The vocabulary of graphs, in one place: every verb, and every op by name. */
import type { Op } from "../ir/graph.ts";
import { attentionOps } from "./attention.ts";
import { batchNormOps } from "./batch_norm.ts";
import { broadcastOps } from "./broadcast.ts";
import { convOps } from "./conv.ts";
import { cropOps } from "./crop.ts";
import { elementwise, scalarOps } from "./elementwise.ts";
import { layerNormOps } from "./layer_norm.ts";
import { matmulOps } from "./matmul.ts";
import { movementOps } from "./movement.ts";
import { noiseOps } from "./noise.ts";
import { reflectionOps } from "./reflection.ts";
import { resampleOps } from "./resample.ts";
import { softmaxOps } from "./softmax.ts";
import { statisticsOps } from "./statistics.ts";

export { attention } from "./attention.ts";
export { batchNorm } from "./batch_norm.ts";
export { conv2d, type Padding } from "./conv.ts";
export {
  abs,
  add,
  clamp,
  div,
  exp,
  floor,
  gelu,
  leakyRelu,
  log,
  max,
  min,
  mul,
  neg,
  positive,
  sigmoid,
  sqrt,
  sub,
  type Tensor,
} from "./elementwise.ts";
export { layerNorm } from "./layer_norm.ts";
export { matmul } from "./matmul.ts";
export { crop } from "./crop.ts";
export { concat, flip, permute, reshape, slice, transpose } from "./movement.ts";
export { noiseKey, normal } from "./noise.ts";
export { expand, full, sum, sumAll } from "./broadcast.ts";
export { type Interpolation, resample, resampleOnHost } from "./resample.ts";
export { softmax } from "./softmax.ts";
export { mean } from "./statistics.ts";

/** Every op there is. The contract suite walks this list, so an op without cases fails. */
export const allOps: readonly Op[] = [
  ...scalarOps.values(),
  elementwise,
  ...movementOps,
  ...cropOps,
  ...broadcastOps,
  ...statisticsOps,
  ...softmaxOps,
  ...layerNormOps,
  ...batchNormOps,
  ...matmulOps,
  ...attentionOps,
  ...convOps,
  ...resampleOps,
  ...noiseOps,
  ...reflectionOps,
];
