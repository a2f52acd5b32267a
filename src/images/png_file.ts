/**
 * PNG files: decoded by Deno, in 8 or 16 bits; their colours and which way up they are is settled here, because Deno heeds nothing but profiles of RGB. Grey pictures with
 * a profile of their own, which Deno refuses, are ImageMagick's.
 */
import { orientationOf } from "./orientation.ts";
import { readPng } from "./png.ts";
import { type PngColours, pngColours, pngHeader } from "./colours/png_colours.ts";
import type { Raster } from "./raster.ts";
import { readByMagick, type ReadOptions } from "./magick_raster.ts";

/** Reads a PNG. @throws Error where Deno's decoder does, UnreadableError, and what `check` throws */
export async function readPngFile(bytes: Uint8Array<ArrayBuffer>, options: ReadOptions): Promise<Raster> {
  const header = pngHeader(bytes);
  if (header === null) throw new Error("its header cannot be read");
  options.check(header);
  const said = pngColours(header);
  const orientation = orientationOf(bytes);
  const space = said.by === "profile" ? await spaceOf(said.profile) : null;
  if (space === "GRAY" && header.grey) return { ...await readByMagick(bytes, options), orientation };
  const fits = space === "RGB " && !header.grey;
  if (said.by === "profile" && !fits) options.remark("its colour profile does not fit it and is left aside");
  const pixels = await decode(bytes, { heedProfile: fits, remark: options.remark });
  return { ...pixels, orientation, colours: said.by === "curves" ? said.tables(pixels.max) : null };
}

/** The colour space of the profile in an iCCP chunk: a name, a zero, a zero, and the profile deflated. Null where that cannot be read. */
async function spaceOf(chunk: Extract<PngColours, { by: "profile" }>["profile"]): Promise<string | null> {
  const at = chunk.indexOf(0) + 2;
  if (at < 2) return null;
  const reader = new Blob([chunk.subarray(at)]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  try {
    const { value } = await reader.read();
    return value && value.length >= 20 ? String.fromCharCode(...value.subarray(16, 20)) : null;
  } catch {
    return null;
  } finally {
    await reader.cancel().catch(() => {});
  }
}

interface Decoding {
  readonly heedProfile: boolean;
  remark(text: string): void;
}

/** Pixels leave Deno through a PNG of its own making: a canvas has no other way that keeps alpha and 16 bits. */
async function decode(bytes: Uint8Array<ArrayBuffer>, { heedProfile, remark }: Decoding): Promise<Raster> {
  const file = new Blob([bytes], { type: "image/png" });
  const plainly = () => createImageBitmap(file, { colorSpaceConversion: "none" });
  const bitmap = await (heedProfile ? createImageBitmap(file) : plainly()).catch(async (error) => {
    if (!heedProfile) throw error;
    const bitmap = await plainly();
    remark("its colour profile does not fit it and is left aside");
    return bitmap;
  });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("bitmaprenderer")!.transferFromImageBitmap(bitmap);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return await readPng(new Uint8Array(await blob.arrayBuffer()));
}
