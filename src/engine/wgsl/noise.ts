/**
 * Normal random numbers by their place: out[i] = sqrt(-2 ln u) cos(2 pi v), with u and v made of threefry(key, (i, 0)).
 *
 * The cosine is a polynomial: WGSL promises its own to three digits only, and lets every adapter have others.
 */
import type { Kernel } from "../ir/program.ts";
import { type Layout, sizeOf } from "../ir/type.ts";
import { address, ceilDiv, foldGrid, kernel } from "./template.ts";

const LANES = 64;

/** Rotations of the eight kinds of round, and the word that ends the key (Salmon et al. 2011). */
export const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;
export const PARITY = 0x1bd11bda;
export const ROUNDS = 20;

/** sin(2 pi s) / s on |s| <= 1/4 in powers of s^2, to 1e-7: the terms of the series. */
const SINE = [1, 3, 5, 7, 9, 11].map((n) => (n % 4 === 1 ? 1 : -1) * (2 * Math.PI) ** n / factorial(n));

function factorial(n: number): number {
  return n <= 1 ? 1 : n * factorial(n - 1);
}

/** key f32[4]: two words of 32 bits, each as its high and its low half. */
export function normalKernel({ key, out }: { key: Layout; out: Layout }): Kernel {
  const total = sizeOf(out.shape);
  const halves = [0, 1, 2, 3].map((i) => address("key", key, [String(i)]));
  const word = (i: number) =>
    `(half(key[${halves[2 * i].expression}]) << 16u) | half(key[${halves[2 * i + 1].expression}])`;
  const rounds = Array.from({ length: ROUNDS }, (_, round) => {
    const by = ROTATIONS[round % 8];
    const mixed = [`  x += y; y = ((y << ${by}u) | (y >> ${32 - by}u)) ^ x;`];
    const n = (round + 1) / 4;
    if (Number.isInteger(n)) mixed.push(`  x += k${n % 3}; y += k${(n + 1) % 3} + ${n}u;`);
    return mixed.join("\n");
  });
  const sine = SINE.reduceRight(
    (text, c) => text === "" ? c.toExponential() : `(${text} * ss + ${c.toExponential()})`,
    "",
  );
  return kernel({
    name: "normal",
    bindings: [{ name: "key", access: "read" }, { name: "out", access: "write" }],
    params: Object.assign({ total, out_offset: out.offset }, ...halves.map(({ params }) => params)),
    workgroup: [LANES, 1, 1],
    grid: foldGrid(ceilDiv(total, LANES)),
    prelude: "fn half(x: f32) -> u32 { return bitcast<u32>(i32(x)) & 0xffffu; }\n",
    body: `  let i = (group.x + group.y * groups.x) * ${LANES} + local.x;
  if (i >= p.total) { return; }
  let k0 = ${word(0)};
  let k1 = ${word(1)};
  let k2 = k0 ^ k1 ^ ${PARITY}u;
  var x = u32(i) + k0;
  var y = k1;
${rounds.join("\n")}
  let u = (f32(x >> 9u) + 0.5) * ${2 ** -23};
  let s = 0.25 - abs(f32(y >> 9u) * ${2 ** -23} - 0.5);
  let ss = s * s;
  out[p.out_offset + i] = -s * ${sine} * sqrt(max(-2.0 * log(u), 0.0));`,
    cost: { flops: 20 * total, bytes: 4 * total },
  });
}
