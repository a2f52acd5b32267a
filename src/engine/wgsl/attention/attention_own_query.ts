/**
 * Attention where a lane keeps a query of its own: the kernel of software without subgroups, and that of GPUs.
 * See attention.ts for the formula and the index names.
 */
import type { Kernel } from "../../ir/program.ts";
import { ceilDiv, foldGrid, kernel } from "../template.ts";
import { lines } from "../unroll.ts";
import { BASES, LEAST, type Problem, QUADS, storeSum } from "./attention_frame.ts";

/**
 * The texts of kernels where a lane keeps a whole query and its sums in the arrays `query` and `o`. `unroll` makes these
 * registers on a GPU. Software takes seconds to compile that, since each of its loads is a hundred instructions: there
 * the number of quads is a parameter, because a driver unrolls loops whose end it knows.
 */
export function ownQuery({ load, scale }: Problem, unroll: boolean) {
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
    }`) + `\n    ${storeSum("m", "top", "total")}`,
  };
}

/** Lane = query, nothing shared. */
export function portableKernel(problem: Problem): Kernel {
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
