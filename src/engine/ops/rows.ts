/**
 * Row ops: moments of rows, softmax, and the two normalisations, with their gradients.
 *
 * A row is what the trailing axes span: [R, n] with R = product of the kept axes. Sums are deterministic: their order depends
 * on shape and profile alone. Moments are two-pass; sums are kept in blocks, so that rows of a million elements stay accurate.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import { EngineError, sameShape, sizeOf, typeText } from "../ir/type.ts";
import {
  layerNormGradientKernel,
  layerNormKernel,
  softmaxGradientKernel,
  softmaxKernel,
  statisticsKernel,
} from "../wgsl/rows.ts";
import { add, div, mul, neg, sub } from "./elementwise.ts";
import { checkAxes, eachRow, expand, kept, sum, sumColumns, total } from "./broadcast.ts";
import { permute, reshape, slice } from "./movement.ts";

export function mean(x: Value, axes: number): Value {
  return div(sum(x, axes), sizeOf(x.type.shape.slice(x.type.shape.length - axes)));
}

/** Two numbers a row, as [2, R]. */
function pairs(
  inputs: readonly Float64Array[],
  length: number,
  f: (rows: Float64Array[]) => [number, number],
): Float64Array {
  const interleaved = eachRow(inputs, length, 2, f);
  return interleaved.map((_, i) =>
    interleaved[(i % (interleaved.length / 2)) * 2 + (i < interleaved.length / 2 ? 0 : 1)]
  );
}

/** Row k of a [2, R...] as a tensor of x's shape, repeated over x's trailing axes. */
function perRow(pair: Value, k: number, x: Value, axes: number): Value {
  const rank = x.type.shape.length - axes;
  return expand(
    reshape(slice(pair, 0, k, 1), [...x.type.shape.slice(0, rank), ...Array<number>(axes).fill(1)]),
    x.type.shape,
  );
}

/** Means and reciprocal standard deviations of rows: [R, n] -> [2, R]. */
const momentsOp: Op = {
  name: "moments",
  infer(inputs, attrs) {
    checkAxes("take moments of", inputs, attrs);
    return { dtype: "f32", shape: [2, ...kept(inputs[0], attrs)] };
  },
  meaning([x], [type], attrs) {
    const epsilon = attrs.epsilon as number;
    return pairs(
      [x],
      sizeOf(type.shape) / sizeOf(kept(type, attrs)),
      ([row]) => [total(row) / row.length, normalised(row, epsilon).rstd],
    );
  },
  pullback({ g, out, inputs: [x], attrs }) {
    const axes = attrs.axes as number;
    const rstd = perRow(out, 1, x, axes);
    // d mean / dx = 1/n; d rstd / dx = -rstd^3 (x - mean) / n.
    const throughRstd = mul(mul(perRow(g, 1, x, axes), mul(rstd, mul(rstd, rstd))), sub(x, perRow(out, 0, x, axes)));
    return [div(sub(perRow(g, 0, x, axes), throughRstd), sizeOf(x.type.shape.slice(x.type.shape.length - axes)))];
  },
  lower: { kind: "kernel", epilogue: false, prologue: true, build: (request) => statisticsKernel(request, "moments") },
};

function moments(x: Value, axes: number, epsilon: number): Value {
  return apply(momentsOp, [x], { axes, epsilon });
}

/** Sums of g * h and of g over rows: [R, n], [R, n] -> [2, R]. The one reduction a normalisation's gradient needs. */
const pairSumsOp: Op = {
  name: "pair_sums",
  infer(inputs, attrs) {
    checkAxes("take pair sums of", inputs, attrs);
    return { dtype: "f32", shape: [2, ...kept(inputs[0], attrs)] };
  },
  meaning: (inputs, [type], attrs) =>
    pairs(
      inputs,
      sizeOf(type.shape) / sizeOf(kept(type, attrs)),
      ([g, h]) => [g.reduce((a, b, i) => a + b * h[i], 0), total(g)],
    ),
  pullback({ g, inputs: [x, h], attrs }) {
    const axes = attrs.axes as number;
    return [add(perRow(g, 1, x, axes), mul(perRow(g, 0, x, axes), h)), mul(perRow(g, 0, x, axes), x)];
  },
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: true,
    build: (request) => statisticsKernel(request, "pair_sums"),
  },
};

const softmaxRow = (row: Float64Array) => {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
  const raised = row.map((x) => Math.exp(x - top));
  const all = total(raised);
  return raised.map((x) => x / all);
};

const softmaxOp: Op = {
  name: "softmax",
  infer([x]) {
    if (x.shape.length === 0) throw new EngineError(`Cannot softmax ${typeText(x)}: needs at least one axis`);
    return x;
  },
  meaning: ([x], [type]) => eachRow([x], type.shape.at(-1)!, type.shape.at(-1)!, ([row]) => softmaxRow(row)),
  pullback: ({ g, out }) => [softmaxGradient(out, g)],
  lower: { kind: "kernel", epilogue: false, prologue: true, build: softmaxKernel },
};

/** Softmax over the last axis. */
export function softmax(x: Value): Value {
  return apply(softmaxOp, [x]);
}

/** p (g - sum(g p)) over the last axis: the gradient of softmax from its result p. */
const softmaxGradientOp: Op = {
  name: "softmax_gradient",
  infer(inputs) {
    checkAxes("take the softmax gradient of", inputs, { axes: 1 });
    return inputs[0];
  },
  meaning: (inputs, [type]) =>
    eachRow(inputs, type.shape.at(-1)!, type.shape.at(-1)!, ([p, g]) => {
      const inner = g.reduce((a, b, i) => a + b * p[i], 0);
      return p.map((x, i) => x * (g[i] - inner));
    }),
  pullback({ g, inputs: [p, h] }) {
    const along = (a: Value, b: Value) =>
      expand(reshape(sum(mul(a, b), 1), [...p.type.shape.slice(0, -1), 1]), p.type.shape);
    const gp = mul(g, p);
    // y = p h - p (h.p): dy/dp = h g - g (h.p) - h (g.p); dy/dh = p g - p (g.p).
    return [sub(mul(g, sub(h, along(h, p))), mul(h, along(g, p))), sub(gp, mul(p, along(g, p)))];
  },
  lower: { kind: "kernel", epilogue: false, prologue: true, build: softmaxGradientKernel },
};

export function softmaxGradient(p: Value, g: Value): Value {
  return apply(softmaxGradientOp, [p, g]);
}

function normalised(row: Float64Array, epsilon: number): { hat: Float64Array; rstd: number } {
  const mean = total(row) / row.length;
  const rstd = 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length + epsilon);
  return { hat: row.map((x) => (x - mean) * rstd), rstd };
}

/** Columns summed: [T, D] -> [D]. */
const columns = (x: Value): Value => {
  const [rows, width] = [sizeOf(x.type.shape) / x.type.shape.at(-1)!, x.type.shape.at(-1)!];
  return sumColumns(reshape(x, [rows, width]));
};

const layerNormOp: Op = {
  name: "layer_norm",
  infer([x, weight, bias]) {
    const width = x.shape.at(-1) ?? 0;
    if (!sameShape(weight.shape, [width]) || !sameShape(bias.shape, [width])) {
      throw new EngineError(
        `Cannot layer_norm ${typeText(x)} by ${typeText(weight)} and ${typeText(bias)}: both must be f32[${width}]`,
      );
    }
    return x;
  },
  meaning([x, weight, bias], [type], attrs) {
    const width = type.shape.at(-1)!;
    return eachRow(
      [x],
      width,
      width,
      ([row]) => normalised(row, attrs.epsilon as number).hat.map((hat, i) => hat * weight[i] + bias[i]),
    );
  },
  pullback({ g, inputs: [x, weight], attrs }) {
    const statistics = moments(x, 1, attrs.epsilon as number);
    const hat = mul(sub(x, perRow(statistics, 0, x, 1)), perRow(statistics, 1, x, 1));
    return [
      apply(layerNormGradientOp, [x, mul(g, weight)], { epsilon: attrs.epsilon }),
      columns(mul(g, hat)),
      columns(g),
    ];
  },
  lower: { kind: "kernel", epilogue: false, prologue: false, build: layerNormKernel },
};

/** (x - mean) / sqrt(var + epsilon) * weight + bias over the last axis. x [..., D]; weight, bias [D]. */
export function layerNorm(x: Value, weight: Value, bias: Value, epsilon: number): Value {
  return apply(layerNormOp, [x, weight, bias], { epsilon });
}

/** rstd (h - mean(h) - hat mean(h hat)): what reaches x through its normalisation, h being g * weight. */
const layerNormGradientOp: Op = {
  name: "layer_norm_gradient",
  infer(inputs) {
    checkAxes("take the layer norm gradient of", inputs, { axes: 1 });
    return inputs[0];
  },
  meaning: (inputs, [type], attrs) =>
    eachRow(inputs, type.shape.at(-1)!, type.shape.at(-1)!, ([x, h]) => {
      const { hat, rstd } = normalised(x, attrs.epsilon as number);
      const first = total(h) / h.length;
      const second = h.reduce((a, b, i) => a + b * hat[i], 0) / h.length;
      return h.map((value, i) => rstd * (value - first - hat[i] * second));
    }),
  pullback({ g, inputs: [x, h], attrs }) {
    // Linear and self-adjoint in h; what it does to x is of second order and built from first principles.
    return [secondOrder(x, h, g, attrs.epsilon as number), apply(layerNormGradientOp, [x, g], attrs)];
  },
  lower: { kind: "kernel", epilogue: false, prologue: true, build: layerNormGradientKernel },
};

/** d/dx of <g, layer_norm_gradient(x, h)>: with q = <g, h> - n mean(g) mean(h) - n a b, a = mean(g hat), b = mean(h hat). */
function secondOrder(x: Value, h: Value, g: Value, epsilon: number): Value {
  const shape = x.type.shape;
  const n = shape.at(-1)!;
  const spread = (value: Value) => expand(reshape(value, [...shape.slice(0, -1), 1]), shape);
  const along = (a: Value, b: Value) => spread(div(sum(mul(a, b), 1), n));
  const average = (a: Value) => spread(div(sum(a, 1), n));
  const statistics = moments(x, 1, epsilon);
  const rstd = perRow(statistics, 1, x, 1);
  const hat = mul(sub(x, perRow(statistics, 0, x, 1)), rstd);
  const [a, b] = [along(g, hat), along(h, hat)];
  const q = sub(sub(along(g, h), mul(average(g), average(h))), mul(a, b));
  // The value is n rstd q. drstd/dx = -rstd^2 hat / n; q reaches x through hat: -(b g + a h), seen through the normalisation.
  const throughHat = apply(layerNormGradientOp, [x, neg(mul(rstd, add(mul(b, g), mul(a, h))))], { epsilon });
  return sub(throughHat, mul(mul(rstd, rstd), mul(hat, q)));
}

/**
 * Batch normalisation by the statistics of the image at hand: each plane of x [B, C, H, W] by its own moments over H x W, then
 * * weight + bias, which stand together as affine [2, C]. Written as moments and a scalar chain, which fuses into what comes
 * next; B is 1 in training, so that a plane's statistics are the batch's.
 */
const batchNormOp: Op = {
  name: "batch_norm",
  infer([x, affine]) {
    if (x.shape.length !== 4 || !sameShape(affine.shape, [2, x.shape[1]])) {
      throw new EngineError(
        `Cannot batch_norm ${typeText(x)} by ${typeText(affine)}: needs [B,C,H,W] and weight and bias as f32[2,C]`,
      );
    }
    return x;
  },
  meaning([x, affine], [type], attrs) {
    const [, channels, height, width] = type.shape;
    let row = 0;
    return eachRow([x], height * width, height * width, ([values]) => {
      const c = row++ % channels;
      return normalised(values, attrs.epsilon as number).hat.map((hat) => hat * affine[c] + affine[channels + c]);
    });
  },
  pullback({ g, inputs: [x, affine], attrs }) {
    const [batch, channels, height, width] = x.type.shape;
    const { hat, rstd } = standardised(x, attrs.epsilon as number);
    const sums = apply(pairSumsOp, [g, hat], { axes: 2 }); // [2, B, C]: of g * hat, of g
    const pull = add(mul(perRow(sums, 0, x, 2), hat), perRow(sums, 1, x, 2));
    const dx = mul(mul(perChannel(affine, 0, x), rstd), sub(g, div(pull, height * width)));
    return [dx, batch === 1 ? reshape(sums, [2, channels]) : sum(permute(sums, [0, 2, 1]), 1)];
  },
  lower: {
    kind: "graph",
    expand([x, affine], attrs) {
      const { hat } = standardised(x, attrs.epsilon as number);
      return add(mul(hat, perChannel(affine, 0, x)), perChannel(affine, 1, x));
    },
  },
};

const perChannel = (affine: Value, k: number, x: Value) =>
  expand(reshape(slice(affine, 0, k, 1), [1, x.type.shape[1], 1, 1]), x.type.shape);

function standardised(x: Value, epsilon: number): { hat: Value; rstd: Value } {
  const statistics = moments(x, 2, epsilon); // [2, B, C]
  const rstd = perRow(statistics, 1, x, 2);
  return { hat: mul(sub(x, perRow(statistics, 0, x, 2)), rstd), rstd };
}

/** affine is [2, C]: weights, then biases. */
export function batchNorm(x: Value, affine: Value, epsilon: number): Value {
  return apply(batchNormOp, [x, affine], { epsilon });
}

export const rowOps: readonly Op[] = [
  momentsOp,
  pairSumsOp,
  softmaxOp,
  softmaxGradientOp,
  layerNormOp,
  layerNormGradientOp,
  batchNormOp,
];
