/**
 * Pictures as a person brings them: checked here as far as a page can, so that what the server would refuse is said before anything is sent. The server checks again,
 * by its own rules. Invariant: a `Picture` has an address until `release`.
 */
import { formatBytes } from "./format.ts";

export interface Credit {
  readonly title: string;
  readonly attribution: string;
  readonly licence: string;
}

export interface Picture {
  readonly blob: Blob;
  readonly name: string;
  /** An object URL. */
  readonly url: string;
  readonly width: number;
  readonly height: number;
  readonly credit: Credit | null;
}

/** A file that is no picture for this server; the message says what to do. */
export class Unsuitable extends Error {
  override readonly name = "Unsuitable";
}

export const accepted = "image/jpeg,image/png,image/webp";
const mostBytes = 25_000_000;
const mostPixels = 64_000_000;
const leastSide = 32;

/** Checks type, size and dimensions. @throws Unsuitable */
export async function openPicture(
  blob: Blob,
  { name, credit = null }: { name: string; credit?: Credit | null },
): Promise<Picture> {
  const shown = name === "" ? "The picture" : `“${name}”`;
  if (blob.size === 0) throw new Unsuitable(`${shown} is empty. Choose another file.`);
  const head = new Uint8Array(await blob.slice(0, 16).arrayBuffer());
  const type = sniff(head);
  if (type === null) {
    throw new Unsuitable(
      `${shown} is ${guess(head, blob.type)}. Use a JPEG, PNG or WebP picture; most programs can export one.`,
    );
  }
  if (blob.size > mostBytes) {
    throw new Unsuitable(
      `${shown} has ${formatBytes(blob.size)}; the server takes up to ${
        formatBytes(mostBytes)
      }. Save it smaller, or as JPEG.`,
    );
  }
  const url = URL.createObjectURL(blob.type === type ? blob : new Blob([blob], { type }));
  try {
    const { width, height } = await dimensions(url);
    if (width * height > mostPixels) {
      throw new Unsuitable(
        `${shown} has ${Math.round(width * height / 1e6)} megapixels; the server takes up to 64. Scale it down first.`,
      );
    }
    if (Math.min(width, height) < leastSide) {
      throw new Unsuitable(
        `${shown} is ${width} × ${height} pixels; each side has to be at least ${leastSide}. Choose a larger picture.`,
      );
    }
    return { blob, name, url, width, height, credit };
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error instanceof Unsuitable
      ? error
      : new Unsuitable(`${shown} cannot be read: the file is damaged. Open it elsewhere and save it again.`);
  }
}

export function release(picture: Picture | null): void {
  if (picture) URL.revokeObjectURL(picture.url);
}

async function dimensions(url: string): Promise<{ width: number; height: number }> {
  const image = new Image();
  image.src = url;
  await image.decode();
  return { width: image.naturalWidth, height: image.naturalHeight };
}

/** The media type by content, null if it is none that the server reads. */
function sniff(head: Uint8Array): string | null {
  const text = String.fromCharCode(...head.subarray(0, 12));
  if (text.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "image/webp";
  return null;
}

/** What a file seems to be, for a message. */
function guess(head: Uint8Array, type: string): string {
  const text = String.fromCharCode(...head);
  if (/^.{4}ftyp(heic|heix|hevc|mif1|msf1)/s.test(text)) return "a HEIC picture";
  if (/^.{4}ftypavi[fs]/s.test(text)) return "an AVIF picture";
  if (text.startsWith("GIF8")) return "a GIF";
  if (/^(II\*\0|MM\0\*)/.test(text)) return "a TIFF or raw picture";
  if (text.startsWith("%PDF")) return "a PDF";
  if (type === "image/svg+xml") return "an SVG drawing";
  return "no picture that can be read";
}

/** The picture files of a drop or a paste, in order. */
export function filesOf(transfer: DataTransfer | null): File[] {
  return Array.from(transfer?.files ?? []);
}
