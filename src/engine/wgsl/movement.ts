/**
 * Copies that strides cannot express: a tensor set into zeros (embed), and a window at an offset that is data (crop, place).
 */
import type { Kernel } from "../ir/program.ts";
import { type Layout, sizeOf } from "../ir/type.ts";
import { address, ceilDiv, foldGrid, kernel } from "./template.ts";

const LANES = 64;

/** Statements that split the linear index into `i0..` over `sides`, and the parameters they read. */
function unravel(sides: readonly number[]): { text: string; params: Record<string, number> } {
  const lines = [
    `  let linear = (group.x + group.y * groups.x) * ${LANES} + local.x;`,
    "  if (linear >= p.total) { return; }",
    "  var rest = linear;",
  ];
  for (let axis = sides.length - 1; axis >= 0; axis--) {
    lines.push(`  let i${axis} = rest % p.n${axis};`, `  rest = rest / p.n${axis};`);
  }
  return {
    text: lines.join("\n"),
    params: { total: sizeOf(sides), ...Object.fromEntries(sides.map((side, axis) => [`n${axis}`, side])) },
  };
}

/** out[i] = literal; out is contiguous. */
export function fillKernel(out: Layout, literal: number): Kernel {
  const total = sizeOf(out.shape);
  return kernel({
    name: "fill",
    bindings: [{ name: "out", access: "write" }],
    params: { total, out_offset: out.offset, bits: new Int32Array(new Float32Array([literal]).buffer)[0] },
    workgroup: [LANES, 1, 1],
    grid: foldGrid(ceilDiv(total, LANES)),
    body: `  let i = (group.x + group.y * groups.x) * ${LANES} + local.x;
  if (i < p.total) { out[p.out_offset + i] = bitcast<f32>(p.bits); }`,
    cost: { flops: 0, bytes: 4 * total },
  });
}

/** out[start + i * step] = x[i], zero elsewhere. */
export function embedKernel(
  { x, out, start, step }: { x: Layout; out: Layout; start: readonly number[]; step: readonly number[] },
): Kernel {
  const space = unravel(out.shape);
  const axes = out.shape.map((_, axis) => axis);
  const source = address("x", x, axes.map((axis) => `j${axis}`));
  const target = address("out", out, axes.map((axis) => `i${axis}`));
  const params: Record<string, number> = { ...space.params, ...source.params, ...target.params };
  for (const axis of axes) {
    Object.assign(params, { [`start${axis}`]: start[axis], [`step${axis}`]: step[axis], [`m${axis}`]: x.shape[axis] });
  }
  const inside = axes.map((axis) => `j${axis} * p.step${axis} == d${axis} && j${axis} >= 0 && j${axis} < p.m${axis}`)
    .join(
      " && ",
    );
  return kernel({
    name: "embed",
    bindings: [{ name: "x", access: "read" }, { name: "out", access: "write" }],
    params,
    workgroup: [LANES, 1, 1],
    grid: foldGrid(ceilDiv(sizeOf(out.shape), LANES)),
    body: `${space.text}
${
      axes.map((axis) => `  let d${axis} = i${axis} - p.start${axis};\n  let j${axis} = d${axis} / p.step${axis};`)
        .join("\n")
    }
  var value = 0.0;
  if (${inside || "true"}) { value = x[${source.expression}]; }
  out[${target.expression}] = value;`,
    cost: { flops: 0, bytes: 4 * (sizeOf(out.shape) + sizeOf(x.shape)) },
  });
}

/** out[c, y, x] = in[c, y + sign * offset[0], x + sign * offset[1]], zero outside. */
export function shiftKernel(
  { x, offset, out, sign }: { x: Layout; offset: Layout; out: Layout; sign: 1 | -1 },
): Kernel {
  const space = unravel(out.shape);
  const source = address("x", x, ["i0", "sy", "sx"]);
  const target = address("out", out, ["i0", "i1", "i2"]);
  const [first, second] = [address("offset", offset, ["0"]), address("offset", offset, ["1"])];
  const op = sign === 1 ? "+" : "-";
  return kernel({
    name: sign === 1 ? "crop" : "place",
    bindings: [{ name: "x", access: "read" }, { name: "offset", access: "read" }, { name: "out", access: "write" }],
    params: { ...space.params, ...source.params, ...first.params, ...target.params, h: x.shape[1], w: x.shape[2] },
    workgroup: [LANES, 1, 1],
    grid: foldGrid(ceilDiv(sizeOf(out.shape), LANES)),
    body: `${space.text}
  let sy = i1 ${op} i32(offset[${first.expression}]);
  let sx = i2 ${op} i32(offset[${second.expression}]);
  var value = 0.0;
  if (sy >= 0 && sy < p.h && sx >= 0 && sx < p.w) { value = x[${source.expression}]; }
  out[${target.expression}] = value;`,
    cost: { flops: 0, bytes: 8 * sizeOf(out.shape) },
  });
}

/** out[b, c, y, x] = in[b, c, ry(y - padding), rx(x - padding)], r the reflection into the plane. */
export function padKernel(x: Layout, out: Layout, padding: number): Kernel {
  const [, , height, width] = x.shape;
  const space = unravel(out.shape);
  const source = address("x", x, ["i0", "i1", "sy", "sx"]);
  const target = address("out", out, ["i0", "i1", "i2", "i3"]);
  return kernel({
    name: "pad_reflection",
    bindings: [{ name: "x", access: "read" }, { name: "out", access: "write" }],
    params: { ...space.params, ...source.params, ...target.params, bottom: height - 1, right: width - 1, padding },
    workgroup: [LANES, 1, 1],
    grid: foldGrid(ceilDiv(sizeOf(out.shape), LANES)),
    body: `${space.text}
  let sy = p.bottom - abs(p.bottom - abs(i2 - p.padding));
  let sx = p.right - abs(p.right - abs(i3 - p.padding));
  out[${target.expression}] = x[${source.expression}];`,
    cost: { flops: 0, bytes: 8 * sizeOf(out.shape) },
  });
}

/** The adjoint of `padKernel`: a pixel gets what lies on it and on its mirror images in the padding, of which it has up to eight. */
export function foldKernel(g: Layout, out: Layout, padding: number): Kernel {
  const [, , height, width] = out.shape;
  const space = unravel(out.shape);
  const source = address("g", g, ["i0", "i1", "sy", "sx"]);
  const target = address("out", out, ["i0", "i1", "i2", "i3"]);
  const image = (at: string, last: string) => `
    let s${
    last === "bottom" ? "y" : "x"
  } = p.padding + select(select(2 * p.${last} - ${at}, -${at}, fold == 1), ${at}, fold == 0);`;
  const has = (at: string, last: string) =>
    `(fold == 0 || (fold == 1 && ${at} >= 1 && ${at} <= p.padding) || ` +
    `(fold == 2 && ${at} >= p.${last} - p.padding && ${at} < p.${last}))`;
  return kernel({
    name: "fold_reflection",
    bindings: [{ name: "g", access: "read" }, { name: "out", access: "write" }],
    params: { ...space.params, ...source.params, ...target.params, bottom: height - 1, right: width - 1, padding },
    workgroup: [LANES, 1, 1],
    grid: foldGrid(ceilDiv(sizeOf(out.shape), LANES)),
    body: `${space.text}
  var sum = 0.0;
  for (var fold_y = 0; fold_y < 3; fold_y++) {
    let fold = fold_y;
    if (!${has("i2", "bottom")}) { continue; }${image("i2", "bottom")}
    for (var fold_x = 0; fold_x < 3; fold_x++) {
      let fold = fold_x;
      if (!${has("i3", "right")}) { continue; }${image("i3", "right")}
      sum += g[${source.expression}];
    }
  }
  out[${target.expression}] = sum;`,
    cost: { flops: sizeOf(out.shape), bytes: 8 * sizeOf(out.shape) },
  });
}
