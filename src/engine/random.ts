/**
 * Reproducible random numbers: a stream is named by numbers (a seed, a purpose, a step), so nothing has to be saved to go on
 * from any step. xoshiro128** (Blackman and Vigna, 2018), its state filled by splitmix32 from the hashed name.
 */

export interface RandomStream {
  /** Uniform in [0, 1), 32 bits fine. */
  uniform(): number;
  /** Uniform whole number in [0, bound). */
  below(bound: number): number;
  /** Standard normal. */
  normal(): number;
}

export function randomStream(...name: readonly number[]): RandomStream {
  let mix = 0x9e3779b9;
  const splitmix = (): number => {
    mix = (mix + 0x9e3779b9) | 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  for (const part of name) mix = (Math.imul(mix ^ (part | 0), 0x85ebca6b) + splitmix()) | 0;
  const s = Uint32Array.from({ length: 4 }, splitmix);
  if (s.every((word) => word === 0)) s[0] = 1;

  function next(): number {
    const product = Math.imul(s[1], 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  const uniform = () => next() / 2 ** 32;
  let spare: number | null = null;
  return {
    uniform,
    below: (bound) => Math.floor(uniform() * bound),
    normal() {
      if (spare !== null) {
        const value = spare;
        spare = null;
        return value;
      }
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
  };
}
