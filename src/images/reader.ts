/**
 * From a file's bytes to pixels, in the thread that calls: tells the kind by content, refuses what is too large, too small or cut short before a pixel is allocated, and
 * has the right decoder read the rest. Which thread that is: decode.ts. Invariant: whatever the bytes are, the outcome is a raster or an ImageError.
 */
import { type Kind, kindOf, remedyFor, semblance } from "./kinds.ts";
import { readByMagick, UnreadableError } from "./magick_raster.ts";
import { orientationOf } from "./orientation.ts";
import { ImageError } from "./picture.ts";
import { readPngFile } from "./png_file.ts";
import type { Raster } from "./raster.ts";
import type { Size } from "./scale.ts";
import { firstFrame, onCanvas } from "./webp_frames.ts";
import { isWhole } from "./wholeness.ts";

/** The smallest side a picture may have, in pixels. */
const MIN_SIDE = 32;

export interface ReaderOptions {
  /** How errors name the picture: a file's path, a form field's name. */
  readonly label: string;
  /** Refuse larger pictures, in pixels, before decoding. */
  readonly maxPixels: number;
  /** Is this a thread of its own? */
  readonly large: boolean;
}

/** What came of a file: its pixels, and what had to be assumed, in whole sentences. */
export interface ReadFile {
  readonly raster: Raster;
  readonly remarks: readonly string[];
}

/**
 * Reads a file. `checked` is called with the size once the header was found good, before there is memory for a pixel; what it throws goes to the caller.
 * @throws ImageError
 */
export async function readImage(
  bytes: Uint8Array<ArrayBuffer>,
  { label, maxPixels, large }: ReaderOptions,
  checked: (size: Size) => void = () => {},
): Promise<ReadFile> {
  const kind = kindIn(bytes, label);
  if (!isWhole(bytes, kind)) throw damaged(label, "the file ends before the picture does");
  const remarks: string[] = [];
  const options = {
    kind,
    large,
    check(size: Size) {
      checkSize(size, { label, maxPixels });
      checked(size);
    },
    remark: (text: string) => void remarks.push(`${label}: ${text}`),
  };
  try {
    if (kind === "png") return { raster: await readPngFile(bytes, options), remarks };
    if (kind !== "webp") return { raster: await readByMagick(bytes, options), remarks };
    const frame = firstFrame(bytes);
    if (frame !== null) options.check(frame.canvas);
    const still = await readByMagick(
      frame?.file ?? bytes,
      frame === null ? options : { ...options, check: within(frame.canvas) },
    );
    const raster = frame === null ? still : onCanvas(still, frame);
    return { raster: { ...raster, orientation: orientationOf(bytes) }, remarks };
  } catch (error) {
    if (error instanceof ImageError || error instanceof LargePicture) throw error;
    if (error instanceof UnreadableError && error.memory) {
      if (!large) throw new LargePicture();
      const remedy = kind === "jpeg" ? "scale it down" : "scale it down, or save it as a plain JPEG or PNG";
      throw new ImageError(
        "too_large",
        `Cannot use ${label}: decoding it takes more memory than a picture may have; ${remedy}`,
        {
          cause: error,
        },
      );
    }
    const why = error instanceof Error ? error.message.replace(/^Cannot decode image /, "") : String(error);
    throw damaged(label, why, error);
  }
}

/** A frame, which may be as small as it likes, lies on its canvas. */
function within(canvas: Size): (frame: Size) => void {
  return ({ width, height }) => {
    if (width <= canvas.width && height <= canvas.height) return;
    throw new UnreadableError("its first frame is larger than its canvas", { memory: false, cause: undefined });
  };
}

/** To be left to a thread of its own: thrown by `checked`, and where a small picture wants much memory. */
export class LargePicture extends Error {
  override readonly name = "LargePicture";
}

function kindIn(bytes: Uint8Array, label: string): Kind {
  const kind = kindOf(bytes);
  if (kind !== null) return kind;
  const starts = (...magic: number[]) => magic.every((byte, i) => bytes[i] === byte);
  if (bytes.length > 0 && (starts(0xff, 0xd8) || starts(0x89, 0x50, 0x4e, 0x47) || starts(0x52, 0x49, 0x46, 0x46))) {
    throw damaged(label, "its header cannot be read");
  }
  const why = bytes.length === 0 ? "the file is empty" : `it is ${semblance(bytes)}`;
  throw new ImageError("unsupported_type", `Cannot read ${label}: ${why}; ${remedyFor(bytes)}`);
}

function checkSize({ width, height }: Size, { label, maxPixels }: Omit<ReaderOptions, "large">): void {
  const size = `${width} x ${height} pixels`;
  if (!(width * height <= maxPixels)) {
    const limit = `${+(maxPixels / 1e6).toFixed(1)} megapixels`;
    throw new ImageError("too_large", `Cannot use ${label}: it has ${size}, more than ${limit}; scale it down first`);
  }
  if (Math.min(width, height) === 0) throw damaged(label, `its header says ${size}`);
  if (Math.min(width, height) < MIN_SIDE) {
    throw new ImageError(
      "too_small",
      `Cannot use ${label}: it has ${size}; both sides must be at least ${MIN_SIDE}; choose a larger picture`,
    );
  }
}

function damaged(label: string, why: string, cause?: unknown): ImageError {
  return new ImageError(
    "damaged",
    `Cannot read ${label}: ${why}; the file is damaged or incomplete, get a fresh copy`,
    { cause },
  );
}
