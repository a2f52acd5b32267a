/**
 * Attention on a GPU: a lane keeps a query and its sums, and takes keys by blocks. See attention.ts for the formula and the index names.
 *
 * A key and its value are the same for all lanes, and where they lie depends on nothing but the workgroup and the loop: so they are read from storage as they are, which
 * a GPU does once for all lanes or by way of a cache that hands one word to all of them, and neither workgroup memory nor a barrier is needed. The sums shrink once a block.
 */
import type { Kernel } from "../../ir/program.ts";
import { ceilDiv, foldGrid, kernel } from "../template.ts";
import { lines } from "../unroll.ts";
import { BASES, LEAST, type Problem, QUADS, storeSum } from "./attention_frame.ts";

const LANES = 64;
/** Keys a block. */
const BLOCK = 4;

export function workgroupKernel(problem: Problem): Kernel {
  const { load, scale, queries, heads } = problem;
  const tiles = ceilDiv(queries, LANES);
  const quads = (text: (i: number) => string) => lines(QUADS, text);
  const block = (text: (u: number) => string) => lines(BLOCK, text);
  const body = `
  let index = group.x + group.y * groups.x;
  if (index >= p.tiles * p.heads) { return; }
  let h = index / p.tiles;
  let own_m = index % p.tiles * ${LANES} + local.x;
  let m = min(own_m, p.queries - 1);
${BASES}
  var top = ${LEAST};
  var total = 0.0;
${quads((i) => `  let q${i} = ${load("q", "m", i)};\n  var o${i} = vec4f();`)}
  for (var n0 = 0; n0 < p.keys; n0 += ${BLOCK}) {
${
    block((u) => `
    let n${u} = min(n0 + ${u}, p.keys - 1);
    var s${u} = 0.0;
${
      quads((i) =>
        `    { let key = ${load("k", `n${u}`, i)}; ${
          [0, 1, 2, 3].map((c) => `s${u} = fma(q${i}[${c}], key[${c}], s${u});`).join(" ")
        } }`
      )
    }
    s${u} = select(${LEAST}, s${u} * ${scale}, n0 + ${u} < p.keys);`)
  }
    let best = ${Array.from({ length: BLOCK }, (_, u) => `s${u}`).reduce((a, b) => `max(${a}, ${b})`)};
    let next = max(top, best);
    let shrink = exp2(top - next);
    top = next;
    total *= shrink;
${quads((i) => `    o${i} *= shrink;`)}
${
    block((u) => `
    let w${u} = exp2(s${u} - top);
    total += w${u};
${quads((i) => `    o${i} = fma(vec4f(w${u}), ${load("v", `n${u}`, i)}, o${i});`)}`)
  }
  }
  if (own_m < p.queries) {
${
    quads((i) => `
    {
      let mean = o${i} / total;
      let at = out_base + m * p.out_row + ${i} * 4 * p.out_channel;
${lines(4, (c) => `      out[at + ${c} * p.out_channel] = mean[${c}];`)}
    }`)
  }
    ${storeSum("m", "top", "total")}
  }`;
  return kernel({
    ...problem,
    name: "attention_workgroup",
    params: { ...problem.params, tiles },
    workgroup: [LANES, 1, 1],
    grid: foldGrid(tiles * heads),
    body,
  });
}
