/**
 * Numbers of patches as pictures: enlarged to the photograph they belong to, in colours that rise evenly, over the photograph or not, side by side or alone. It knows
 * nothing of what the numbers mean. Invariant: a patch's value stands where the photograph's pixels are that the patch was cut from.
 */
import type { Picture } from "../../images/picture.ts";

export interface Grid {
  readonly rows: number;
  readonly cols: number;
  /** Side of a patch, in pixels of what the extractor saw. */
  readonly patch: number;
  /** What it saw of the photograph, in pixels; what does not fill a patch belongs to none. */
  readonly seen: { readonly height: number; readonly width: number };
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Colours of patches, planar RGB [3, rows, cols], as a picture: bilinear between the centres of patches, the border's beyond. */
export function paintGrid(colours: ArrayLike<number>, grid: Grid, { width, height }: Size): Picture {
  const data = new Float32Array(3 * height * width);
  const columns = samples(width, grid.seen.width, grid.patch, grid.cols);
  const rows = samples(height, grid.seen.height, grid.patch, grid.rows);
  for (let c = 0; c < 3; c++) {
    const plane = c * grid.rows * grid.cols;
    for (let y = 0; y < height; y++) {
      const { before, after, part } = rows[y];
      for (let x = 0; x < width; x++) {
        const column = columns[x];
        const along = (row: number) => {
          const at = plane + row * grid.cols;
          return (1 - column.part) * colours[at + column.before] + column.part * colours[at + column.after];
        };
        data[(c * height + y) * width + x] = (1 - part) * along(before) + part * along(after);
      }
    }
  }
  return { width, height, data };
}

/** For each of `pixels` of a photograph's side the two patches it lies between, and how far it is from the first. */
function samples(
  pixels: number,
  seen: number,
  patch: number,
  patches: number,
): { before: number; after: number; part: number }[] {
  return Array.from({ length: pixels }, (_, i) => {
    const at = Math.min(Math.max((i + 0.5) * seen / pixels / patch - 0.5, 0), patches - 1);
    const before = Math.floor(at);
    return { before, after: Math.min(before + 1, patches - 1), part: at - before };
  });
}

/** The patch under a pixel of the photograph; in what belongs to no patch, the nearest. */
export function patchAt(
  { x, y }: { readonly x: number; readonly y: number },
  grid: Grid,
  { width, height }: Size,
): { readonly row: number; readonly col: number } {
  const of = (at: number, pixels: number, seen: number, patches: number) =>
    Math.min(Math.floor((at + 0.5) * seen / pixels / grid.patch), patches - 1);
  return { row: of(y, height, grid.seen.height, grid.rows), col: of(x, width, grid.seen.width, grid.cols) };
}

/** Viridis (van der Walt and Smith, CC0) at nine points: from dark to light evenly, for the colour-blind too, and in grey as well. */
const SCALE = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"].map((hex) =>
  [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
);

/** Numbers that differ by less than this part of themselves are the same number, but for rounding. */
const ROUNDING = 1e-5;

/**
 * Numbers as colours, planar RGB [3, n]: dark for `least`, light for `most`, which are the numbers' own unless given. Where all are the same they are `most`, if that is
 * given, and else `least`.
 */
export function heatColours(
  values: ArrayLike<number>,
  { least, most }: { readonly least?: number; readonly most?: number } = {},
): Float32Array {
  let [low, high] = [least ?? Infinity, most ?? -Infinity];
  for (let i = 0; i < values.length; i++) {
    if (least === undefined) low = Math.min(low, values[i]);
    if (most === undefined) high = Math.max(high, values[i]);
  }
  const differ = high - low > ROUNDING * Math.max(Math.abs(high), Math.abs(low));
  const same = most === undefined ? 0 : 1;
  const out = new Float32Array(3 * values.length);
  for (let i = 0; i < values.length; i++) {
    const share = differ ? Math.min(Math.max((values[i] - low) / (high - low), 0), 1) : same;
    const at = share * (SCALE.length - 1);
    const before = Math.min(Math.floor(at), SCALE.length - 2);
    for (let c = 0; c < 3; c++) {
      out[c * values.length + i] = SCALE[before][c] + (at - before) * (SCALE[before + 1][c] - SCALE[before][c]);
    }
  }
  return out;
}

/** Half the heat map, half the photograph in grey. */
export function overPhotograph(heat: Picture, photograph: Picture): Picture {
  const { data } = photograph;
  const plane = photograph.width * photograph.height;
  const mixed = heat.data.map((value, i) => {
    const at = i % plane;
    const grey = 0.2126 * data[at] + 0.7152 * data[plane + at] + 0.0722 * data[2 * plane + at];
    return 0.5 * value + 0.5 * grey;
  });
  return { width: heat.width, height: heat.height, data: mixed };
}

/** Width of the frame around the chosen patch, as part of the photograph's shorter side; a pixel at least. */
const FRAME = 1 / 200;

/** The picture with a white frame around one patch. */
export function framed(picture: Picture, { row, col }: { row: number; col: number }, grid: Grid): Picture {
  const { width, height } = picture;
  const line = Math.max(1, Math.round(Math.min(width, height) * FRAME));
  const data = picture.data.slice();
  const edges = (at: number, pixels: number, seen: number) =>
    [at, at + 1].map((k) => Math.round(k * grid.patch * pixels / seen));
  const [top, bottom] = edges(row, height, grid.seen.height);
  const [left, right] = edges(col, width, grid.seen.width);
  for (let y = Math.max(top - line, 0); y < Math.min(bottom + line, height); y++) {
    for (let x = Math.max(left - line, 0); x < Math.min(right + line, width); x++) {
      if (y >= top && y < bottom && x >= left && x < right) continue;
      for (let c = 0; c < 3; c++) data[(c * height + y) * width + x] = 1;
    }
  }
  return { width, height, data };
}

/** Pixels of white between pictures that stand side by side. */
const GAP = 8;

/** Pictures of one size in even rows, on white, so that the whole is about square. */
export function sideBySide(pictures: readonly Picture[]): Picture {
  const [{ width, height }] = pictures;
  const down = Math.ceil(pictures.length / Math.ceil(Math.sqrt(pictures.length * height / width)));
  const across = Math.ceil(pictures.length / down);
  const whole = { width: across * (width + GAP) - GAP, height: down * (height + GAP) - GAP };
  const data = new Float32Array(3 * whole.width * whole.height).fill(1);
  for (const [i, picture] of pictures.entries()) {
    const [left, top] = [i % across * (width + GAP), Math.floor(i / across) * (height + GAP)];
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < height; y++) {
        const row = picture.data.subarray((c * height + y) * width, (c * height + y + 1) * width);
        data.set(row, (c * whole.height + top + y) * whole.width + left);
      }
    }
  }
  return { ...whole, data };
}
