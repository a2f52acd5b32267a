/**
 * A picture in the making: areas of colour and other pictures, laid on each other. Letters are lettering.ts. Everything is in pixels, x to the right, y down; what
 * lies outside is left out. Deno's own canvas draws nothing, it only encodes.
 */
import type { Picture } from "./picture.ts";

/** Red, green and blue, in [0, 1]. */
export type Colour = readonly [number, number, number];

/** A picture that is drawn upon: `data` changes. */
export type Canvas = Picture;

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export function openCanvas(size: { readonly width: number; readonly height: number }, colour: Colour): Canvas {
  const [width, height] = [Math.ceil(size.width), Math.ceil(size.height)];
  const canvas = { width, height, data: new Float32Array(3 * width * height) };
  fill(canvas, { box: { x: 0, y: 0, width, height }, colour });
  return canvas;
}

export function fill(canvas: Canvas, { box, colour }: { readonly box: Box; readonly colour: Colour }): void {
  const { width, height, data } = canvas;
  const [left, right] = [box.x, box.x + box.width].map((x) => Math.min(width, Math.max(0, Math.round(x))));
  const [top, bottom] = [box.y, box.y + box.height].map((y) => Math.min(height, Math.max(0, Math.round(y))));
  for (let c = 0; c < 3; c++) {
    for (let y = top; y < bottom; y++) {
      data.fill(colour[c], (c * height + y) * width + left, (c * height + y) * width + right);
    }
  }
}

/** Lays a picture on the canvas, its corner at x, y. */
export function paste(canvas: Canvas, picture: Picture, at: { readonly x: number; readonly y: number }): void {
  const [x0, y0] = [Math.round(at.x), Math.round(at.y)];
  for (let c = 0; c < 3; c++) {
    for (let y = Math.max(0, -y0); y < Math.min(picture.height, canvas.height - y0); y++) {
      for (let x = Math.max(0, -x0); x < Math.min(picture.width, canvas.width - x0); x++) {
        canvas.data[(c * canvas.height + y0 + y) * canvas.width + x0 + x] =
          picture.data[(c * picture.height + y) * picture.width + x];
      }
    }
  }
}

/** Mixes a colour into one pixel by `share` in [0, 1]. */
export function blend(canvas: Canvas, at: { readonly x: number; readonly y: number }, paint: {
  readonly colour: Colour;
  readonly share: number;
}): void {
  const { x, y } = at;
  if (x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) return;
  for (let c = 0; c < 3; c++) {
    const i = (c * canvas.height + y) * canvas.width + x;
    canvas.data[i] += (paint.colour[c] - canvas.data[i]) * paint.share;
  }
}
