/**
 * WebP out, which Deno's own encoders lack: libwebp compiled to WebAssembly (@jsquash/webp), loaded when it is first asked for.
 */

/** Writes pixels, RGB and an alpha of 255, as lossy WebP; `quality` in [0, 1]. */
export async function encodeWebp(pixels: ImageData, quality: number): Promise<Uint8Array<ArrayBuffer>> {
  const encode = await openEncoder();
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
