/**
 * Elementwise kernels of GPUs: see elementwise.ts for the formula. Four words are loaded and stored at once where all operands lie so, and a lane has several such loads
 * under way: everything stands in straight lines. Lanes past the end compute and store the last element once more, the same number to the same place: a branch around the
 * stores would draw the loads into it, one after the other.
 */
import type { Chain, Kernel } from "../ir/program.ts";
import { type Layout, sizeOf } from "../ir/type.ts";
import { address, ceilDiv, foldGrid, inQuads, isQuads, kernel, MAX_GROUPS, sourcesOf } from "./template.ts";
import { lines, range } from "./unroll.ts";

const LANES = 64;
/** Loads of a lane that are under way at once, at least. */
const LOADS = 4;

export interface WideShape {
  readonly chain: Chain;
  /** Layouts over one index space, its axes collapsed as far as they can be; the operands' in their order. */
  readonly output: Layout;
  readonly operands: readonly Layout[];
  readonly prelude: string;
  readonly cost: { readonly flops: number; readonly bytes: number };
}

export function wideKernel({ chain, output, operands, prelude, cost }: WideShape): Kernel {
  const axis = output.shape.length - 1;
  const along = (layout: Layout) => layout.strides[axis];
  const quads = isQuads(output) && operands.every((x) => along(x) === 0 || isQuads(x));
  const words = quads ? range(4) : [0];
  const sides = output.shape.with(axis, output.shape[axis] / words.length);
  const walked = operands.filter((layout) => along(layout) !== 0).length;
  const items = range(ceilDiv(LOADS, Math.max(walked, 1)));
  const space = placesIn(sides, items.length);
  const { bindings, names } = sourcesOf("x", chain.operands);
  const params: Record<string, number> = { ...space.params };
  const at = (name: string, layout: Layout, indices: readonly string[]) => {
    const found = address(name, quads && along(layout) !== 0 ? inQuads(layout) : layout, indices);
    Object.assign(params, found.params);
    return found.expression;
  };
  const word = (buffer: string, expression: string, c: number) =>
    `${buffer}[${quads ? `(${expression}) * 4 + ${c}` : expression}]`;
  const load = (k: number, item: number) => {
    const layout = operands[k];
    const expression = at(`v${k}`, layout, space.indices(item));
    if (along(layout) === 0) return `  let v${k}_${item} = ${names[k]}[${expression}];`;
    const loaded = words.map((c) => word(names[k], expression, c));
    return `  let v${k}_${item} = ${quads ? `vec4f(${loaded.join(", ")})` : loaded[0]};`;
  };
  const value = (k: number, item: number, c: number) =>
    along(operands[k]) !== 0 && quads ? `v${k}_${item}[${c}]` : `v${k}_${item}`;
  const store = (item: number) => {
    const target = at("out", output, space.indices(item));
    return words.map((c) => {
      const { statements, result } = chain.render(operands.map((_, k) => value(k, item, c)), `t${item}_${c}_`);
      return `    ${statements}\n    ${word("out", target, c)} = ${result};`;
    }).join("\n");
  };
  const body = `${space.before}
${items.map((item) => lines(operands.length, (k) => load(k, item))).join("\n")}
${items.map(store).join("\n")}`;
  return kernel({
    name: "elementwise",
    bindings: [...bindings, { name: "out", access: "write" as const }],
    params,
    workgroup: [LANES, 1, 1],
    grid: space.grid,
    prelude,
    body,
    cost,
  });
}

interface Places {
  /** Statements before anything is loaded. */
  readonly before: string;
  /** The index of an item along every axis; past the end of the space, that of the last. */
  indices(item: number): string[];
  readonly params: Record<string, number>;
  readonly grid: [number, number, number];
}

/** How lanes find their multi-indices: on the grid's axes where these fit, else from one number. */
function placesIn(sides: readonly number[], items: number): Places {
  const rank = sides.length;
  const last = sides[rank - 1];
  const span = LANES * items;
  const outer = sides.slice(0, -1);
  if (
    rank <= 3 && last >= LANES / 2 && ceilDiv(last, span) <= MAX_GROUPS && outer.every((side) => side <= MAX_GROUPS)
  ) {
    const axes = ["z", "y"].slice(3 - rank);
    return {
      before: [
        ...axes.map((name, k) => `  let i${k} = group.${name};`),
        `  let first = group.x * ${span} + local.x;`,
        lines(items, (item) => `  let last${item} = min(first + ${item * LANES}, p.n - 1);`),
      ].join("\n"),
      indices: (item) => [...axes.map((_, k) => `i${k}`), `last${item}`],
      params: { n: last },
      grid: [ceilDiv(last, span), rank >= 2 ? sides[rank - 2] : 1, rank === 3 ? sides[0] : 1],
    };
  }
  // Unsigned: a division of signed numbers costs a GPU five times as much.
  const unravel = (item: number) => {
    const text = [`  let rest${item}_${rank} = min(first + ${item * LANES}u, u32(p.total) - 1u);`];
    for (let k = rank - 1; k > 0; k--) {
      text.push(`  let i${item}_${k} = i32(rest${item}_${k + 1} % u32(p.n${k}));`);
      text.push(`  let rest${item}_${k} = rest${item}_${k + 1} / u32(p.n${k});`);
    }
    text.push(`  let i${item}_0 = i32(rest${item}_1);`);
    return text.join("\n");
  };
  return {
    before: `  let first = (group_u.x + group_u.y * groups_u.x) * ${span}u + local_u.x;\n${lines(items, unravel)}`,
    indices: (item) => range(rank).map((k) => `i${item}_${k}`),
    params: {
      ...Object.fromEntries(sides.slice(1).map((side, k) => [`n${k + 1}`, side])),
      total: sizeOf(sides),
    },
    grid: foldGrid(ceilDiv(sizeOf(sides), span)),
  };
}
