/**
 * The first frame of an animated WebP as a file of its own, and where on the canvas it lies: decoders paint it on a canvas of their own, black where the frame does not
 * reach. Nothing here throws: what is no animation, or makes no sense as one, is left to the decoder.
 */
import type { Raster } from "./raster.ts";

export interface FirstFrame {
  /** The frame as a still WebP. */
  readonly file: Uint8Array<ArrayBuffer>;
  readonly left: number;
  readonly top: number;
  readonly canvas: { readonly width: number; readonly height: number };
}

const HAS_ALPHA = 0x10;
const HAS_PROFILE = 0x20;
const IS_ANIMATED = 0x02;

/** Null where the file is no animation. */
export function firstFrame(bytes: Uint8Array<ArrayBuffer>): FirstFrame | null {
  const chunks = chunksOf(bytes, 12, "ANMF");
  const [head] = chunks;
  const frame = chunks.at(-1);
  if (head?.name !== "VP8X" || head.body.length < 10 || !(head.body[0] & IS_ANIMATED)) return null;
  if (frame?.name !== "ANMF" || frame.body.length < 16) return null;
  const profile = chunks.find(({ name }) => name === "ICCP");
  const [left, top] = [2 * u24(frame.body, 0), 2 * u24(frame.body, 3)];
  const flags = (head.body[0] & HAS_ALPHA) | (profile ? HAS_PROFILE : 0);
  const extended = new Uint8Array([flags, 0, 0, 0, ...frame.body.subarray(6, 12)]);
  const parts = chunksOf(frame.body, 16, null).filter(({ name }) => ["ALPH", "VP8 ", "VP8L"].includes(name));
  const file = riff([{ name: "VP8X", body: extended }, ...profile ? [profile] : [], ...parts]);
  return { file, left, top, canvas: { width: 1 + u24(head.body, 4), height: 1 + u24(head.body, 7) } };
}

/** The frame on its canvas, which is transparent elsewhere. */
export function onCanvas(frame: Raster, { left, top, canvas: { width, height } }: FirstFrame): Raster {
  const bytes = new Uint8Array(4 * width * height);
  const wide = Math.min(frame.width, width - left);
  for (let y = 0; y < frame.height && top + y < height; y++) {
    for (let x = 0; x < wide; x++) {
      const from = (y * frame.width + x) * frame.channels;
      const to = 4 * ((top + y) * width + left + x);
      for (let c = 0; c < 3; c++) bytes[to + c] = frame.bytes[from + c];
      bytes[to + 3] = frame.channels === 4 ? frame.bytes[from + 3] : 255;
    }
  }
  return { ...frame, width, height, channels: 4, bytes };
}

interface Chunk {
  readonly name: string;
  readonly body: Uint8Array;
}

/** The chunks from here on, up to and with the first of the name `last`. */
function chunksOf(bytes: Uint8Array, from: number, last: string | null): Chunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Chunk[] = [];
  for (let at = from; at + 8 <= bytes.length && found.at(-1)?.name !== (last ?? "");) {
    const length = view.getUint32(at + 4, true);
    const name = String.fromCharCode(...bytes.subarray(at, at + 4));
    found.push({ name, body: bytes.subarray(at + 8, Math.min(bytes.length, at + 8 + length)) });
    at += 8 + length + length % 2;
  }
  return found;
}

function riff(chunks: readonly Chunk[]): Uint8Array<ArrayBuffer> {
  const size = chunks.reduce((sum, { body }) => sum + 8 + body.length + body.length % 2, 4);
  const file = new Uint8Array(8 + size);
  const view = new DataView(file.buffer);
  const write = (text: string, at: number) => file.set(new TextEncoder().encode(text), at);
  write("RIFF", 0);
  view.setUint32(4, size, true);
  write("WEBP", 8);
  let at = 12;
  for (const { name, body } of chunks) {
    write(name, at);
    view.setUint32(at + 4, body.length, true);
    file.set(body, at + 8);
    at += 8 + body.length + body.length % 2;
  }
  return file;
}

const u24 = (bytes: Uint8Array, at: number) => bytes[at] + bytes[at + 1] * 256 + bytes[at + 2] * 65536;
