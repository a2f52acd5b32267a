/** One Adam step on a slab: g gradient, r = (rate / (1 - b1^t), 1 / (1 - b2^t)), weights and both moments updated in place. */
import type { Kernel } from "../ir/program.ts";
import { ceilDiv, foldGrid, kernel } from "./template.ts";

const LANES = 64;

export interface AdamShape {
  readonly length: number;
  readonly gradientOffset: number;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
}

export function adamKernel({ length, gradientOffset, betas: [b1, b2], epsilon }: AdamShape): Kernel {
  const literal = (value: number) => `${value.toExponential()}f`;
  return kernel({
    name: "adam",
    bindings: [
      { name: "gradient", access: "read" },
      { name: "rates", access: "read" },
      { name: "weights", access: "read_write" },
      { name: "first", access: "read_write" },
      { name: "second", access: "read_write" },
    ],
    params: { length, gradient_offset: gradientOffset },
    workgroup: [LANES, 1, 1],
    grid: foldGrid(ceilDiv(length, LANES)),
    body: `  let i = (group.x + group.y * groups.x) * ${LANES} + local.x;
  if (i >= p.length) { return; }
  let g = gradient[p.gradient_offset + i];
  let m = ${literal(b1)} * first[i] + ${literal(1 - b1)} * g;
  let v = ${literal(b2)} * second[i] + ${literal(1 - b2)} * g * g;
  first[i] = m;
  second[i] = v;
  weights[i] = weights[i] - rates[0] * m / (sqrt(v * rates[1]) + ${literal(epsilon)});`,
    cost: { flops: 12 * length, bytes: 28 * length },
  });
}
