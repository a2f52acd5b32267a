/**
 * The contact sheet as one picture, like the paper's figures: a row for each pair, a column for each setting, names above and numbers below. It only draws: where a
 * cell has failed or is not there yet, that is said in its place. Pictures may be of any size; thumbnails of them give as good a sheet, and take less memory until then.
 */
import { type Canvas, type Colour, fill, openCanvas, paste } from "../../images/canvas.ts";
import { drawText, wrapText } from "../../images/lettering.ts";
import { type Picture, scalePicture } from "../../images/picture.ts";
import { distanceText, type Evaluation } from "./evaluation.ts";

export type SheetCell =
  | { readonly kind: "done"; readonly picture: Picture; readonly numbers: Evaluation }
  | { readonly kind: "failed"; readonly error: string }
  | { readonly kind: "waiting" };

export interface SheetRow {
  readonly name: string;
  /** Null where it cannot be read. */
  readonly structure: Picture | null;
  readonly appearance: Picture | null;
  /** One for each setting. */
  readonly cells: readonly SheetCell[];
}

export interface SheetContent {
  readonly title: string | null;
  readonly settings: readonly string[];
  readonly rows: readonly SheetRow[];
  /** Below each setting's column; null where there are none. */
  readonly summaries: readonly (Record<"mean" | "deviation", Evaluation> | null)[];
  /** Small print below everything. */
  readonly notes: readonly string[];
}

const WHITE: Colour = [1, 1, 1];
const INK: Colour = [0.11, 0.12, 0.14];
const GREY: Colour = [0.4, 0.42, 0.46];
const PALE: Colour = [0.955, 0.958, 0.964];
const RED: Colour = [0.68, 0.12, 0.1];

/** In pixels. A tile is at most as high as TALL times its width. */
const TILE = 300;
const TALL = 1.25;
const GAP = 14;
const MARGIN = 36;
const BETWEEN_ROWS = 24;
/** Between the photographs and what was made of them. */
const APART = 34;
const TITLE = { size: 28, weight: "semibold" } as const;
const HEADING = { size: 18, weight: "semibold", line: 23 } as const;
const SMALL = { size: 14, line: 19 } as const;
/** Below a tile, and below a column. */
const CAPTIONS = 2 * SMALL.line + 10;
const SUMMARY = 3 * SMALL.line + 34;

/** A picture as small as a sheet shows it at most; what is smaller comes back as it is. */
export function thumbnail(picture: Picture): Picture {
  const scale = Math.min(TILE / picture.width, TALL * TILE / picture.height);
  if (scale >= 1) return picture;
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  return scalePicture(picture, { width, height });
}

/** In pixels, with means below the columns where there may be any: as large as the sheet gets. */
export function sheetSize(content: Omit<SheetContent, "summaries">): { width: number; height: number } {
  const { width, height } = layoutOf(content, content.rows.length > 1);
  return { width, height };
}

function layoutOf({ title, settings, rows, notes }: Omit<SheetContent, "summaries">, summarised: boolean) {
  const columns = ["structure", "appearance", ...settings].map((name, i) => ({
    lines: wrapText(name, { ...HEADING, width: TILE }),
    x: MARGIN + i * (TILE + GAP) + (i >= 2 ? APART - GAP : 0),
  }));
  const width = columns.at(-1)!.x + TILE + MARGIN;
  const small = notes.flatMap((note) => wrapText(note, { ...SMALL, width: width - 2 * MARGIN }));
  const headings = Math.max(...columns.map(({ lines }) => lines.length)) * HEADING.line;
  const heights = rows.map(heightOf);
  const first = MARGIN + (title === null ? 0 : TITLE.size + 26) + headings + 8;
  const tiles = heights.reduce((sum, height) => sum + height + CAPTIONS + BETWEEN_ROWS, 0);
  const below = (summarised ? SUMMARY : 0) + small.length * SMALL.line;
  return { columns, small, heights, first, width, height: first + tiles + below + MARGIN - 8 };
}

export function drawSheet(content: SheetContent): Picture {
  const { title, rows, summaries } = content;
  const summarised = summaries.some((summary) => summary !== null);
  const { columns, small, heights, first, width, height } = layoutOf(content, summarised);
  const canvas = openCanvas({ width, height }, WHITE);

  if (title !== null) drawText(canvas, title, { ...TITLE, x: MARGIN, y: MARGIN + TITLE.size - 4, colour: INK });
  for (const { lines, x } of columns) {
    for (const [i, line] of lines.entries()) {
      const y = first - 14 - (lines.length - 1 - i) * HEADING.line;
      drawText(canvas, line, { ...HEADING, x, y, colour: INK });
    }
  }
  let y = first;
  for (const [i, row] of rows.entries()) {
    drawRow(canvas, row, { y, height: heights[i], columns });
    y += heights[i] + CAPTIONS + BETWEEN_ROWS;
  }
  if (summarised) {
    fill(canvas, { box: { x: MARGIN, y: y - 6, width: width - 2 * MARGIN, height: 1 }, colour: [0.8, 0.81, 0.83] });
    drawLines(canvas, [`mean of ${rows.length} pairs`], { x: MARGIN, y: y + 8, colour: INK, weight: "semibold" });
    for (const [i, summary] of summaries.entries()) {
      if (summary) drawLines(canvas, summaryLines(summary), { x: columns[2 + i].x, y: y + 8, colour: INK });
    }
    y += SUMMARY;
  }
  drawLines(canvas, small, { x: MARGIN, y, colour: GREY });
  return canvas;
}

function drawRow(
  canvas: Canvas,
  row: SheetRow,
  { y, height, columns }: { y: number; height: number; columns: readonly { x: number }[] },
): void {
  const below = y + height + 8;
  const photographs = [row.structure, row.appearance];
  for (const [i, picture] of photographs.entries()) {
    const { x } = columns[i];
    if (picture) drawPicture(canvas, picture, { x, y, height });
    else drawMessage(canvas, "cannot be read", { x, y, height, colour: RED });
  }
  drawLines(canvas, wrapText(row.name, { ...SMALL, weight: "semibold", width: 2 * TILE }).slice(0, 2), {
    x: columns[0].x,
    y: below,
    colour: INK,
    weight: "semibold",
  });
  for (const [i, cell] of row.cells.entries()) {
    const { x } = columns[2 + i];
    switch (cell.kind) {
      case "done":
        drawPicture(canvas, cell.picture, { x, y, height });
        drawLines(canvas, captionLines(cell.numbers), { x, y: below, colour: GREY });
        break;
      case "failed":
        drawMessage(canvas, `Failed. ${cell.error}`, { x, y, height, colour: RED });
        break;
      case "waiting":
        drawMessage(canvas, "not there yet", { x, y, height, colour: GREY });
        break;
      default:
        cell satisfies never;
    }
  }
}

/** As large as it can be in a tile, its upper left corner in the tile's. */
function drawPicture(canvas: Canvas, picture: Picture, { x, y, height }: { x: number; y: number; height: number }) {
  const scale = Math.min(TILE / picture.width, height / picture.height);
  const [width, tall] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const fits = width === picture.width && tall === picture.height;
  paste(canvas, fits ? picture : scalePicture(picture, { width, height: tall }), { x, y });
}

function drawMessage(
  canvas: Canvas,
  text: string,
  { x, y, height, colour }: { x: number; y: number; height: number; colour: Colour },
): void {
  fill(canvas, { box: { x, y, width: TILE, height }, colour: PALE });
  const room = Math.floor((height - 24) / SMALL.line);
  const lines = wrapText(text, { ...SMALL, width: TILE - 32 });
  const shown = lines.length > room ? [...lines.slice(0, room - 1), "…"] : lines;
  drawLines(canvas, shown, { x: x + 16, y: y + 12, colour });
}

function drawLines(
  canvas: Canvas,
  lines: readonly string[],
  { x, y, colour, weight = "regular" }: { x: number; y: number; colour: Colour; weight?: "regular" | "semibold" },
): void {
  for (const [i, line] of lines.entries()) {
    drawText(canvas, line, { size: SMALL.size, weight, x, y: y + SMALL.size + i * SMALL.line, colour });
  }
}

/** A row is as high as its highest picture of the structure's proportions, and no higher than TALL allows. */
function heightOf({ structure, appearance }: SheetRow): number {
  const picture = structure ?? appearance;
  return Math.round(picture ? Math.min(TALL * TILE, TILE * picture.height / picture.width) : 0.75 * TILE);
}

const captionLines = (numbers: Evaluation) => [
  `structure ${distanceText(numbers.structure_distance)} · appearance ${distanceText(numbers.appearance_distance)}`,
  `layout ${numbers.layout_iou.toFixed(2)}`,
];

function summaryLines({ mean, deviation }: Record<"mean" | "deviation", Evaluation>): string[] {
  const distance = (name: "structure_distance" | "appearance_distance") =>
    `${distanceText(mean[name])} ± ${distanceText(deviation[name])}`;
  return [
    `structure ${distance("structure_distance")}`,
    `appearance ${distance("appearance_distance")}`,
    `layout ${mean.layout_iou.toFixed(2)} ± ${deviation.layout_iou.toFixed(2)}`,
  ];
}
