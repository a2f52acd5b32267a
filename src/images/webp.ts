/**
 * WebP out, which Deno's own encoders lack: libwebp compiled to WebAssembly (@jsquash/webp), loaded when it is first asked for.
 */
import type { Picture } from "./picture.ts";

/** Writes a picture as lossy WebP; `quality` in [0, 1]. Samples are clamped to [0, 1], then round(sample * 255). */
export async function encodeWebp(picture: Picture, quality: number): Promise<Uint8Array<ArrayBuffer>> {
  const encode = await openEncoder();
  const { width, height, data } = picture;
  const pixels = new ImageData(width, height);
  const plane = width * height;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = Math.round(data[c * plane + i] * 255); // the array clamps
    pixels.data[4 * i + 3] = 255;
  }
  return new Uint8Array(await encode(pixels, { quality: 100 * quality }));
}

type Encode = (typeof import("@jsquash/webp/encode.js"))["default"];
let encoder: Promise<Encode> | null = null;

function openEncoder(): Promise<Encode> {
  return encoder ??= load();
}

async function load(): Promise<Encode> {
  const { default: encode, init } = await import("@jsquash/webp/encode.js");
  const { default: bytes } = await import("@jsquash/webp/codec/enc/webp_enc_simd.wasm", { with: { type: "bytes" } });
  await init(await WebAssembly.compile(bytes));
  return encode;
}
