/** Letters, areas and masks on pictures: by the ink they leave, which can be counted. */
import assert from "node:assert/strict";
import { blend, type Canvas, fill, openCanvas, paste } from "../../src/images/canvas.ts";
import { drawText, textWidth, wrapText } from "../../src/images/lettering.ts";
import { fitPicture, scalePicture } from "../../src/images/picture.ts";
import { veil } from "../../src/images/veil.ts";

const white = [1, 1, 1] as const;
const black = [0, 0, 0] as const;

/** Covered area, in pixels. */
const ink = ({ data }: Canvas) => data.reduce((sum, value) => sum + 1 - value, 0) / 3;

function drawn(text: string, options: { size?: number; x?: number; y?: number } = {}): Canvas {
  const canvas = openCanvas({ width: 120, height: 60 }, white);
  drawText(canvas, text, { size: options.size ?? 40, x: options.x ?? 10, y: options.y ?? 45, colour: black });
  return canvas;
}

Deno.test("lettering: a letter covers exactly the area of its outline, wherever it stands", () => {
  const dash = 500 * 81 / 1e6 * 40 * 40; // 500 by 81 thousandths of the size
  for (const x of [10, 10.3, 10.77]) assert.ok(Math.abs(ink(drawn("–", { x })) - dash) < 1e-3, String(ink(drawn("–"))));
  const [large, small] = [ink(drawn("Ol", { size: 40 })), ink(drawn("Ol", { size: 20 }))];
  assert.ok(Math.abs(large / small - 4) < 1e-4, "holes and curves keep their share");
});

Deno.test("lettering: widths add up but for kerning; lines are aligned by them", () => {
  const width = (text: string) => textWidth(text, { size: 10 });
  assert.ok(Math.abs(width("nnn") - 3 * width("n")) < 1e-9);
  assert.ok(width("AV") < width("A") + width("V"));
  assert.equal(textWidth("n", { size: 20 }), 2 * width("n"));
  assert.ok(textWidth("n", { size: 10, weight: "semibold" }) > width("n"));
  assert.equal(width("e\u0301"), width("é"), "however the accent is written");
  const left = openCanvas({ width: 80, height: 40 }, white);
  const right = openCanvas({ width: 80, height: 40 }, white);
  drawText(left, "Wave", { size: 16, x: 5, y: 30, colour: black });
  const end = 5 + textWidth("Wave", { size: 16 });
  drawText(right, "Wave", { size: 16, x: end, y: 30, align: "right", colour: black });
  const most = left.data.reduce((worst, value, i) => Math.max(worst, Math.abs(value - right.data[i])), 0);
  assert.ok(most < 1e-4);
});

Deno.test("lettering: unknown letters are boxes, blanks leave nothing, and what is outside is left out", () => {
  assert.deepEqual(drawn("漢").data, drawn("字").data);
  assert.ok(ink(drawn("漢")) > 10);
  assert.equal(ink(drawn("  ")), 0);
  assert.equal(ink(drawn("Away", { x: 500 })), 0);
  assert.ok(ink(drawn("Away", { x: -20, y: 5 })) > 0);
});

Deno.test("lettering: lines are broken between words, and within a word that is too long", () => {
  const text = "Cannot read none.png: there is no such file; aVeryLongWordThatFitsNoLineAtAll";
  const lines = wrapText(text, { size: 13, width: 100 });
  assert.ok(lines.length > 4);
  for (const line of lines) assert.ok(textWidth(line, { size: 13 }) <= 100, line);
  assert.equal(lines.join("").replaceAll(" ", ""), text.replaceAll(" ", ""));
  assert.deepEqual(wrapText("short", { size: 13, width: 100 }), ["short"]);
});

Deno.test("canvas: areas and pictures are laid where they are told, cut at the edges", () => {
  const canvas = openCanvas({ width: 4, height: 3 }, white);
  fill(canvas, { box: { x: 2, y: -5, width: 9, height: 6 }, colour: [0, 0.5, 1] });
  assert.deepEqual([...canvas.data.subarray(0, 8)], [1, 1, 0, 0, 1, 1, 1, 1]);
  assert.deepEqual([...canvas.data.subarray(12, 16)], [1, 1, 0.5, 0.5]);
  paste(canvas, { width: 2, height: 2, data: Float32Array.from({ length: 12 }, (_, i) => i / 12) }, { x: 3, y: 2 });
  assert.equal(canvas.data[11], 0);
  blend(canvas, { x: 0, y: 0 }, { colour: black, share: 0.25 });
  assert.equal(canvas.data[0], 0.75);
  blend(canvas, { x: 4, y: 0 }, { colour: black, share: 1 });
  assert.equal(canvas.data[4], 1, "not in the next row");
});

Deno.test("pictures: enlarged, a ramp stays a ramp and grey stays grey; fitting never enlarges", () => {
  const ramp = { width: 8, height: 2, data: Float32Array.from({ length: 48 }, (_, i) => (i % 8) / 8) };
  const wide = scalePicture(ramp, { width: 32, height: 2 });
  for (let x = 14; x < 18; x++) assert.ok(Math.abs(wide.data[x] - ((x + 0.5) / 4 - 0.5) / 8) < 0.01);
  const grey = scalePicture({ width: 3, height: 2, data: new Float32Array(18).fill(0.3) }, { width: 7, height: 9 });
  assert.ok(grey.data.every((value) => Math.abs(value - 0.3) < 1e-6));
  assert.equal(fitPicture(ramp, 100), ramp);
});

Deno.test("veil: in front is kept, behind is dark and grey, what no patch covers is pale", () => {
  const picture = { width: 5, height: 2, data: new Float32Array(30).fill(0.5) };
  picture.data.fill(1, 0, 10);
  const { data } = veil(picture, { rows: 1, cols: 2, mask: Uint8Array.of(1, 0), covered: { height: 1, width: 0.8 } });
  assert.deepEqual([data[0], data[10], data[20]], [1, 0.5, 0.5]);
  assert.ok(Math.abs(data[2] - 0.25 * 2 / 3) < 1e-6 && data[2] === data[12]);
  assert.ok(data[4] > 0.85);
});
