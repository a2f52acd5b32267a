/**
 * The attention of software adapters with subgroups of 8 lanes, where loads cost and broadcasts are free.
 * See attention.ts for the formula and the index names.
 */
import type { Kernel } from "../../ir/program.ts";
import { ceilDiv, foldGrid, kernel } from "../template.ts";
import { lines } from "../unroll.ts";
import { BASES, CHANNELS, LANES, LEAST, type Problem, storeSum } from "./attention_frame.ts";

/** Subgroups that share a workgroup, each with a tile of its own. */
const SUBGROUPS = 2;
/** A subgroup's tile: vectors of queries, and keys a block (a multiple of 8). */
const QUERY_VECTORS = 4;
const BLOCK = 24;

/**
 * One subgroup of 8 lanes for 32 queries, lane = query in four vectors, so that the softmax needs no other lane. Both
 * products are the tile of matmul_subgroup.ts: keys, loaded with lane = key, and values, loaded with lane = channel, reach all
 * queries by broadcast; four channels, then four keys, are taken at once because the sums live in memory, not in registers.
 */
export function subgroupKernel(problem: Problem): Kernel {
  const { load } = problem;
  const tile = LANES * QUERY_VECTORS;
  const tiles = ceilDiv(problem.queries, tile);
  const vectors = (text: (v: number) => string) => lines(QUERY_VECTORS, text);
  const keys = (text: (n: number) => string) => lines(BLOCK, text);
  const channels = (text: (d: number) => string) => lines(CHANNELS, text);
  const body = `
  let index = (group.x + group.y * groups.x) * ${SUBGROUPS} + local.x / ${LANES};
  if (index >= p.tiles * p.heads) { return; }
  let h = index / p.tiles;
  let own_m = index % p.tiles * ${tile} + lane;
${BASES}
${
    vectors((v) =>
      `  let m${v} = min(own_m + ${v * LANES}, p.queries - 1);
  var top${v} = ${LEAST};
  var total${v} = 0.0;`
    )
  }
${channels((d) => vectors((v) => `  var o_${d}_${v} = 0.0;`))}
  var weights: array<f32, ${BLOCK * QUERY_VECTORS}>;
  for (var n0 = 0; n0 < p.keys; n0 += ${BLOCK}) {
${keys((n) => vectors((v) => `    var s_${n}_${v} = 0.0;`))}
    for (var quad = 0; quad < p.quads; quad++) {
${lines(BLOCK / LANES, (i) => `      let k${i} = ${load("k", `min(n0 + ${i * LANES} + lane, p.keys - 1)`, "quad")};`)}
${vectors((v) => `      let q${v} = ${load("q", `m${v}`, "quad")};`)}
${
    keys((n) =>
      `      {
${lines(4, (c) => `        let x${c} = subgroupBroadcast(k${n >> 3}[${c}], ${n & 7}u);`)}
${vectors((v) => lines(4, (c) => `        s_${n}_${v} = fma(x${c}, q${v}[${c}], s_${n}_${v});`))}
      }`
    )
  }
    }
${
    vectors((v) => `
    var next${v} = top${v};
${
      keys((n) =>
        `    s_${n}_${v} = select(${LEAST}, s_${n}_${v} * ${problem.scale}, n0 + ${n} < p.keys);
    next${v} = max(next${v}, s_${n}_${v});`
      )
    }
    let shrink${v} = exp2(top${v} - next${v});
    top${v} = next${v};
    total${v} *= shrink${v};
${
      keys((n) =>
        `    s_${n}_${v} = exp2(s_${n}_${v} - next${v});
    weights[${n * QUERY_VECTORS + v}] = s_${n}_${v};
    total${v} += s_${n}_${v};`
      )
    }
${channels((d) => `    o_${d}_${v} *= shrink${v};`)}`)
  }
    for (var n = 0; n < min(${BLOCK}, p.keys - n0); n += 4) {
${
    lines(4, (u) =>
      `      let key${u} = min(n0 + n + ${u}, p.keys - 1);
${lines(CHANNELS / 32, (i) => `      let v${u}_${i} = ${load("v", `key${u}`, `(lane + ${i * LANES})`)};`)}
${vectors((v) => `      let w${u}_${v} = weights[(n + ${u}) * ${QUERY_VECTORS} + ${v}];`)}`)
  }
${
    channels((d) =>
      `      {
${lines(4, (u) => `        let x${u} = subgroupBroadcast(v${u}_${d >> 5}[${d & 3}], ${d >> 2 & 7}u);`)}
${vectors((v) => lines(4, (u) => `        o_${d}_${v} = fma(x${u}, w${u}_${v}, o_${d}_${v});`))}
      }`
    )
  }
    }
  }
  var result: array<f32, ${CHANNELS * QUERY_VECTORS}>;
${channels((d) => vectors((v) => `  result[${d * QUERY_VECTORS + v}] = o_${d}_${v} / total${v};`))}
  for (var i = 0; i < ${CHANNELS * QUERY_VECTORS}; i++) {
    let m = own_m + i % ${QUERY_VECTORS} * ${LANES};
    if (m < p.queries) { out[out_base + m * p.out_row + i / ${QUERY_VECTORS} * p.out_channel] = result[i]; }
  }
${
    vectors((v) =>
      `  if (own_m + ${v * LANES} < p.queries) {
    ${storeSum(`m${v}`, `top${v}`, `total${v}`)}
  }`
    )
  }`;
  return kernel({
    ...problem,
    name: "attention_subgroup",
    params: { ...problem.params, tiles },
    workgroup: [LANES * SUBGROUPS, 1, 1],
    grid: foldGrid(ceilDiv(tiles * problem.heads, SUBGROUPS)),
    body,
    subgroups: true,
  });
}
