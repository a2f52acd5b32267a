/**
 * Elementwise kernels: out[i] = f(x0[i], x1[i], ...), i a multi-index, each operand read through its own strides.
 *
 * The index space is collapsed to as few axes as the strides allow and its last axes become the grid's, so that the common
 * cases (one flat loop; channel x pixel) run without a division.
 */
import type { Chain, Kernel, Profile } from "../ir/program.ts";
import { collapse, type Layout, sizeOf } from "../ir/type.ts";
import { wideKernel } from "./elementwise_wide.ts";
import { address, ceilDiv, foldGrid, kernel, MAX_GROUPS, sourcesOf } from "./template.ts";

const LANES = 64;

export interface ElementwiseShape {
  /** Operands of the output's shape; `render` receives their loads. */
  readonly chain: Chain;
  readonly output: Layout;
  readonly prelude: string;
  /** Scalar operations an element, for the cost. */
  readonly operations: number;
  readonly profile: Profile;
}

export function elementwiseKernel(shape: ElementwiseShape): Kernel {
  const { chain, output } = shape;
  const collapsed = collapse(output.shape, [
    output.strides,
    ...chain.operands.map((operand) => operand.layout.strides),
  ]);
  const sides = collapsed.shape.length === 0 ? [1] : collapsed.shape;
  const strides = collapsed.strides.map((list) => list.length === 0 ? [0] : list);
  const indices = sides.map((_, axis) => `i${axis}`);
  const layouts = [output, ...chain.operands.map((operand) => operand.layout)].map((layout, k) => ({
    offset: layout.offset,
    shape: sides,
    strides: strides[k],
  }));
  const cost = { flops: shape.operations * sizeOf(sides), bytes: 4 * sizeOf(sides) * (1 + chain.operands.length) };
  if (shape.profile.name === "workgroup") {
    return wideKernel({ chain, output: layouts[0], operands: layouts.slice(1), prelude: shape.prelude, cost });
  }
  const target = address("out", layouts[0], indices);
  const sources = chain.operands.map((_, k) => address(`v${k}`, layouts[k + 1], indices));
  const { bindings, names } = sourcesOf("x", chain.operands);
  // Enough elements an invocation to spread the cost of finding its place.
  const items = sides[sides.length - 1] >= 8 * LANES ? 8 : 1;
  const space = indexSpace(sides, items);
  const { statements, result } = chain.render(sources.map((_, k) => `v${k}`), "");
  // What does not change along the innermost axis is loaded once for all items of an invocation.
  const fixed = (k: number) => space.onGrid && strides[k + 1][sides.length - 1] === 0;
  const load = (k: number) => `  let v${k} = ${names[k]}[${sources[k].expression}];`;
  const loads = (when: boolean) => sources.map((_, k) => k).filter((k) => fixed(k) === when).map(load).join("\n");
  return kernel({
    name: "elementwise",
    bindings: [...bindings, { name: "out", access: "write" as const }],
    params: Object.assign({}, space.params, target.params, ...sources.map((source) => source.params)),
    workgroup: [LANES, 1, 1],
    grid: space.grid,
    prelude: shape.prelude,
    body: `${space.before}
${loads(true)}
${space.open}
${loads(false)}
${statements}
  out[${target.expression}] = ${result};
${space.close}`,
    cost,
  });
}

interface IndexSpace {
  /** Statements before the loop over items, those that open it with all indices known, and its end. */
  readonly before: string;
  readonly open: string;
  readonly close: string;
  /** Outer indices are known before the loop. */
  readonly onGrid: boolean;
  readonly params: Record<string, number>;
  readonly grid: [number, number, number];
}

/** How invocations find their multi-index `i0, i1, ...`: on the grid's axes where they fit, else from one linear index. */
function indexSpace(sides: readonly number[], items: number): IndexSpace {
  const rank = sides.length;
  const inner = sides[rank - 1];
  const span = LANES * items;
  // A parameter and not a literal: drivers unroll loops of known length, and take several times as long to compile them.
  const count: Record<string, number> = items === 1 ? {} : { items };
  const loop = (index: string, first: string, end: string) => ({
    open: items === 1
      ? `  let ${index} = ${first};\n  if (${index} < ${end}) {`
      : `  for (var item = 0; item < p.items; item++) {\n  let ${index} = ${first} + item * ${LANES};\n  if (${index} < ${end}) {`,
    close: items === 1 ? "  }" : "  }\n  }",
  });
  const onGrid = rank <= 3 && inner >= LANES / 2 && ceilDiv(inner, span) <= MAX_GROUPS &&
    sides.slice(0, -1).every((side) => side <= MAX_GROUPS);
  if (onGrid) {
    const axes = ["z", "y"].slice(3 - rank);
    return {
      onGrid,
      before: axes.map((axis, k) => `  let i${k} = group.${axis};`).join("\n"),
      ...loop(`i${rank - 1}`, `group.x * ${span} + local.x`, `p.n${rank - 1}`),
      params: { [`n${rank - 1}`]: inner, ...count },
      grid: [ceilDiv(inner, span), rank >= 2 ? sides[rank - 2] : 1, rank === 3 ? sides[0] : 1],
    };
  }
  const lines: string[] = [];
  let rest = "linear";
  for (let axis = rank - 1; axis > 0; axis--) {
    lines.push(`  let i${axis} = (${rest}) % p.n${axis};`, `  let r${axis} = (${rest}) / p.n${axis};`);
    rest = `r${axis}`;
  }
  lines.push(`  let i0 = ${rest};`);
  const { open, close } = loop("linear", `(group.x + group.y * groups.x) * ${span} + local.x`, "p.total");
  const outer = Object.fromEntries(sides.slice(1).map((side, axis) => [`n${axis + 1}`, side]));
  return {
    onGrid,
    before: "",
    open: `${open}\n${lines.join("\n")}`,
    close,
    params: { ...outer, total: sizeOf(sides), ...count },
    grid: foldGrid(ceilDiv(sizeOf(sides), span)),
  };
}
