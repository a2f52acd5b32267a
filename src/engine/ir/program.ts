/**
 * The program: how a graph is computed. A flat script of dispatches over buffers, in which no shape and no decision is left.
 *
 * Sizes reach kernels as a uniform block of i32 words and not as text, so that one WGSL text, and with it one pipeline,
 * serves every image size. Invariant: a kernel's header, its layout and its bind group all derive from `access`.
 */
import type { Attrs, Layout, TensorType } from "./type.ts";

export type BufferId = number & { readonly brand: "BufferId" };
export type Access = "read" | "write" | "read_write";

export interface Kernel {
  readonly name: string;
  readonly wgsl: string;
  /** One per storage binding, in order; the uniform block of `params` is the binding after the last. */
  readonly access: readonly Access[];
  readonly params: readonly number[];
  readonly grid: readonly [number, number, number];
  readonly cost: { readonly flops: number; readonly bytes: number };
}

/**
 * One operand of a kernel: a type, and where its elements lie in the buffer bound for it. Operands of a chain that lie in one
 * buffer share a binding: `source` numbers the distinct buffers of their list, in order of first appearance.
 */
export type Operand = { readonly type: TensorType; readonly layout: Layout; readonly source?: number };

/** WGSL of a scalar chain: statements (each ends in a semicolon) and the expression of the result; names begin with `prefix`. */
export type Render = (args: readonly string[], prefix: string) => { statements: string; result: string };

/** A scalar chain that runs on a kernel's result before it is stored. */
export interface Chain {
  /** Extra operands, with layouts of the output's shape. */
  readonly operands: readonly Operand[];
  /** Its first argument is the kernel's result, the rest are loads of the operands at the output's index. */
  readonly render: Render;
}

export interface KernelRequest {
  /** The operands to bind. Without a prologue they are the op's own inputs, in order. */
  readonly inputs: readonly Operand[];
  readonly output: Operand;
  readonly attrs: Attrs;
  /** Per input of the op, what it is in terms of loads of all `inputs`, which then are all of that input's shape. */
  readonly prologue: readonly Render[] | null;
  readonly epilogue: Chain | null;
  readonly profile: Profile;
}

/**
 * What of the adapter decides how kernels are written. Chosen by probing, never by name.
 * subgroup8: a software adapter with subgroups of exactly 8 lanes, where loads cost and broadcasts are free;
 * portable: software without them; workgroup: GPUs, where workgroup memory and register tiles pay.
 */
export interface Profile {
  readonly name: "subgroup8" | "portable" | "workgroup";
  readonly maxStorageBuffers: number;
  readonly maxWorkgroupBytes: number;
  readonly maxInvocations: number;
  /** The most bytes one binding holds: what is larger is computed in parts. */
  readonly maxBindingBytes: number;
}

export type Slice = { readonly buffer: BufferId; readonly offset: number; readonly bytes: number };

/** A dispatch: a kernel, the buffers bound to it in the order of its `access`, and the scope it comes from. */
export interface Step {
  readonly kernel: Kernel;
  readonly args: readonly BufferId[];
  readonly origin: string;
}

/** `io`: fed or read by the host. `state`: named, shared by programs. `scratch`: reused within a step and by other programs. */
export type BufferRole = { readonly kind: "io" } | { readonly kind: "state"; readonly name: string } | {
  readonly kind: "scratch";
};

export interface Program {
  readonly name: string;
  readonly steps: readonly Step[];
  readonly buffers: ReadonlyMap<BufferId, { readonly bytes: number; readonly role: BufferRole }>;
  readonly inputs: ReadonlyMap<string, Slice>;
  readonly outputs: ReadonlyMap<string, Slice>;
}
