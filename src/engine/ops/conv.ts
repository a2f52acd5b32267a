/**
 * Convolution with kernel k in 1, 3, 5, 7, stride 1 or 2 and zero or reflection padding of (k - 1) / 2, and its two adjoints.
 *
 * x [B, I, H, W], weight [O, I, k, k] -> [B, O, ceil(H / stride), ceil(W / stride)]. The three ops are closed under
 * differentiation: each one's gradients are the other two.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Attrs, TensorType } from "../ir/type.ts";
import { EngineError, sameShape, sizeOf, typeText } from "../ir/type.ts";
import { convInputGradientKernel, convKernel } from "../wgsl/conv/conv.ts";
import { convWeightGradientKernel, partsOf } from "../wgsl/conv/conv_gradient.ts";
import { matmul } from "./matmul.ts";
import { embedOp, reshape, slice } from "./movement.ts";
import { foldReflection } from "./reflection.ts";
import { sumColumns } from "./broadcast.ts";

export type Padding = "zero" | "reflect";

const strideOf = (attrs: Attrs) => attrs.stride as number;
const paddingOf = (attrs: Attrs) => attrs.padding as Padding;
const outputSide = (side: number, stride: number) => Math.floor((side - 1) / stride) + 1;

/** Input position of tap `t` at output `i`: -1 where padding is zero. */
function tapPosition(i: number, t: number, k: number, side: number, attrs: Attrs): number {
  const at = i * strideOf(attrs) + t - (k - 1) / 2;
  if (at >= 0 && at < side) return at;
  return paddingOf(attrs) === "zero" ? -1 : at < 0 ? -at : 2 * (side - 1) - at;
}

/** Calls `visit` with flat indices for every product of the convolution: out[o] += x[i] * weight[w]. */
function eachProduct(
  x: TensorType,
  weight: TensorType,
  attrs: Attrs,
  visit: (out: number, x: number, weight: number) => void,
): void {
  const [batch, channels, height, width] = x.shape;
  const [outputs, , k] = weight.shape;
  const [rows, columns] = [outputSide(height, strideOf(attrs)), outputSide(width, strideOf(attrs))];
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < rows; i++) {
      for (let ky = 0; ky < k; ky++) {
        const y = tapPosition(i, ky, k, height, attrs);
        if (y < 0) continue;
        for (let j = 0; j < columns; j++) {
          for (let kx = 0; kx < k; kx++) {
            const z = tapPosition(j, kx, k, width, attrs);
            if (z < 0) continue;
            for (let o = 0; o < outputs; o++) {
              for (let c = 0; c < channels; c++) {
                visit(
                  ((b * outputs + o) * rows + i) * columns + j,
                  ((b * channels + c) * height + y) * width + z,
                  ((o * channels + c) * k + ky) * k + kx,
                );
              }
            }
          }
        }
      }
    }
  }
}

function checkConv(x: TensorType, weight: TensorType, attrs: Attrs): void {
  const fail = (why: string) => new EngineError(`Cannot conv2d ${typeText(x)} with ${typeText(weight)}: ${why}`);
  if (x.shape.length !== 4 || weight.shape.length !== 4) throw fail("needs [B,C,H,W] and [O,C,k,k]");
  const k = weight.shape[2];
  if (x.shape[1] !== weight.shape[1]) throw fail(`input has ${x.shape[1]} channels, weight expects ${weight.shape[1]}`);
  if (![1, 3, 5, 7].includes(k) || weight.shape[3] !== k) throw fail(`kernels are square, of side 1, 3, 5 or 7`);
  if (strideOf(attrs) !== 1 && strideOf(attrs) !== 2) throw fail(`stride is ${strideOf(attrs)}; it can be 1 or 2`);
  if (paddingOf(attrs) === "reflect" && Math.min(x.shape[2], x.shape[3]) <= (k - 1) / 2) {
    throw fail(`reflection by ${(k - 1) / 2} needs sides larger than that`);
  }
}

function outputType(x: TensorType, weight: TensorType, attrs: Attrs): TensorType {
  const [batch, , height, width] = x.shape;
  return {
    dtype: "f32",
    shape: [batch, weight.shape[0], outputSide(height, strideOf(attrs)), outputSide(width, strideOf(attrs))],
  };
}

/** Convolving x with the weight must give what has the gradient's shape. */
function checkGradient(x: TensorType, weight: TensorType, gradient: TensorType, attrs: Attrs): void {
  checkConv(x, weight, attrs);
  const { shape } = outputType(x, weight, attrs);
  if (!sameShape(shape, gradient.shape)) {
    throw new EngineError(
      `Cannot take the gradient of conv2d ${typeText(x)} with ${typeText(weight)} from ${typeText(gradient)}: ` +
        `the result was f32[${shape}]`,
    );
  }
}

const structure = (attrs: Attrs) => ({ stride: strideOf(attrs), padding: paddingOf(attrs) });

const convOp: Op = {
  name: "conv2d",
  infer([x, weight], attrs) {
    checkConv(x, weight, attrs);
    return outputType(x, weight, attrs);
  },
  meaning([x, weight], [tx, tw], attrs) {
    const out = new Float64Array(sizeOf(outputType(tx, tw, attrs).shape));
    eachProduct(tx, tw, attrs, (o, i, w) => out[o] += x[i] * weight[w]);
    return out;
  },
  pullback: (
    { g, inputs: [x, weight], attrs },
  ) => [inputGradient(g, weight, x.type, attrs), weightGradient(x, g, weight.type, attrs)],
  lower: {
    kind: "kernel",
    epilogue: true,
    prologue: false,
    contiguous: true,
    build: ({ inputs: [x, weight], output, attrs, epilogue, profile }: KernelRequest) =>
      convKernel({ x: x.layout, weight: weight.layout, out: output.layout, ...structure(attrs), epilogue, profile }),
  },
};

const withShape = (attrs: Attrs): TensorType => ({ dtype: "f32", shape: attrs.shape as readonly number[] });

/** (gradient, weight) -> gradient of x, of shape `attrs.shape`. By reflection of 3 x 3 taps at most. */
const inputGradientOp: Op = {
  name: "conv2d_input_gradient",
  infer([gradient, weight], attrs) {
    checkGradient(withShape(attrs), weight, gradient, attrs);
    if (isWide(weight, attrs)) throw new Error("Bug: reflections of a wide kernel are folded in the graph");
    return withShape(attrs);
  },
  meaning([g, weight], [, tw], attrs) {
    const out = new Float64Array(sizeOf(withShape(attrs).shape));
    eachProduct(withShape(attrs), tw, attrs, (o, i, w) => out[i] += g[o] * weight[w]);
    return out;
  },
  pullback: (
    { g, inputs: [gradient, weight], attrs },
  ) => [apply(convOp, [g, weight], structure(attrs)), weightGradient(g, gradient, weight.type, structure(attrs))],
  lower: {
    kind: "kernel",
    epilogue: true,
    prologue: false,
    contiguous: true,
    build: ({ inputs: [gradient, weight], output, attrs, epilogue, profile }: KernelRequest) =>
      convInputGradientKernel({
        gradient: gradient.layout,
        weight: weight.layout,
        out: output.layout,
        ...structure(attrs),
        epilogue,
        profile,
      }),
  },
};

/** (x, gradient) -> `splits` partial gradients of the weight, [splits, O, I, k, k]. */
const weightPartsOp: Op = {
  name: "conv2d_weight_parts",
  infer([x, gradient], attrs) {
    checkGradient(x, withShape(attrs), gradient, attrs);
    return { dtype: "f32", shape: [attrs.splits as number, ...withShape(attrs).shape] };
  },
  meaning([x, g], [tx], attrs) {
    const weight = withShape(attrs);
    // Which rows make a part is the kernel's choice; their sum is what is defined. All of it stands in the first part.
    const out = new Float64Array((attrs.splits as number) * sizeOf(weight.shape));
    eachProduct(tx, weight, attrs, (o, i, w) => out[w] += x[i] * g[o]);
    return out;
  },
  pullback() {
    throw new Error("Bug: split gradients are differentiated as their sum");
  },
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    contiguous: true,
    build: ({ inputs: [x, gradient], output, attrs, profile }: KernelRequest) =>
      convWeightGradientKernel({
        x: x.layout,
        gradient: gradient.layout,
        out: output.layout,
        splits: attrs.splits as number,
        ...structure(attrs),
        profile,
      }),
  },
};

/** (x, gradient) -> gradient of the weight, of shape `attrs.shape`. */
const weightGradientOp: Op = {
  name: "conv2d_weight_gradient",
  infer([x, gradient], attrs) {
    checkGradient(x, withShape(attrs), gradient, attrs);
    return withShape(attrs);
  },
  meaning: (inputs, types, attrs) => weightPartsOp.meaning(inputs, types, { ...attrs, splits: 1 }),
  pullback: (
    { g, inputs: [x, gradient], attrs },
  ) => [inputGradient(gradient, g, x.type, structure(attrs)), apply(convOp, [x, g], structure(attrs))],
  lower: {
    kind: "graph",
    expand([x, gradient], attrs, profile) {
      const shape = withShape(attrs).shape;
      const splits = partsOf({ gradient: gradient.type.shape, weight: shape, profile });
      const parts = apply(weightPartsOp, [x, gradient], { ...structure(attrs), shape, splits });
      return reshape(splits === 1 ? parts : sumColumns(reshape(parts, [splits, sizeOf(shape)])), shape);
    },
  },
};

/** Whether a tap can have several mirror images of a row under it, which no kernel looks after. */
function isWide(weight: TensorType, attrs: Attrs): boolean {
  return paddingOf(attrs) === "reflect" && weight.shape[2] > 3;
}

function inputGradient(g: Value, weight: Value, x: TensorType, attrs: Attrs): Value {
  if (isWide(weight.type, attrs)) return reflectedInputGradient(g, weight, x, strideOf(attrs));
  return apply(inputGradientOp, [g, weight], { ...structure(attrs), shape: x.shape });
}

/**
 * The same by way of the padded image: its gradient is that of a zero-padded convolution, and what lies in the padding is added to what was
 * reflected there. Windows of that convolution begin `p` before multiples of the stride, those of this one at them: hence the rows `before`.
 */
function reflectedInputGradient(g: Value, weight: Value, x: TensorType, stride: number): Value {
  const p = (weight.type.shape[2] - 1) / 2;
  const first = Math.ceil(p / stride);
  const before = first * stride - p;
  const [height, width] = [x.shape[2] + 2 * p, x.shape[3] + 2 * p];
  const shape = [...x.shape.slice(0, 2), before + height, before + width];
  const among = [...g.type.shape.slice(0, 2), outputSide(shape[2], stride), outputSide(shape[3], stride)];
  const padded = apply(embedOp, [g], { shape: among, start: [0, 0, first, first], step: [1, 1, 1, 1] });
  const whole = apply(inputGradientOp, [padded, weight], { stride, padding: "zero", shape });
  return foldReflection(slice(slice(whole, 2, before, height), 3, before, width), p);
}

function weightGradient(x: Value, g: Value, weight: TensorType, attrs: Attrs): Value {
  return apply(weightGradientOp, [x, g], { ...structure(attrs), shape: weight.shape });
}

/** x [B, I, H, W] with weight [O, I, k, k]. A 1 x 1 convolution of one image is a matrix product, and becomes one. */
export function conv2d(x: Value, weight: Value, options: { stride?: 1 | 2; padding?: Padding } = {}): Value {
  const attrs = { stride: options.stride ?? 1, padding: options.padding ?? "zero" };
  const [outputs, channels, k] = weight.type.shape;
  if (k === 1 && attrs.stride === 1 && x.type.shape[0] === 1 && x.type.shape[1] === channels) {
    const [, , height, width] = x.type.shape;
    const flat = matmul(reshape(weight, [outputs, channels]), reshape(x, [channels, height * width]));
    return reshape(flat, [1, outputs, height, width]);
  }
  return apply(convOp, [x, weight], attrs);
}

export const convOps: readonly Op[] = [convOp, inputGradientOp, weightPartsOp, weightGradientOp];
