/**
 * A run of words at any address, read by aligned vec4 loads: software adapters charge a load of four words little more than
 * a load of one. The binding is an array<vec4f>, so its buffer must be a multiple of 16 bytes long, or the last words of it
 * would be out of reach. Vectors outside the binding read as some other one: mask what may lie there.
 */
import { each, range } from "./unroll.ts";

/** The vectors that cover `length` words from any address. */
export function vectorsFor(length: number): number {
  return Math.ceil((length + 3) / 4);
}

/** Statements that leave `raw{name}_0 .. raw{name}_{length - 1}`: the words of `array` from `at` (an i32 expression) on. */
export function windowLoads(array: string, name: string, at: string, length: number): string {
  return `
  let at${name} = ${at};
  ${each(range(vectorsFor(length)), (i) => `let load${name}_${i} = ${array}[(at${name} >> 2u) + ${i}];`)}
  ${windowShift(name, length)}`;
}

/**
 * The second half: from `at{name}` and the vectors `load{name}_0` ... The vectors are shifted into place by one, then by two
 * words, so the address need not be a multiple of four, nor the same in all lanes.
 */
export function windowShift(name: string, length: number): string {
  const word = (i: number) => `load${name}_${i >> 2}.${"xyzw"[i & 3]}`;
  return `
  let odd${name} = (at${name} & 1) != 0;
  let high${name} = (at${name} & 2) != 0;
  ${each(range(length + 2), (i) => `let even${name}_${i} = select(${word(i)}, ${word(i + 1)}, odd${name});`)}
  ${each(range(length), (i) => `let raw${name}_${i} = select(even${name}_${i}, even${name}_${i + 2}, high${name});`)}`;
}
