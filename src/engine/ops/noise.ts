/**
 * Random numbers inside a graph: a tensor of normal ones, each a function of a key and of its place alone.
 *
 * Counter-based (Threefry-2x32 of 20 rounds; Salmon, Moraes, Dror and Shaw 2011), so nothing is kept between runs and the order of
 * computation does not matter: the same key gives the same tensor. A key is data; frozen, its tensor is made once.
 */
import type { Op, Value } from "../ir/graph.ts";
import { apply } from "../ir/graph.ts";
import type { KernelRequest } from "../ir/program.ts";
import type { Shape } from "../ir/type.ts";
import { EngineError, sameShape, sizeOf, typeText } from "../ir/type.ts";
import { normalKernel, PARITY, ROTATIONS, ROUNDS } from "../wgsl/noise.ts";
import { list } from "./movement.ts";

function threefry(k0: number, k1: number, x0: number, x1: number): [number, number] {
  const keys = [k0, k1, k0 ^ k1 ^ PARITY];
  let [x, y] = [(x0 + k0) | 0, (x1 + k1) | 0];
  for (let round = 0; round < ROUNDS; round++) {
    const by = ROTATIONS[round % 8];
    x = (x + y) | 0;
    y = ((y << by) | (y >>> (32 - by))) ^ x;
    const n = (round + 1) / 4;
    if (!Number.isInteger(n)) continue;
    x = (x + keys[n % 3]) | 0;
    y = (y + keys[(n + 1) % 3] + n) | 0;
  }
  return [x >>> 0, y >>> 0];
}

const normalOp: Op = {
  name: "normal",
  infer([key], attrs) {
    if (!sameShape(key.shape, [4])) {
      throw new EngineError(`Cannot draw noise with ${typeText(key)}: needs a key f32[4], see noiseKey`);
    }
    return { dtype: "f32", shape: list(attrs, "shape") };
  },
  meaning([key], _, attrs) {
    const [k0, k1] = [0, 2].map((i) => ((key[i] & 0xffff) << 16) | (key[i + 1] & 0xffff));
    return Float64Array.from({ length: sizeOf(list(attrs, "shape")) }, (_, i) => {
      const [x, y] = threefry(k0, k1, i, 0);
      const [u, v] = [((x >>> 9) + 0.5) / 2 ** 23, (y >>> 9) / 2 ** 23];
      return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
    });
  },
  pullback: () => [null],
  lower: {
    kind: "kernel",
    epilogue: false,
    prologue: false,
    build: ({ inputs: [key], output }: KernelRequest) => normalKernel({ key: key.layout, out: output.layout }),
  },
};

/** Standard normal numbers, all of them functions of the key f32[4]. */
export function normal(key: Value, shape: Shape): Value {
  return apply(normalOp, [key], { shape });
}

/** What to feed as a key: two words of 32 bits, in halves that f32 holds exactly. */
export function noiseKey(first: number, second: number): Float32Array {
  return Float32Array.of((first >>> 16) & 0xffff, first & 0xffff, (second >>> 16) & 0xffff, second & 0xffff);
}

export const noiseOps: readonly Op[] = [normalOp];
