/**
 * Fused attention: `out[h, m, d] = sum over n of softmax over n(scale * sum over d of q[h, m, d] k[h, n, d]) v[h, n, d]`,
 * and beside it `sums[h, m] = ln(sum over n of exp(scale * sum over d of q[h, m, d] k[h, n, d]))`, from which its gradient knows the softmax again.
 *
 * Index names: h head, m query, n key, d channel (always 64 of them, or 16 vec4). The M x N scores are never stored: keys
 * are taken block by block with the online softmax of Milakov and Gimelshein (arXiv:1805.02867), which keeps per query the
 * greatest score `top` so far and, relative to it, the sums `total` of weights and `o` of weighted values; when `top` grows
 * by t, both shrink by 2^-t. Scores are in units of log2, as exp2 is what hardware has. Invariant: keys beyond N weigh 0.
 */
import type { Kernel } from "../../ir/program.ts";
import { fewQueriesKernel } from "./attention_few_queries.ts";
import { type AttentionShape, prepare } from "./attention_frame.ts";
import { portableKernel } from "./attention_own_query.ts";
import { subgroupKernel } from "./attention_subgroup.ts";
import { workgroupKernel } from "./attention_workgroup.ts";

export type { AttentionShape };

/** Up to as many queries, a query's keys are divided among lanes; above, lanes take queries. */
const FEW_QUERIES = 4;

/** The kernel of one attention. Bindings in order: q, k, v, out. */
export function attentionKernel(shape: AttentionShape): Kernel {
  const problem = prepare(shape);
  if (problem.queries <= FEW_QUERIES) return fewQueriesKernel(problem, shape.profile.name === "subgroup8");
  switch (shape.profile.name) {
    case "subgroup8":
      return subgroupKernel(problem);
    case "portable":
      return portableKernel(problem);
    case "workgroup":
      return workgroupKernel(problem);
  }
}
