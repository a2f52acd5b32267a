/**
 * Elementwise kernels: out[i] = f(x0[i], x1[i], ...), i a multi-index, each operand read through its own strides.
 *
 * The index space is collapsed to as few axes as the strides allow and its last axes become the grid's, so that the common
 * cases (one flat loop; channel x pixel) run without a division.
 */
import type { Chain, Kernel, Profile } from "../ir/program.ts";
import { collapse, type Layout, sizeOf } from "../ir/type.ts";
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
  const target = address("out", layouts[0], indices);
  const sources = chain.operands.map((_, k) => address(`v${k}`, layouts[k + 1], indices));
  const { bindings, names } = sourcesOf("x", chain.operands);
  const total = sizeOf(sides);
  const space = indexSpace(sides);
  const { statements, result } = chain.render(sources.map((_, k) => `v${k}`), "");
  return kernel({
    name: "elementwise",
    bindings: [...bindings, { name: "out", access: "write" as const }],
    params: Object.assign({}, space.params, target.params, ...sources.map((source) => source.params)),
    workgroup: [LANES, 1, 1],
    grid: space.grid,
    prelude: shape.prelude,
    body: `${space.text}
${sources.map((source, k) => `  let v${k} = ${names[k]}[${source.expression}];`).join("\n")}
${statements}
  out[${target.expression}] = ${result};`,
    cost: { flops: shape.operations * total, bytes: 4 * total * (1 + chain.operands.length) },
  });
}

/** How invocations find their multi-index `i0, i1, ...`: on the grid's axes where they fit, else from one linear index. */
function indexSpace(
  sides: readonly number[],
): { text: string; params: Record<string, number>; grid: [number, number, number] } {
  const rank = sides.length;
  const inner = sides[rank - 1];
  const params: Record<string, number> = Object.fromEntries(sides.map((side, axis) => [`n${axis}`, side]));
  const onGrid = rank >= 2 && rank <= 3 && inner >= LANES / 2 && ceilDiv(inner, LANES) <= MAX_GROUPS &&
    sides.slice(0, -1).every((side) => side <= MAX_GROUPS);
  if (onGrid) {
    const axes = ["z", "y"].slice(3 - rank);
    return {
      text: [
        `  let i${rank - 1} = group.x * ${LANES} + local.x;`,
        `  if (i${rank - 1} >= p.n${rank - 1}) { return; }`,
        ...axes.map((axis, k) => `  let i${k} = group.${axis};`),
      ].join("\n"),
      params: { [`n${rank - 1}`]: inner },
      grid: [ceilDiv(inner, LANES), sides[rank - 2], rank === 3 ? sides[0] : 1],
    };
  }
  const text = [
    `  let linear = (group.x + group.y * groups.x) * ${LANES} + local.x;`,
    `  if (linear >= p.total) { return; }`,
  ];
  let rest = "linear";
  for (let axis = rank - 1; axis > 0; axis--) {
    text.push(`  let i${axis} = (${rest}) % p.n${axis};`, `  let r${axis} = (${rest}) / p.n${axis};`);
    rest = `r${axis}`;
  }
  text.push(`  let i0 = ${rest};`);
  delete params.n0;
  return {
    text: text.join("\n"),
    params: { ...params, total: sizeOf(sides) },
    grid: foldGrid(ceilDiv(sizeOf(sides), LANES)),
  };
}
