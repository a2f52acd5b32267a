// Whether named tensors are the ones a network asks for, and the refusal where they are not. It knows no network.

import { listNames, quote, shapeText, type StateDict, WeightsError } from "./tensor.ts";

/** What every tensor of a network is called, and its shape, in the order in which they are stored. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** Passes if `tensors` are exactly these. @throws WeightsError naming `label` and the tensors that are missing, misshapen or unknown. */
export function checkShapes(tensors: StateDict, shapes: Shapes, label: string): void {
  const missing = [...shapes.keys()].filter((name) => !tensors.has(name));
  if (missing.length > 0) throw unfit(label, `it lacks ${listNames(missing)}`);
  for (const [name, shape] of shapes) {
    const found = tensors.get(name)?.shape ?? [];
    if (shapeText(found) !== shapeText(shape)) {
      throw unfit(label, `${quote(name)} has the shape ${shapeText(found)}, and ${shapeText(shape)} is needed`);
    }
  }
  const unknown = [...tensors.keys()].filter((name) => !shapes.has(name));
  if (unknown.length > 0) throw unfit(label, `it also holds ${listNames(unknown)}, so it is of another architecture`);
}

export function unfit(label: string, problem: string): WeightsError {
  return new WeightsError(
    `Cannot use ${label}: ${problem}. Use a file made for this program, or a published one: \`splice models list\` names them.`,
  );
}
