/**
 * Fused attention: `out[h, m, d] = sum over n of softmax over n(scale * sum over d of q[h, m, d] k[h, n, d]) v[h, n, d]`.
 *
 * Index names: h head, m query, n key, d channel (always 64 of them, or 16 vec4). The M x N scores are never stored: keys
 * are taken block by block with the online softmax of Milakov and Gimelshein (arXiv:1805.02867), which keeps per query the
 * greatest score `top` so far and, relative to it, the sums `total` of weights and `o` of weighted values; when `top` grows
 * by t, both shrink by 2^-t. Scores are in units of log2, as exp2 is what hardware has. Invariant: keys beyond N weigh 0.
 */
import type { Kernel, Profile } from "../../ir/program.ts";
import { type Layout, sameShape, sizeOf } from "../../ir/type.ts";
import { type Binding, ceilDiv, foldGrid, kernel } from "../template.ts";
import { lines } from "../unroll.ts";

export interface AttentionShape {
  /** [H, M, D] */
  readonly q: Layout;
  /** [H, N, D] */
  readonly k: Layout;
  /** [H, N, D] */
  readonly v: Layout;
  /** [H, M, D] */
  readonly out: Layout;
  /** What scores are multiplied with; baked into the text. */
  readonly scale: number;
  readonly profile: Profile;
}

const CHANNELS = 64;
/** vec4 a query, key or value. */
const QUADS = CHANNELS / 4;
/** A score less than any; finite, because infinities subtract to NaN. */
const LEAST = "-1e30";
/** Up to as many queries, a query's keys are divided among lanes; above, lanes take queries. */
const FEW_QUERIES = 4;

/** What the kernels share: sizes, parameters, bindings, and the texts that read the operands. */
interface Problem {
  readonly heads: number;
  readonly queries: number;
  readonly params: Record<string, number>;
  readonly bindings: Binding[];
  readonly cost: { readonly flops: number; readonly bytes: number };
  /** The constant scores are multiplied with to be in units of log2. */
  readonly scale: string;
  /** The vec4 of channels 4 * quad … of row `row` of q, k or v; all are WGSL expressions. */
  load(name: "q" | "k" | "v", row: string, quad: string | number): string;
}

/** The kernel of one attention. Bindings in order: q, k, v, out. */
export function attentionKernel(shape: AttentionShape): Kernel {
  const problem = prepare(shape);
  if (problem.queries <= FEW_QUERIES) return fewQueries(problem, shape.profile.name === "subgroup8");
  switch (shape.profile.name) {
    case "subgroup8":
      return subgroupKernel(problem);
    case "portable":
      return portableKernel(problem);
    case "workgroup":
      return workgroupKernel(problem);
  }
}

function prepare({ q, k, v, out, scale }: AttentionShape): Problem {
  const [heads, queries, channels] = q.shape;
  const keys = k.shape[1];
  const fits = channels === CHANNELS && sameShape(q.shape, out.shape) && sameShape(k.shape, v.shape) &&
    sameShape(k.shape, [heads, keys, channels]);
  if (!fits) throw new Error(`Bug: attention of [${q.shape}], [${k.shape}], [${v.shape}] into [${out.shape}]`);
  // Rows of dense, aligned channels are bound as vec4: a load of four costs little more than one.
  const dense = ({ offset, strides }: Layout) =>
    strides[2] === 1 && [offset, strides[0], strides[1]].every((x) => x % 4 === 0);
  const operands = { q, k, v };
  const params: Record<string, number> = { heads, queries, keys, quads: QUADS };
  for (const [name, layout] of Object.entries({ ...operands, out })) {
    const unit = name !== "out" && dense(layout) ? 4 : 1;
    params[`${name}_offset`] = layout.offset / unit;
    params[`${name}_head`] = layout.strides[0] / unit;
    params[`${name}_row`] = layout.strides[1] / unit;
    params[`${name}_channel`] = layout.strides[2];
  }
  return {
    heads,
    queries,
    params,
    bindings: [
      ...Object.entries(operands).map(([name, layout]) => ({
        name,
        access: "read" as const,
        element: dense(layout) ? "vec4f" : "f32",
      })),
      { name: "out", access: "write" },
    ],
    cost: {
      flops: 4 * heads * queries * keys * channels,
      bytes: 4 * [q, k, v, out].reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    },
    scale: (scale * Math.LOG2E).toExponential(9),
    load: (name, row, quad) => {
      const at = `${name}_base + (${row}) * p.${name}_row`;
      if (dense(operands[name])) return `${name}[${at} + ${quad}]`;
      return `vec4f(${
        [0, 1, 2, 3].map((c) => `${name}[${at} + (${quad} * 4 + ${c}) * p.${name}_channel]`).join(", ")
      })`;
    },
  };
}

/** Where head h's rows begin. */
const BASES = ["q", "k", "v", "out"].map((name) => `  let ${name}_base = p.${name}_offset + h * p.${name}_head;`).join(
  "\n",
);

/** Lanes of a subgroup, and subgroups that share a workgroup, each with a tile of its own. */
const LANES = 8;
const SUBGROUPS = 2;
/** A subgroup's tile: vectors of queries, and keys a block (a multiple of 8). */
const QUERY_VECTORS = 4;
const BLOCK = 24;

/**
 * One subgroup of 8 lanes for 32 queries, lane = query in four vectors, so that the softmax needs no other lane. Both
 * products are the tile of matmul.ts: keys, loaded with lane = key, and values, loaded with lane = channel, reach all
 * queries by broadcast; four channels, then four keys, are taken at once because the sums live in memory, not in registers.
 */
function subgroupKernel(problem: Problem): Kernel {
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

/**
 * The texts of kernels where a lane keeps a whole query and its sums in the arrays `query` and `o`. `unroll` makes these
 * registers on a GPU. Software takes seconds to compile that, since each of its loads is a hundred instructions: there
 * the number of quads is a parameter, because a driver unrolls loops whose end it knows.
 */
function ownQuery({ load, scale }: Problem, unroll: boolean) {
  const quads = (text: (i: string) => string) =>
    unroll ? lines(QUADS, (i) => text(`${i}`)) : `for (var i = 0; i < p.quads; i++) { ${text("i")} }`;
  return {
    /** Loads query m, and empties its sums. */
    begin: `
  var top = ${LEAST};
  var total = 0.0;
  var query: array<vec4f, ${QUADS}>;
  var o: array<vec4f, ${QUADS}>;
  ${quads((i) => `query[${i}] = ${load("q", "m", i)};`)}`,
    /** Adds one key to the sums; `key` and `value` are its vec4 by quad. */
    take: (key: (quad: string) => string, value: (quad: string) => string) => `
      var s = 0.0;
      ${quads((i) => `s += dot(query[${i}], ${key(i)});`)}
      s *= ${scale};
      if (s > top) {
        let shrink = exp2(top - s);
        top = s;
        total *= shrink;
        ${quads((i) => `o[${i}] *= shrink;`)}
      }
      let weight = exp2(s - top);
      total += weight;
      ${quads((i) => `o[${i}] = fma(vec4f(weight), ${value(i)}, o[${i}]);`)}`,
    /** Stores query m. */
    store: quads((i) => `
    {
      let mean = o[${i}] / total;
      let at = out_base + m * p.out_row + ${i} * 4 * p.out_channel;
${lines(4, (c) => `      out[at + ${c} * p.out_channel] = mean[${c}];`)}
    }`),
  };
}

/** Lane = query, nothing shared. */
function portableKernel(problem: Problem): Kernel {
  const { load } = problem;
  const own = ownQuery(problem, false);
  const body = `
  let index = (group.x + group.y * groups.x) * 32 + local.x;
  if (index >= p.queries * p.heads) { return; }
  let h = index / p.queries;
  let m = index % p.queries;
${BASES}
${own.begin}
    for (var n = 0; n < p.keys; n++) {
${own.take((i) => load("k", "n", i), (i) => load("v", "n", i))}
    }
${own.store}`;
  const grid = foldGrid(ceilDiv(problem.queries * problem.heads, 32));
  return kernel({ ...problem, name: "attention_portable", workgroup: [32, 1, 1], grid, body });
}

/** Keys whose vec4 a workgroup holds in its memory: 16 x 16 vec4 each of k and v are 8 KiB. */
const SHARED_KEYS = 16;

/** 64 queries a workgroup, one an invocation; keys and values pass through workgroup memory, loaded by all. */
function workgroupKernel(problem: Problem): Kernel {
  const { load } = problem;
  const own = ownQuery(problem, true);
  const tiles = ceilDiv(problem.queries, 64);
  const prelude = `
var<workgroup> shared_k: array<vec4f, ${SHARED_KEYS * QUADS}>;
var<workgroup> shared_v: array<vec4f, ${SHARED_KEYS * QUADS}>;`;
  const body = `
  let index = group.x + group.y * groups.x;
  if (index >= p.tiles * p.heads) { return; }
  let h = index / p.tiles;
  let own_m = index % p.tiles * 64 + local.x;
  let m = min(own_m, p.queries - 1);
${BASES}
${own.begin}
  for (var n0 = 0; n0 < p.keys; n0 += ${SHARED_KEYS}) {
    for (var i = local.x; i < ${SHARED_KEYS * QUADS}; i += 64) {
      let n = min(n0 + i / ${QUADS}, p.keys - 1);
      let quad = i % ${QUADS};
      shared_k[i] = ${load("k", "n", "quad")};
      shared_v[i] = ${load("v", "n", "quad")};
    }
    workgroupBarrier();
    for (var n = 0; n < min(${SHARED_KEYS}, p.keys - n0); n++) {
${own.take((i) => `shared_k[n * ${QUADS} + ${i}]`, (i) => `shared_v[n * ${QUADS} + ${i}]`)}
    }
    workgroupBarrier();
  }
  if (own_m < p.queries) {
${own.store}
  }`;
  return kernel({
    ...problem,
    name: "attention_workgroup",
    params: { ...problem.params, tiles },
    workgroup: [64, 1, 1],
    grid: foldGrid(tiles * problem.heads),
    prelude,
    body,
  });
}

/**
 * One group of lanes a query, for [CLS] alone: every lane takes the keys n = lane, lane + lanes, … with sums of its own,
 * which are brought to a common `top` and added at the end, by subgroup operations or through workgroup memory.
 */
function fewQueries(problem: Problem, subgroups: boolean): Kernel {
  const { load } = problem;
  const own = ownQuery(problem, false);
  const lanes = subgroups ? LANES : 32;
  const lane = subgroups ? "lane" : "local.x";
  const merge = subgroups
    ? `
  let weight = exp2(top - subgroupMax(top));
  let all = subgroupAdd(total * weight);
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
  for (var d = local.x; d < ${CHANNELS}; d += ${lanes}) {
    var all = 0.0;
    var sum = 0.0;
    for (var i = 0; i < ${lanes}; i++) {
      all += totals[i];
      sum += sums[i * ${CHANNELS} + d];
    }
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
