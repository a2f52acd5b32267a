/**
 * Picture files in: JPEG, PNG and WebP, told apart by their content alone, become upright opaque sRGB (`Picture`). Deno decodes; this file guards the decoder
 * (type and size from the header, before a pixel is allocated; whole files only) and settles what it leaves open: alpha, depth, and PNG's EXIF orientation.
 * Invariant: whatever the bytes are, the outcome is a picture or an ImageError. Decoding holds up the event loop, so call it where nothing else has to answer.
 */
import { imageSize } from "image-size";
import { ImageError, type Picture } from "./picture.ts";
import { type Raster, readPng } from "./png.ts";
import { orient, pngOrientation } from "./orientation.ts";
import { isWhole } from "./wholeness.ts";

/** The smallest side a picture may have, in pixels. */
const minSide = 32;
/** The most pixels a picture may have, unless the caller says otherwise: 64 megapixels. */
const defaultMaxPixels = 64e6;

export interface DecodeOptions {
  /** How errors name the picture: a file's path, a form field's name. */
  readonly label: string;
  /** Refuse larger pictures, in pixels, before decoding. Default: `defaultMaxPixels`. */
  readonly maxPixels?: number;
}

const mediaTypes: Readonly<Record<string, string>> = { jpg: "image/jpeg", png: "image/png", webp: "image/webp" };

/**
 * Decodes a JPEG, PNG or WebP file: upright by its EXIF orientation, alpha composited on white; 8-bit samples are value / 255 exactly, 16-bit value / 65535.
 * Throws `ImageError` with code `unsupported_type`, `too_large`, `too_small` or `damaged`.
 */
export async function decodeImage(
  bytes: Uint8Array<ArrayBuffer>,
  { label, maxPixels = defaultMaxPixels }: DecodeOptions,
): Promise<Picture> {
  const type = checkHeader(bytes, label, maxPixels);
  const picture = opaque(await decodePixels(bytes, mediaTypes[type], label));
  return type === "png" ? orient(picture, pngOrientation(bytes)) : picture; // Deno honours orientation in JPEG and WebP, not in PNG
}

/**
 * Decodes a file only to see that it can be: throws what `decodeImage` throws, and keeps no pixel.
 * Returns the size in pixels, upright by its EXIF orientation.
 */
export async function examineImage(
  bytes: Uint8Array<ArrayBuffer>,
  { label, maxPixels = defaultMaxPixels }: DecodeOptions,
): Promise<{ width: number; height: number }> {
  const type = checkHeader(bytes, label, maxPixels);
  const bitmap = await decodeBitmap(bytes, mediaTypes[type], label);
  const { width, height } = bitmap;
  bitmap.close();
  const turned = type === "png" && pngOrientation(bytes) >= 5;
  return turned ? { width: height, height: width } : { width, height };
}

/** Checks what the header alone tells, and returns its type. */
function checkHeader(bytes: Uint8Array, label: string, maxPixels: number): string {
  const { type = "", width, height } = readHeader(bytes, label);
  if (!(type in mediaTypes)) throw unsupported(label, `it is ${type.toUpperCase() || "of an unknown kind"}`);
  if (!isWhole(bytes, type)) throw damaged(label, "the file ends before the picture does");
  const size = `${width} x ${height} pixels`;
  if (!(width * height <= maxPixels)) {
    const limit = `${+(maxPixels / 1e6).toFixed(1)} megapixels`;
    throw new ImageError("too_large", `Cannot use ${label}: it has ${size}, more than ${limit}; scale it down first`);
  }
  if (Math.min(width, height) < minSide) {
    throw new ImageError(
      "too_small",
      `Cannot use ${label}: it has ${size}; both sides must be at least ${minSide}; choose a larger picture`,
    );
  }
  return type;
}

function readHeader(bytes: Uint8Array, label: string): { type?: string; width: number; height: number } {
  try {
    return imageSize(bytes);
  } catch (cause) {
    const starts = (...magic: number[]) => magic.every((byte, i) => bytes[i] === byte);
    if (
      bytes.length > 0 && (starts(0xff, 0xd8, 0xff) || starts(0x89, 0x50, 0x4e, 0x47) || starts(0x52, 0x49, 0x46, 0x46))
    ) {
      throw damaged(label, "its header cannot be read", cause);
    }
    throw unsupported(label, bytes.length === 0 ? "the file is empty" : "its content is not a picture's");
  }
}

async function decodeBitmap(bytes: Uint8Array<ArrayBuffer>, type: string, label: string): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(new Blob([bytes], { type }));
  } catch (cause) {
    throw damaged(
      label,
      cause instanceof Error ? cause.message.replace(/^Cannot decode image /, "") : String(cause),
      cause,
    );
  }
}

async function decodePixels(bytes: Uint8Array<ArrayBuffer>, type: string, label: string): Promise<Raster> {
  const bitmap = await decodeBitmap(bytes, type, label);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("bitmaprenderer")!.transferFromImageBitmap(bitmap);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return await readPng(new Uint8Array(await blob.arrayBuffer()));
}

/** Planar RGB in [0, 1] from interleaved samples, laid on white where they are transparent. */
function opaque({ width, height, channels, max, bytes }: Raster): Picture {
  const pixels = width * height;
  const data = new Float32Array(3 * pixels);
  const alphaAt = channels === 2 || channels === 4 ? channels - 1 : undefined;
  const sample = max === 255
    ? (i: number) => bytes[i] / 255
    : (i: number) => (bytes[2 * i] * 256 + bytes[2 * i + 1]) / 65535;
  for (let c = 0; c < 3; c++) {
    const channel = channels < 3 ? 0 : c;
    for (let i = 0; i < pixels; i++) {
      const value = sample(i * channels + channel);
      const alpha = alphaAt === undefined ? 1 : sample(i * channels + alphaAt);
      data[c * pixels + i] = alpha === 1 ? value : value * alpha + (1 - alpha);
    }
  }
  return { width, height, data };
}

function damaged(label: string, why: string, cause?: unknown): ImageError {
  return new ImageError(
    "damaged",
    `Cannot read ${label}: ${why}; the file is damaged or incomplete, get a fresh copy`,
    { cause },
  );
}

function unsupported(label: string, why: string): ImageError {
  return new ImageError(
    "unsupported_type",
    `Cannot read ${label}: ${why}; JPEG, PNG and WebP pictures are read, told apart by content, not by name`,
  );
}
