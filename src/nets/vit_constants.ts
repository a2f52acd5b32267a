/** Tables that programs of the extractor read besides its weights: they follow from its sizes, and are computed on the host when they are asked for by a state's name. */
import { antialiasTaps } from "./positions.ts";
import { rotaryTables } from "./rotary.ts";
import type { VitShape } from "./vit_weights.ts";

/** The table of the state `vit.{name}`, null where that is none. `periods` are those of the file's own rotary positions, where it has some. */
export function vitConstant(shape: VitShape, name: string, periods?: Float32Array): Float32Array | null {
  if (name === "normalisation") {
    const scale = shape.deviation.map((deviation) => 1 / deviation);
    return Float32Array.of(...scale, ...shape.mean.map((mean, c) => -mean * scale[c]));
  }
  const [, side] = /^antialias\.(\d+)$/.exec(name) ?? [];
  if (side !== undefined) return antialiasTaps(Number(side), shape.grid);
  const [, rows, cols, which] = /^rotary\.(\d+)x(\d+)\.(cos|sin)$/.exec(name) ?? [];
  if (which === undefined) return null;
  return rotaryTables(shape, { rows: Number(rows), cols: Number(cols) }, periods)[which as "cos" | "sin"];
}
