/** The vocabulary of graphs, in one place: every verb, and every op by name. */
import type { Op } from "../ir/graph.ts";
import { attentionOps } from "./attention.ts";
import { convOps } from "./conv.ts";
import { cropOps } from "./crop.ts";
import { elementwise, scalarOps } from "./elementwise.ts";
import { matmulOps } from "./matmul.ts";
import { movementOps } from "./movement.ts";
import { noiseOps } from "./noise.ts";
import { reflectionOps } from "./reflection.ts";
import { resampleOps } from "./resample.ts";
import { rowOps } from "./rows.ts";
import { broadcastOps } from "./broadcast.ts";

export { attention } from "./attention.ts";
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
export { matmul } from "./matmul.ts";
export { crop } from "./crop.ts";
export { concat, flip, permute, reshape, slice, transpose } from "./movement.ts";
export { noiseKey, normal } from "./noise.ts";
export { expand, full, sum, sumAll } from "./broadcast.ts";
export { type Interpolation, resample, resampleOnHost } from "./resample.ts";
export { batchNorm, layerNorm, mean, softmax } from "./rows.ts";

/** Every op there is. The contract suite walks this list, so an op without cases fails. */
export const allOps: readonly Op[] = [
  ...scalarOps.values(),
  elementwise,
  ...movementOps,
  ...cropOps,
  ...broadcastOps,
  ...rowOps,
  ...matmulOps,
  ...attentionOps,
  ...convOps,
  ...resampleOps,
  ...noiseOps,
  ...reflectionOps,
];
