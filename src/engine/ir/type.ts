/**
 * Tensor types and layouts: what a value is, and where its elements lie.
 *
 * A type is a dtype and a shape; a layout maps a multi-index to an element of a buffer by offset + sum(index * stride).
 * Nothing here knows a graph or a GPU. Invariant: every function returns a new object and never changes its arguments.
 */

export type DType = "f32" | "f16" | "u32";
export type Shape = readonly number[];
export type TensorType = { readonly dtype: DType; readonly shape: Shape };

/** What an op is told besides its inputs: plain JSON, so that printing, hashing and golden files need no help. */
export type Attrs = Readonly<Record<string, number | boolean | string | readonly number[]>>;

/** Where the elements of a tensor lie in a buffer, in elements. A stride may be 0 (broadcast) or negative (flip). */
export type Layout = { readonly offset: number; readonly shape: Shape; readonly strides: readonly number[] };

/** What a user of the engine did wrong, or what the device cannot do. The engine's own mistakes are plain `Error`s that begin with `Bug:`. */
export class EngineError extends Error {
  override readonly name = "EngineError";
  /** For programs: "memory" where a smaller size would do, "lost" where only another device or process can go on. */
  readonly kind: "wrong" | "memory" | "lost";

  constructor(message: string, { kind = "wrong", ...options }: ErrorOptions & { kind?: EngineError["kind"] } = {}) {
    super(message, options);
    this.kind = kind;
  }
}

export function f32(...shape: number[]): TensorType {
  return { dtype: "f32", shape };
}

/** Number of elements; 1 for a scalar. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, side) => product * side, 1);
}

export function byteSize(type: TensorType): number {
  return sizeOf(type.shape) * (type.dtype === "f16" ? 2 : 4);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((side, axis) => side === b[axis]);
}

/** `f32[1,3,64,64]` */
export function typeText(type: TensorType): string {
  return `${type.dtype}[${type.shape.join(",")}]`;
}

/** Row-major strides, in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

export function contiguous(shape: Shape, offset = 0): Layout {
  return { offset, shape, strides: contiguousStrides(shape) };
}

export function isContiguous(layout: Layout): boolean {
  const strides = contiguousStrides(layout.shape);
  return layout.shape.every((side, axis) => side === 1 || layout.strides[axis] === strides[axis]);
}

/** The shape both operands broadcast to by NumPy's rule, or an error that names both. */
export function broadcastShapes(a: Shape, b: Shape, action: string): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1) {
      throw new EngineError(
        `Cannot ${action} [${a}] with [${b}]: axis ${axis - rank} has ${left} on the left and ${right} on the right; ` +
          `sides must be equal, or one of them 1`,
      );
    }
    return left === 1 ? right : left;
  });
}

/**
 * The same elements in another shape without moving them, or null where a stride cannot express it.
 * Adjacent axes are merged while they are contiguous to each other, then split again as the new shape asks.
 */
export function reshapeLayout(layout: Layout, shape: Shape): Layout | null {
  const axes = layout.shape.map((side, axis) => ({ side, stride: layout.strides[axis] })).filter(({ side }) =>
    side !== 1
  );
  const merged: { side: number; stride: number }[] = [];
  for (const axis of axes) {
    const last = merged.at(-1);
    if (last && last.stride === axis.stride * axis.side) {
      merged[merged.length - 1] = { side: last.side * axis.side, stride: axis.stride };
    } else merged.push(axis);
  }
  const strides = new Array<number>(shape.length).fill(0);
  let group = merged.length - 1;
  let used = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] === 1) continue;
    if (group >= 0 && used === merged[group].side) {
      group--;
      used = 1;
    }
    if (group < 0 || merged[group].side % (used * shape[axis]) !== 0) return null;
    strides[axis] = merged[group].stride * used;
    used *= shape[axis];
  }
  return { offset: layout.offset, shape, strides };
}

/**
 * Layouts over one index space, with axes of side 1 dropped and neighbouring axes merged wherever every layout allows it.
 * This is what turns most elementwise work on `[1, C, H, W]` into two plain loops.
 */
export function collapse(
  shape: Shape,
  strides: readonly (readonly number[])[],
): { shape: number[]; strides: number[][] } {
  const sides: number[] = [];
  const out: number[][] = strides.map(() => []);
  for (let axis = 0; axis < shape.length; axis++) {
    if (shape[axis] === 1) continue;
    const last = sides.length - 1;
    const joins = last >= 0 && strides.every((s, i) => out[i][last] === s[axis] * shape[axis]);
    if (joins) {
      sides[last] *= shape[axis];
      strides.forEach((s, i) => out[i][last] = s[axis]);
    } else {
      sides.push(shape[axis]);
      strides.forEach((s, i) => out[i].push(s[axis]));
    }
  }
  return { shape: sides, strides: out };
}
