/**
 * Text on pictures: one line at a time, from left to right, in two weights of the typeface Inter. Its outlines lie in letters.json (tools/make_letters.py, with the
 * typeface's licence); letters it lacks (it has those of Latin scripts) are shown as boxes. Edges are smooth by the exact share of each pixel that is covered.
 */
import { blend, type Canvas, type Colour } from "./canvas.ts";
import letters from "./letters.json" with { type: "json" };

export interface Lettering {
  /** Height of the type, in pixels: capitals are 0.73 of it. */
  readonly size: number;
  readonly weight?: "regular" | "semibold";
}

export interface PlacedText extends Lettering {
  /** Where the line begins, ends or has its middle, and its base line. */
  readonly x: number;
  readonly y: number;
  readonly align?: "left" | "centre" | "right";
  readonly colour: Colour;
}

type Weight = NonNullable<Lettering["weight"]>;
type Point = readonly [number, number];

/** An outline as closed polygons, in thousandths of the size, y upwards; `advance` to the next letter. */
interface Glyph {
  readonly advance: number;
  readonly polygons: readonly (readonly Point[])[];
}

/** Straight pieces of a curve: at the sizes of labels more cannot be seen. */
const PIECES = 6;

const known = new Map<string, Glyph>();

/** Width of a line, in pixels. */
export function textWidth(text: string, { size, weight = "regular" }: Lettering): number {
  return layOut(text, weight).width * size / 1000;
}

/** Draws one line. */
export function drawText(canvas: Canvas, text: string, place: PlacedText): void {
  const { size, weight = "regular", align = "left", colour } = place;
  const scale = size / 1000;
  const { glyphs, width } = layOut(text, weight);
  const left = place.x - (align === "left" ? 0 : align === "right" ? 1 : 0.5) * width * scale;
  const y0 = Math.round(place.y); // stems and feet are crisp where the base line is between pixels
  for (const { glyph, at } of glyphs) {
    const polygons = glyph.polygons.map((polygon) =>
      polygon.map(([x, y]): Point => [left + (at + x) * scale, y0 - y * scale])
    );
    fillPolygons(canvas, polygons, colour);
  }
}

/** Breaks a text between words so that no line is wider than `width` pixels; what is too long for a line of its own is broken within. */
export function wrapText(text: string, { width, ...lettering }: Lettering & { readonly width: number }): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (textWidth(longer, lettering) <= width) {
      line = longer;
      continue;
    }
    if (line !== "") lines.push(line);
    line = "";
    for (const letter of word) {
      if (line !== "" && textWidth(line + letter, lettering) > width) {
        lines.push(line);
        line = "";
      }
      line += letter;
    }
  }
  return line === "" ? lines : [...lines, line];
}

/** Letters side by side, in thousandths of the size. */
function layOut(text: string, weight: Weight): { glyphs: { glyph: Glyph; at: number }[]; width: number } {
  const glyphs: { glyph: Glyph; at: number }[] = [];
  let width = 0;
  let before = "";
  for (const letter of text.normalize("NFC")) {
    width += kerning(before, letter, weight);
    const glyph = glyphOf(letter, weight);
    glyphs.push({ glyph, at: width });
    width += glyph.advance;
    before = letter;
  }
  return { glyphs, width };
}

function glyphOf(letter: string, weight: Weight): Glyph {
  const table: Readonly<Record<string, string>> = letters[weight].glyphs;
  const name = Object.hasOwn(table, letter) ? letter : "";
  const key = `${weight} ${name}`;
  let glyph = known.get(key);
  if (!glyph) {
    const [advance, outline] = table[name].split(/ (.*)/);
    known.set(key, glyph = { advance: Number(advance), polygons: polygonsOf(outline ?? "") });
  }
  return glyph;
}

function polygonsOf(outline: string): Point[][] {
  const polygons: Point[][] = [];
  for (const [, command, numbers] of outline.matchAll(/([MLQZ])([^MLQZ]*)/g)) {
    const values = numbers.split(" ").map(Number);
    if (command === "M") polygons.push([[values[0], values[1]]]);
    const polygon = polygons.at(-1)!;
    if (command === "L") polygon.push([values[0], values[1]]);
    if (command !== "Q") continue;
    const [cx, cy, x, y] = values;
    const [x0, y0] = polygon.at(-1)!;
    for (let k = 1; k <= PIECES; k++) {
      const t = k / PIECES;
      const [a, b, c] = [(1 - t) ** 2, 2 * t * (1 - t), t * t];
      polygon.push([a * x0 + b * cx + c * x, a * y0 + b * cy + c * y]);
    }
  }
  return polygons;
}

/** What is added between two letters: `V-68 W-57` after `A`. */
function kerning(left: string, right: string, weight: Weight): number {
  const table: Readonly<Record<string, string>> = letters[weight].kerning;
  if (!Object.hasOwn(table, left)) return 0;
  for (const [, letter, move] of table[left].matchAll(/(.)(-?\d+) ?/g)) if (letter === right) return Number(move);
  return 0;
}

/**
 * Fills closed polygons (non-zero winding). Each edge is cut where it crosses a row or column of pixels; a piece covers, in its own pixel, what is to the right of
 * it, and in all further pixels of the row its whole height: sums from left to right give each pixel's covered share.
 */
function fillPolygons(canvas: Canvas, polygons: readonly (readonly Point[])[], colour: Colour): void {
  const all = polygons.flat();
  if (all.length === 0) return;
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => y)];
  const [left, top] = [Math.floor(Math.min(...xs)), Math.floor(Math.min(...ys))];
  const [width, height] = [Math.ceil(Math.max(...xs)) - left + 2, Math.ceil(Math.max(...ys)) - top + 1];
  const covers = new Float64Array(width * height);
  for (const polygon of polygons) {
    for (const [i, [x0, y0]] of polygon.entries()) {
      const [x1, y1] = polygon[(i + 1) % polygon.length];
      const cuts = [0, ...crossings(x0, x1), ...crossings(y0, y1), 1].sort((a, b) => a - b);
      for (let k = 1; k < cuts.length; k++) {
        const [from, to] = [cuts[k - 1], cuts[k]];
        const middle = (from + to) / 2;
        const x = x0 + (x1 - x0) * middle - left;
        const y = y0 + (y1 - y0) * middle - top;
        const rise = (y1 - y0) * (to - from);
        const at = Math.floor(y) * width + Math.floor(x);
        const beyond = rise * (x - Math.floor(x));
        covers[at] += rise - beyond;
        covers[at + 1] += beyond;
      }
    }
  }
  for (let y = 0; y < height; y++) {
    let sum = 0;
    for (let x = 0; x < width; x++) {
      sum += covers[y * width + x];
      const share = Math.min(1, Math.abs(sum));
      if (share > 1e-4) blend(canvas, { x: left + x, y: top + y }, { colour, share });
    }
  }
}

/** Where, in (0, 1), the way from a to b crosses whole numbers. */
function crossings(a: number, b: number): number[] {
  const found: number[] = [];
  const [low, high] = [Math.min(a, b), Math.max(a, b)];
  for (let whole = Math.floor(low) + 1; whole < high; whole++) found.push((whole - a) / (b - a));
  return found;
}
