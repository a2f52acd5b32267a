/** Convolution, resampling and their adjoints. An adjoint's formula is the transpose of what it belongs to, taken one basis vector at a time. */
import * as ops from "../../../../src/engine/mod.ts";
import { any, applyOp, type Case, type CaseTable, indicesOf, reader } from "./case.ts";

interface Convolution {
  readonly x: readonly [number, number, number, number];
  readonly outputs: number;
  readonly k: number;
  readonly stride: 1 | 2;
  readonly padding: "zero" | "reflect";
}

const convolution = (
  x: Convolution["x"],
  outputs: number,
  k: number,
  stride: 1 | 2 = 1,
  padding: Convolution["padding"] = "zero",
): Convolution => ({ x, outputs, k, stride, padding });

const geometries: readonly Convolution[] = [
  convolution([1, 5, 9, 12], 6, 3),
  convolution([1, 3, 9, 11], 8, 3, 2),
  convolution([1, 5, 9, 12], 6, 3, 1, "reflect"),
  convolution([2, 3, 5, 6], 4, 3, 2, "reflect"),
  convolution([1, 5, 9, 12], 6, 5, 1, "reflect"),
  convolution([2, 4, 7, 5], 3, 7, 1, "reflect"),
  convolution([1, 2, 8, 7], 17, 7, 2),
  convolution([1, 2, 7, 8], 5, 5, 2, "reflect"),
  convolution([1, 1, 1, 1], 1, 3),
  convolution([1, 9, 1, 37], 4, 3),
  convolution([2, 6, 5, 7], 4, 1, 2),
];

const nameOf = ({ x, outputs, k, stride, padding }: Convolution) =>
  `[${x}] to ${outputs} by ${k} x ${k}, stride ${stride}, ${padding}`;
const weightShape = ({ x, outputs, k }: Convolution) => [outputs, x[1], k, k];
const outputShape = (
  { x, outputs, stride }: Convolution,
) => [x[0], outputs, Math.ceil(x[2] / stride), Math.ceil(x[3] / stride)];
const attrsOf = ({ stride, padding }: Convolution) => ({ stride, padding });

/** Pads first, then slides: x is read from a larger copy of itself. */
function slide(geometry: Convolution, x: ArrayLike<number>, weight: ArrayLike<number>): number[] {
  const { k, stride, padding, x: shape } = geometry;
  const [batch, channels, height, width] = shape;
  const [pad, from, w] = [(k - 1) / 2, reader(x, shape), reader(weight, weightShape(geometry))];
  const mirrored = (i: number, side: number) => side - 1 - Math.abs(side - 1 - Math.abs(i));
  const inside = (i: number, side: number) => i >= 0 && i < side;
  const paddedShape = [batch, channels, height + 2 * pad, width + 2 * pad];
  const padded = reader(
    indicesOf(paddedShape).map(([b, c, i, j]) => {
      const [y, z] = [i - pad, j - pad];
      if (padding === "reflect") return from(b, c, mirrored(y, height), mirrored(z, width));
      return inside(y, height) && inside(z, width) ? from(b, c, y, z) : 0;
    }),
    paddedShape,
  );
  const taps = indicesOf([channels, k, k]);
  return indicesOf(outputShape(geometry)).map(([b, o, i, j]) =>
    taps.reduce((sum, [c, ky, kx]) => sum + w(o, c, ky, kx) * padded(b, c, i * stride + ky, j * stride + kx), 0)
  );
}

/** The transpose of a linear map of `length` numbers, applied to g. */
function transposed(length: number, map: (x: Float64Array) => ArrayLike<number>, g: Float64Array): number[] {
  return Array.from({ length }, (_, at) => {
    const column = map(new Float64Array(length).fill(1, at, at + 1));
    return g.reduce((sum, value, i) => sum + value * column[i], 0);
  });
}

const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
/** Basis vectors are many: only small maps are transposed. */
const small = (geometry: Convolution) => elements(outputShape(geometry)) * elements(weightShape(geometry)) < 30000;

const convolutions = geometries.map((geometry): Case => ({
  name: nameOf(geometry),
  inputs: [any(...geometry.x), any(...weightShape(geometry))],
  build: (x, weight) => applyOp("conv2d", [x, weight], attrsOf(geometry)),
  formula: (x, weight) => slide(geometry, x, weight),
  terms: elements(weightShape(geometry)) / geometry.outputs,
}));

/** The op; where reflections of a wide kernel are folded in the graph, what differentiation makes of the convolution. */
function inputGradient(geometry: Convolution, g: ops.Value, weight: ops.Value): ops.Value {
  const { k, padding, x: shape } = geometry;
  if (k <= 3 || padding === "zero") {
    return applyOp("conv2d_input_gradient", [g, weight], { ...attrsOf(geometry), shape });
  }
  const x = ops.full(shape, 0);
  return ops.gradients(ops.sumAll(ops.mul(applyOp("conv2d", [x, weight], attrsOf(geometry)), g)), [x])[0];
}

const inputGradients = geometries.map((geometry): Case => ({
  name: nameOf(geometry),
  inputs: [any(...outputShape(geometry)), any(...weightShape(geometry))],
  build: (g, weight) => inputGradient(geometry, g, weight),
  ...(small(geometry)
    ? { formula: (g, weight) => transposed(elements(geometry.x), (x) => slide(geometry, x, weight), g) }
    : {}),
  terms: geometry.outputs * geometry.k ** 2,
}));

const weightGradients = geometries.map((geometry): Case => ({
  name: nameOf(geometry),
  inputs: [any(...geometry.x), any(...outputShape(geometry))],
  build: (x, g) => applyOp("conv2d_weight_gradient", [x, g], { ...attrsOf(geometry), shape: weightShape(geometry) }),
  ...(small(geometry)
    ? { formula: (x, g) => transposed(elements(weightShape(geometry)), (weight) => slide(geometry, x, weight), g) }
    : {}),
  terms: elements(outputShape(geometry)) / geometry.outputs,
}));

// --- resampling ----------------------------------------------------------------------------------------------------------

type Sides = readonly [planes: number, height: number, width: number];
interface Resampling {
  readonly name: string;
  readonly from: Sides;
  readonly to: readonly [height: number, width: number];
  readonly mode: "bilinear" | "bicubic";
  readonly scale?: readonly [y: number, x: number];
}

const resamplings: readonly Resampling[] = [
  { name: "bilinear, twice as large", from: [3, 9, 12], to: [18, 24], mode: "bilinear" },
  { name: "bilinear, smaller, odd", from: [2, 13, 11], to: [5, 7], mode: "bilinear" },
  { name: "bicubic, smaller", from: [3, 9, 12], to: [7, 5], mode: "bicubic" },
  {
    name: "bicubic, larger, by scales that are no ratio",
    from: [2, 5, 6],
    to: [9, 8],
    mode: "bicubic",
    scale: [5 / 9.1, 6 / 8.1],
  },
  { name: "from one pixel", from: [2, 1, 1], to: [3, 5], mode: "bilinear" },
  { name: "to one pixel", from: [2, 6, 4], to: [1, 1], mode: "bicubic" },
];

const scalesOf = ({ from, to, scale }: Resampling) => scale ?? [from[1] / to[0], from[2] / to[1]];

/** The interpolating kernel at distance t, written as PyTorch's documentation and Keys (1981) have it. */
function weightAt(t: number, mode: Resampling["mode"]): number {
  const [d, a] = [Math.abs(t), -0.75];
  if (mode === "bilinear") return Math.max(0, 1 - d);
  if (d < 1) return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1;
  return d < 2 ? a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a : 0;
}

/** Interpolates a plane continued for ever by its border: one sum over all pixels within reach. */
function interpolate(resampling: Resampling, x: ArrayLike<number>): number[] {
  const { from, to, mode } = resampling;
  const [scaleY, scaleX] = scalesOf(resampling);
  const read = reader(x, from);
  const border = (i: number, side: number) => Math.min(Math.max(i, 0), side - 1);
  const reach = [-2, -1, 0, 1, 2];
  return indicesOf([from[0], ...to]).map(([n, i, j]) => {
    const [y, z] = [(i + 0.5) * scaleY - 0.5, (j + 0.5) * scaleX - 0.5];
    let sum = 0;
    for (const dy of reach) {
      for (const dx of reach) {
        const [row, column] = [Math.floor(y) + dy, Math.floor(z) + dx];
        const weight = weightAt(y - row, mode) * weightAt(z - column, mode);
        sum += weight * read(n, border(row, from[1]), border(column, from[2]));
      }
    }
    return sum;
  });
}

// Positions are rounded in f32 before they become weights, so errors are those of a position, a few pixels in size.
const resampled = resamplings.map((resampling): Case => ({
  name: resampling.name,
  inputs: [any(...resampling.from)],
  build: (x) => ops.resample(x, optionsOf(resampling)),
  formula: (x) => interpolate(resampling, x),
  terms: 16,
  roundings: 32,
}));

function optionsOf(resampling: Resampling) {
  const [scaleY, scaleX] = scalesOf(resampling);
  return { height: resampling.to[0], width: resampling.to[1], mode: resampling.mode, scaleY, scaleX };
}

const resampleAdjoints = resamplings.map((resampling): Case => ({
  name: resampling.name,
  inputs: [any(resampling.from[0], ...resampling.to)],
  build: (g) =>
    applyOp("resample_adjoint", [g], {
      mode: resampling.mode,
      height: resampling.from[1],
      width: resampling.from[2],
      scale_y: scalesOf(resampling)[0],
      scale_x: scalesOf(resampling)[1],
    }),
  formula: (g) => transposed(elements(resampling.from), (x) => interpolate(resampling, x), g),
  terms: 16 * Math.ceil(resampling.to[0] * resampling.to[1] / resampling.from[1] / resampling.from[2]),
  roundings: 32,
}));

export const planeCases: CaseTable = {
  conv2d: {
    cases: [...convolutions, {
      name: "1 x 1, no product, in a batch of two",
      inputs: [any(2, 5, 3, 7), any(6, 5, 1, 1)],
      build: (x, weight) => ops.conv2d(x, weight),
      formula: (x, weight) => slide(convolution([2, 5, 3, 7], 6, 1), x, weight),
      terms: 5,
    }],
  },
  conv2d_input_gradient: { cases: inputGradients },
  conv2d_weight_gradient: { cases: weightGradients },
  conv2d_weight_parts: {
    differentiable: false,
    cases: [{
      name: "in four parts, summed",
      inputs: [any(1, 3, 9, 11), any(1, 4, 9, 11)],
      build: (x, g) =>
        ops.reshape(
          applyOp("column_sum", [ops.reshape(
            applyOp("conv2d_weight_parts", [x, g], { stride: 1, padding: "zero", shape: [4, 3, 3, 3], splits: 4 }),
            [4, 108],
          )]),
          [4, 3, 3, 3],
        ),
      terms: 99,
    }],
  },
  resample: { cases: resampled },
  resample_adjoint: { cases: resampleAdjoints },
};
