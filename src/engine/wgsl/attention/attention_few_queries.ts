/**
 * Attention of few queries, [CLS] alone as a rule: too few for a lane each, so a query's keys are divided among lanes.
 * See attention.ts for the formula and the index names.
 */
import type { Kernel } from "../../ir/program.ts";
import { foldGrid, kernel } from "../template.ts";
import { BASES, CHANNELS, LANES, type Problem, storeSum } from "./attention_frame.ts";
import { ownQuery } from "./attention_own_query.ts";

/**
 * One group of lanes a query: every lane takes the keys n = lane, lane + lanes, … with sums of its own,
 * which are brought to a common `top` and added at the end, by subgroup operations or through workgroup memory.
 */
export function fewQueriesKernel(problem: Problem, subgroups: boolean): Kernel {
  const { load } = problem;
  const own = ownQuery(problem, false);
  const lanes = subgroups ? LANES : 32;
  const lane = subgroups ? "lane" : "local.x";
  const merge = subgroups
    ? `
  let highest = subgroupMax(top);
  let weight = exp2(top - highest);
  let all = subgroupAdd(total * weight);
  if (lane == 0) {
    ${storeSum("m", "highest", "all")}
  }
  for (var i = 0; i < p.quads; i++) { o[i] = subgroupAdd(o[i] * weight) / all; }
  for (var d = lane; d < ${CHANNELS}; d += ${lanes}) {
    out[out_base + m * p.out_row + d * p.out_channel] = o[d / 4][d % 4];
  }`
    : `
  tops[local.x] = top;
  workgroupBarrier();
  var highest = top;
  for (var i = 0; i < ${lanes}; i++) { highest = max(highest, tops[i]); }
  let weight = exp2(top - highest);
  totals[local.x] = total * weight;
  for (var d = 0; d < ${CHANNELS}; d++) { sums[local.x * ${CHANNELS} + d] = o[d / 4][d % 4] * weight; }
  workgroupBarrier();
  var all = 0.0;
  for (var i = 0; i < ${lanes}; i++) { all += totals[i]; }
  if (local.x == 0) {
    ${storeSum("m", "highest", "all")}
  }
  for (var d = local.x; d < ${CHANNELS}; d += ${lanes}) {
    var sum = 0.0;
    for (var i = 0; i < ${lanes}; i++) { sum += sums[i * ${CHANNELS} + d]; }
    out[out_base + m * p.out_row + d * p.out_channel] = sum / all;
  }`;
  const body = `
  let index = group.x + group.y * groups.x;
  if (index >= p.queries * p.heads) { return; }
  let h = index / p.queries;
  let m = index % p.queries;
${BASES}
${own.begin}
    for (var n = ${lane}; n < p.keys; n += ${lanes}) {
${own.take((i) => load("k", "n", i), (i) => load("v", "n", i))}
    }
${merge}`;
  const prelude = subgroups ? "" : `
var<workgroup> tops: array<f32, ${lanes}>;
var<workgroup> totals: array<f32, ${lanes}>;
var<workgroup> sums: array<f32, ${lanes * CHANNELS}>;`;
  return kernel({
    ...problem,
    name: subgroups ? "attention_few_subgroup" : "attention_few_workgroup",
    workgroup: [lanes, 1, 1],
    grid: foldGrid(problem.queries * problem.heads),
    prelude,
    body,
    subgroups,
  });
}
