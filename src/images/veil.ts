/** A mask over a picture, for looking at: what is in front as it is, what is behind dark and grey, what was not seen white. */
import type { Picture } from "./picture.ts";

export interface VeilOptions {
  readonly rows: number;
  readonly cols: number;
  /** [rows * cols]: 1 in front, 0 behind. */
  readonly mask: Uint8Array;
  /** The share of height and width that the grid covers, from the upper left corner. */
  readonly covered: { readonly height: number; readonly width: number };
}

const DARK = 0.25;
const PALE = 0.7;

export function veil({ width, height, data }: Picture, { rows, cols, mask, covered }: VeilOptions): Picture {
  const out = data.slice();
  const plane = width * height;
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y + 0.5) / (height * covered.height) * rows);
    for (let x = 0; x < width; x++) {
      const col = Math.floor((x + 0.5) / (width * covered.width) * cols);
      const seen = row < rows && col < cols;
      if (seen && mask[row * cols + col]) continue;
      const at = y * width + x;
      const grey = (data[at] + data[plane + at] + data[2 * plane + at]) / 3;
      for (let c = 0; c < 3; c++) out[c * plane + at] = seen ? DARK * grey : PALE + (1 - PALE) * grey;
    }
  }
  return { width, height, data: out };
}
