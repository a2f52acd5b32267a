/** What a file is by its first bytes, whatever its name and Content-Type say. A look at the door, not a proof: decoding happens elsewhere. */
import type { PictureType } from "./pictures.ts";

const starts = (bytes: Uint8Array, text: string, at = 0) =>
  bytes.length >= at + text.length && Array.from(text).every((letter, i) => bytes[at + i] === letter.charCodeAt(0));

/** The media type of what begins as a JPEG, PNG or WebP does; null for anything else. The first 12 bytes are enough. */
export function pictureTypeOf(bytes: Uint8Array): PictureType | null {
  if (starts(bytes, "\xff\xd8\xff")) return "image/jpeg";
  if (starts(bytes, "\x89PNG\r\n\x1a\n")) return "image/png";
  return starts(bytes, "RIFF") && starts(bytes, "WEBP", 8) ? "image/webp" : null;
}

/** What a file that is no picture for us seems to be, for messages: completes "it is ...". */
export function semblance(bytes: Uint8Array): string {
  if (bytes.length === 0) return "empty";
  if (starts(bytes, "ftyp", 4)) {
    if (starts(bytes, "avif", 8)) return "an AVIF picture";
    return starts(bytes, "hei", 8) || starts(bytes, "mif1", 8) ? "a HEIC picture" : "a film";
  }
  const known: readonly (readonly [start: string, name: string])[] = [
    ["GIF8", "a GIF"],
    ["BM", "a BMP"],
    ["II*\0", "a TIFF"],
    ["MM\0*", "a TIFF"],
    ["%PDF", "a PDF"],
    ["\xff\x0a", "a JPEG XL picture"],
    ["\0\0\0\x0cJXL ", "a JPEG XL picture"],
    ["\0\0\0\x0cjP", "a JPEG 2000 picture"],
    ["<svg", "an SVG"],
    ["PK", "an archive"],
    ["<", "a text such as HTML"],
  ];
  return known.find(([start]) => starts(bytes, start))?.[1] ?? "of an unknown kind";
}
