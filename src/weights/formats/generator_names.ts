// The vocabulary of the generator: which tensors it consists of, under which names and in which shapes. No file format and no arithmetic here.
// Invariant: what passes `checkGenerator` has every tensor the generator asks for, in the right shape.

import { checkShapes } from "./fit.ts";
import { listNames, type StateDict, WeightsError } from "./tensor.ts";

/** The generator's level widths, and the channels of each skip (method, "Generator"). */
const LEVELS = [16, 32, 64, 128, 128] as const;
const SKIP = 4;

/** Every tensor of the generator, 1,037,523 parameters in all, in the order of a checkpoint. */
export function generatorShapes(): ReadonlyMap<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const conv = (name: string, from: number, to: number, side: number): void => {
    shapes.set(`${name}.conv.weight`, [to, from, side, side]).set(`${name}.conv.bias`, [to]);
  };
  const norm = (name: string, channels: number): void => {
    shapes.set(`${name}.bn.weight`, [channels]).set(`${name}.bn.bias`, [channels]);
  };
  const block = (name: string, from: number, to: number, side: number): void => {
    conv(name, from, to, side);
    norm(name, to);
  };
  LEVELS.forEach((width, i) => {
    const above = i === 0 ? 3 : LEVELS[i - 1];
    const joined = SKIP + (LEVELS[i + 1] ?? width);
    block(`skip.${i}`, above, SKIP, 1);
    block(`down.${i}.a`, above, width, 3);
    block(`down.${i}.b`, width, width, 3);
    norm(`up.${i}.cat`, joined);
    block(`up.${i}.a`, joined, width, 3);
    block(`up.${i}.b`, width, width, 1);
  });
  conv("out", LEVELS[0], 3, 1);
  return shapes;
}

/**
 * Passes if `tensors` are exactly the generator's.
 * @throws WeightsError naming `label` and the tensors that are missing, misshapen or unknown.
 */
export function checkGenerator(tensors: StateDict, label: string): void {
  const shapes = generatorShapes();
  if (![...shapes.keys()].some((name) => tensors.has(name))) {
    const found = tensors.size === 0 ? "no tensors" : listNames([...tensors.keys()]);
    throw new WeightsError(
      `Cannot use ${label}: it is not a generator, it holds ${found}. A file made with \`splice run --save-generator\` is needed.`,
    );
  }
  checkShapes(tensors, shapes, label);
}
