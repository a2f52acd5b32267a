/**
 * Picture files in: nine kinds (kinds.ts), told apart by their content alone, become upright opaque sRGB (`Picture`). Small ones are decoded where they are asked for, which
 * holds up the event loop; large ones in a thread that ends with them, so that the memory of decoding is given back and a heartbeat goes on.
 * Invariant: whatever the bytes are, the outcome is a picture or an ImageError.
 */
import { ImageError, type Picture } from "./picture.ts";
import { pictureOf, type Raster, uprightRows, uprightSize } from "./raster.ts";
import { LargePicture, readImage } from "./reader.ts";
import type { Rows, Size } from "./scale.ts";
import { SMALL_PIXELS } from "./magick.ts";
import type { Answer, Question } from "./thread.ts";

/** The most pixels a picture may have, unless the caller says otherwise: 64 megapixels. */
const defaultMaxPixels = 64e6;

export interface DecodeOptions {
  /** How errors name the picture: a file's path, a form field's name. */
  readonly label: string;
  /** Refuse larger pictures, in pixels, before decoding. Default: `defaultMaxPixels`. */
  readonly maxPixels?: number;
  /** Scale it down to this longer side on the way, as `fitPicture` does: far less memory for a large photograph. */
  readonly longest?: number | undefined;
  /** Told in whole sentences what had to be assumed, such as the colours of CMYK without a profile. */
  readonly remark?: (text: string) => void;
}

/**
 * Decodes a picture file: upright by its EXIF orientation, transparency laid on white; 8-bit samples are value / 255 exactly, 16-bit ones of PNG value / 65535.
 * @throws ImageError unsupported_type, too_large, too_small or damaged
 */
export async function decodeImage(bytes: Uint8Array<ArrayBuffer>, options: DecodeOptions): Promise<Picture> {
  return (await decodeFitted(bytes, options)).picture;
}

/** As `decodeImage`; and `whole`, the size of all of it, upright, whatever it was scaled down to. */
async function decodeFitted(
  bytes: Uint8Array<ArrayBuffer>,
  options: DecodeOptions,
): Promise<{ picture: Picture; whole: Size }> {
  const { longest } = options;
  const read = await readHereOrThere(bytes, options, { want: longest === undefined ? "pixels" : "picture", longest });
  if ("picture" in read) return read;
  if ("raster" in read) {
    const { raster } = read;
    const fitted = { picture: pictureOf(raster, longest), whole: uprightSize(raster) };
    raster.bytes.buffer.transfer(0); // nobody else has it: its memory goes back now
    return fitted;
  }
  throw new Error("Bug: pixels were asked for, and a size came back");
}

/**
 * Decodes a picture file as `decodeImage` does, for `use` to read row by row: its pixels take no more memory than the file's samples do, which is given back when `use` is done.
 * @throws ImageError as `decodeImage`
 */
async function withRows<T>(
  bytes: Uint8Array<ArrayBuffer>,
  options: Omit<DecodeOptions, "longest">,
  use: (rows: Rows) => Promise<T>,
): Promise<T> {
  const read = await readHereOrThere(bytes, options, { want: "pixels", longest: undefined });
  if (!("raster" in read)) throw new Error("Bug: pixels were asked for, and something else came back");
  try {
    return await use(uprightRows(read.raster));
  } finally {
    read.raster.bytes.buffer.transfer(0);
  }
}

/**
 * A photograph that is wanted small now and whole later: its file is kept as it is, and decoded as often as it is needed, each time as large as it is needed then. So a
 * long training on a small picture holds no large one, and what becomes of the file on the disk meanwhile is of no matter.
 */
export interface PictureFile {
  /** Of the whole photograph, upright, in pixels. */
  readonly size: Size;
  /** Scaled down to the longest side that it was opened with. */
  readonly picture: Picture;
  /** Scaled down to another longest side. */
  fitted(longest: number): Promise<Picture>;
  /** All of it, for `use` to read row by row: see `withRows`. */
  withRows<T>(use: (rows: Rows) => Promise<T>): Promise<T>;
}

/** @throws ImageError as `decodeImage` */
export async function openPictureFile(bytes: Uint8Array<ArrayBuffer>, options: DecodeOptions): Promise<PictureFile> {
  const { remark: _, ...again } = options; // what had to be assumed is said once
  const { picture, whole } = await decodeFitted(bytes, options);
  return {
    size: whole,
    picture,
    fitted: (longest) => decodeImage(bytes, { ...again, longest }),
    withRows: (use) => withRows(bytes, again, use),
  };
}

/**
 * Decodes a file only to see that it can be: throws what `decodeImage` throws, and keeps no pixel.
 * Returns the size in pixels, upright by its EXIF orientation.
 */
export async function examineImage(bytes: Uint8Array<ArrayBuffer>, options: DecodeOptions): Promise<Size> {
  const read = await readHereOrThere(bytes, options, { want: "size", longest: undefined });
  return "raster" in read ? uprightSize(read.raster) : "size" in read ? read.size : read.whole;
}

type Read =
  | { readonly raster: Raster }
  | { readonly picture: Picture; readonly whole: Size }
  | { readonly size: Size };

async function readHereOrThere(
  bytes: Uint8Array<ArrayBuffer>,
  { label, maxPixels = defaultMaxPixels, remark = () => {} }: DecodeOptions,
  { want, longest }: Pick<Question, "want" | "longest">,
): Promise<Read> {
  try {
    const { raster, remarks } = await readImage(bytes, { label, maxPixels, large: false }, ({ width, height }) => {
      if (width * height > SMALL_PIXELS) throw new LargePicture();
    });
    remarks.forEach(remark);
    return { raster };
  } catch (error) {
    if (!(error instanceof LargePicture)) throw error;
  }
  const answer = await askThread({ bytes, label, maxPixels, want, longest });
  if ("fault" in answer) throw new ImageError(answer.fault.code, answer.fault.message);
  answer.remarks.forEach(remark);
  return answer;
}

/** In the package the thread's program is bundled beside this one, at the same place below its folder. */
const threadFile = () =>
  new URL(import.meta.url.endsWith(".ts") ? "./thread.ts" : "./src/images/thread.js", import.meta.url);

async function askThread(question: Question): Promise<Answer> {
  const thread = new Worker(threadFile(), { type: "module" });
  try {
    return await new Promise<Answer>((resolve, reject) => {
      thread.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
      thread.onerror = (event) => {
        event.preventDefault();
        reject(
          new ImageError(
            "damaged",
            `Cannot read ${question.label}: its decoder failed (${event.message}); save the picture anew with another program`,
          ),
        );
      };
      thread.postMessage(question);
    });
  } finally {
    thread.terminate();
  }
}
