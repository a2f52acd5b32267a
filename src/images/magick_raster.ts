/**
 * Pictures by ImageMagick: everything but PNG. It settles what its readers leave open: colours become sRGB by the file's own profile, or by the standard rule; of an
 * animation there is the first frame, at its place; and JPEGs are decoded as browsers do it.
 */
import type { IMagickImage, MagickReadSettings } from "@imagemagick/magick-wasm";
import { codedColours } from "./colours/codes.ts";
import type { Kind } from "./kinds.ts";
import { dropMagick, type Magick, openMagick } from "./magick.ts";
import type { Raster } from "./raster.ts";
import type { Size } from "./scale.ts";
import { srgbProfile } from "./colours/srgb_profile.ts";

export interface ReadOptions {
  readonly kind: Kind;
  /** Is this a thread of its own, with room for large pictures? */
  readonly large: boolean;
  /** Throws where the size, which the file's header says, is none that is wanted. Called before there is memory for a pixel. */
  check(size: Size): void;
  /** Told what had to be assumed, to be said behind the picture's name and a colon. */
  remark(text: string): void;
}

/** Why ImageMagick did not read a file: `memory` where it wanted more than there is for a picture. */
export class UnreadableError extends Error {
  override readonly name = "UnreadableError";
  readonly memory: boolean;

  constructor(message: string, { memory, cause }: { memory: boolean; cause: unknown }) {
    super(message, { cause });
    this.memory = memory;
  }
}

/** Reads the first picture of a file. @throws UnreadableError, and what `check` throws */
export async function readByMagick(bytes: Uint8Array, options: ReadOptions): Promise<Raster> {
  const magick = await openMagick(options);
  options.check(guarded(() =>
    withImage(magick, (image) => {
      image.ping(bytes, settingsFor(magick, options.kind));
      return canvasOf(image, options.kind);
    })
  ));
  return guarded(() => {
    const smooth = withImage(magick, (image) => {
      readInto(image, { magick, bytes, options, smooth: true });
      return rasterOf(image, options.kind);
    });
    if (options.kind !== "avif") return smooth;
    return withImage(magick, (image) => {
      readInto(image, { magick, bytes, options: { ...options, remark: () => {} }, smooth: false });
      return framed(smooth, rasterOf(image, options.kind));
    });
  });
}

function withImage<T>(magick: Magick, use: (image: IMagickImage) => T): T {
  const image = magick.MagickImage.create();
  try {
    return use(image);
  } finally {
    image.dispose();
  }
}

function settingsFor({ MagickFormat, MagickReadSettings }: Magick, kind: Kind): MagickReadSettings {
  const formats = {
    jpeg: MagickFormat.Jpeg,
    png: MagickFormat.Png,
    webp: MagickFormat.WebP,
    avif: MagickFormat.Avif,
    heic: MagickFormat.Heic,
    tiff: MagickFormat.Tiff,
    gif: MagickFormat.Gif,
    bmp: MagickFormat.Bmp,
    jxl: MagickFormat.Jxl,
  } as const satisfies Record<Kind, string>;
  return new MagickReadSettings({ format: formats[kind], frameIndex: 0, frameCount: 1 });
}

interface Reading {
  readonly magick: Magick;
  readonly bytes: Uint8Array;
  readonly options: ReadOptions;
  /** Colours of AVIF, which are stored at half the size, are interpolated. */
  readonly smooth: boolean;
}

/** What these say in a warning means that pixels are missing. */
const INCOMPLETE =
  /premature end|unexpected ?end|insufficient ?image ?data|not enough|truncat|read error|do not match/i;

function readInto(image: IMagickImage, { magick, bytes, options, smooth }: Reading): void {
  const settings = settingsFor(magick, options.kind);
  settings.setDefine("jpeg:dct-method", "islow");
  if (options.kind === "avif" && smooth) settings.setDefine("heic:chroma-upsampling", "bilinear");
  const missing: string[] = [];
  image.onWarning = ({ error }) => {
    if (INCOMPLETE.test(error.message)) missing.push(error.message);
  };
  image.read(bytes, settings);
  if (missing.length > 0) {
    throw new UnreadableError("the file ends before the picture does", { memory: false, cause: missing[0] });
  }
  image.onWarning = () => {};
  options.check(canvasOf(image, options.kind)); // a header may say one thing and a decoder find another
  makeSrgb(image, { magick, options });
}

function makeSrgb(image: IMagickImage, { magick, options }: Pick<Reading, "magick" | "options">): void {
  const { ColorProfile, ColorSpace, ColorTransformMode, RenderingIntent } = magick;
  const isGrey = image.colorSpace === ColorSpace.Gray || image.colorSpace === ColorSpace.LinearGray;
  const own = image.colorSpace === ColorSpace.CMYK ? ColorSpace.CMYK : isGrey ? ColorSpace.Gray : ColorSpace.sRGB;
  const profile = profileOf(image);
  if (profile !== null) {
    try {
      if (isGrey && profile === ColorSpace.sRGB) image.colorSpace = ColorSpace.sRGB;
      else if (profile !== own) throw new Error(`it is for other colours`);
      image.renderingIntent = RenderingIntent.Relative;
      if (image.transformColorSpace(new ColorProfile(srgbProfile()), ColorTransformMode.Quantum)) return;
    } catch {
      options.remark("its colour profile does not fit it and is left aside");
    }
  }
  if (own === ColorSpace.CMYK && profile === null) {
    options.remark("it is CMYK and has no colour profile; its inks are taken for ideal ones");
  }
  if (image.colorSpace !== ColorSpace.sRGB) image.colorSpace = ColorSpace.sRGB;
}

/** The colour space that the file's profile is for; null where it has none. */
function profileOf(image: IMagickImage): number | null {
  try {
    return image.getColorProfile()?.colorSpace ?? null;
  } catch {
    return -1;
  }
}

/** The size of what is shown: of an animation, that of its canvas, which the first frame need not fill. */
function canvasOf(image: IMagickImage, kind: Kind): Size {
  const { width, height, page } = image;
  if (kind !== "gif" && kind !== "webp") return { width, height };
  return { width: Math.max(width, page.width), height: Math.max(height, page.height) };
}

/** Rows that are fetched at a time. */
const ROWS = 64;

function rasterOf(image: IMagickImage, kind: Kind): Raster {
  const { width, height } = canvasOf(image, kind);
  const whole = image.width === width && image.height === height;
  const channels = image.hasAlpha || !whole ? 4 : 3;
  const bytes = new Uint8Array(width * height * channels); // transparent where there is no frame
  const [left, top] = whole ? [0, 0] : [image.page.x, image.page.y];
  const wide = Math.min(image.width, width - left);
  image.getPixels((pixels) => {
    for (let y = 0; y < image.height && top + y < height; y += ROWS) {
      const count = Math.min(ROWS, image.height - y, height - top - y);
      const part = pixels.toByteArray(0, y, image.width, count, channels === 4 ? "RGBA" : "RGB")!;
      for (let i = 0; i < count; i++) {
        const from = i * image.width * channels;
        bytes.set(part.subarray(from, from + wide * channels), ((top + y + i) * width + left) * channels);
      }
    }
  });
  const { orientation } = image;
  const [primaries, transfer] = image.getAttribute("heic:cicp")?.split("/").map(Number) ?? [];
  // Here, unlike in PNG, browsers take the curve of television for sRGB's: most encoders say it of what is sRGB.
  const curve = [1, 6, 14, 15].includes(transfer) ? 13 : transfer;
  const coded = profileOf(image) === null ? codedColours(primaries, curve) : null;
  return {
    width,
    height,
    channels,
    max: 255,
    bytes,
    orientation: orientation >= 1 && orientation <= 8 ? orientation : 1,
    colours: coded === null || coded === "srgb" ? null : coded(255),
  };
}

/** libheif interpolates colours rightly but in the outermost pixels, which are taken from the other picture. Changes `inner`. */
function framed(inner: Raster, frame: Raster): Raster {
  const { width, height, channels, bytes } = inner;
  const row = width * channels;
  for (let y = 0; y < height; y++) {
    const ends = y === 0 || y === height - 1 ? [[0, row]] : [[0, channels], [row - channels, row]];
    for (const [from, to] of ends) bytes.set(frame.bytes.subarray(y * row + from, y * row + to), y * row + from);
  }
  return inner;
}

/** Errors that are no failure of ImageMagick: what `check` throws, and what was found out here. */
const DECIDED = ["ImageError", "LargePicture", "UnreadableError"];

/** Runs what may go wrong inside ImageMagick, whose memory nobody should trust after that. */
function guarded<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error) || DECIDED.includes(error.name)) throw error;
    dropMagick();
    const memory = /memory|resource|allocat|exceeds? limit|out of bounds table/i.test(error.message);
    throw new UnreadableError(reasonIn(error), { memory, cause: error });
  }
}

/** "ImproperImageHeader `' @ error/bmp.c/ReadBMPImage/654" -> "improper image header". */
function reasonIn(error: Error): string {
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return "its decoder failed";
  const [said] = error.message.split(/ ?[`@(]/);
  const words = said.replace(/([a-z])([A-Z])/g, "$1 $2").trim();
  return words === "" ? "its content makes no sense" : words.toLowerCase();
}
