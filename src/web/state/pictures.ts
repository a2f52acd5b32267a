/**
 * Pictures as a person brings them: checked here as far as a page can, so that what the server would refuse is said before anything is sent. The server checks again,
 * by its own rules. What this browser cannot show, or would show another way up than the server reads it, the server shows. Invariant: a `Picture` has an address until
 * `release`.
 */
import { BEGINNING, type Kind, kindNames, kindOf, mediaTypes, semblance } from "../../images/kinds.ts";
import { orientationOf } from "../../images/orientation.ts";
import { call, Refused } from "../talk/api.ts";
import { formatBytes } from "./format.ts";

export interface Credit {
  readonly title: string;
  readonly attribution: string;
  readonly licence: string;
}

export interface Picture {
  readonly blob: Blob;
  readonly name: string;
  /** An object URL of what is shown of it. */
  readonly url: string;
  readonly width: number;
  readonly height: number;
  readonly credit: Credit | null;
}

/** A file that is no picture for this server; the message says what to do. */
export class Unsuitable extends Error {
  override readonly name = "Unsuitable";
}

/** Some systems know no media type of the newer kinds: their endings are named too. */
export const accepted = [...Object.values(mediaTypes), ".heic", ".heif", ".avif", ".jxl", ".tif", ".tiff"].join();
const mostBytes = 25_000_000;
const mostPixels = 64_000_000;
const leastSide = 32;

/** Checks kind, size and dimensions. @throws Unsuitable */
export async function openPicture(
  blob: Blob,
  { name, credit = null }: { name: string; credit?: Credit | null },
): Promise<Picture> {
  const shown = name === "" ? "The picture" : `“${name}”`;
  if (blob.size === 0) throw new Unsuitable(`${shown} is empty. Choose another file.`);
  const head = new Uint8Array(await blob.slice(0, BEGINNING).arrayBuffer());
  const kind = kindOf(head);
  if (kind === null) {
    const what = blob.type === "image/svg+xml" ? "an SVG" : semblance(head);
    throw new Unsuitable(`${shown} is ${what}. Use ${kindNames}; most programs can export one.`);
  }
  if (blob.size > mostBytes) {
    throw new Unsuitable(
      `${shown} has ${formatBytes(blob.size)}; the server takes up to ${formatBytes(mostBytes)}. ${
        kind === "jpeg" ? "Scale it down." : "Scale it down, or save it as JPEG."
      }`,
    );
  }
  const { url, width, height } = await look(blob, kind, shown);
  const wrong = width * height > mostPixels
    ? `has ${Math.round(width * height / 1e6)} megapixels; the server takes up to 64. Scale it down first.`
    : Math.min(width, height) < leastSide
    ? `is ${width} × ${height} pixels; each side has to be at least ${leastSide}. Choose a larger picture.`
    : null;
  if (wrong === null) return { blob, name, url, width, height, credit };
  URL.revokeObjectURL(url);
  throw new Unsuitable(`${shown} ${wrong}`);
}

export function release(picture: Picture | null): void {
  if (picture) URL.revokeObjectURL(picture.url);
}

interface Shown {
  readonly url: string;
  readonly width: number;
  readonly height: number;
}

/** Shows it by the browser, or by the server where the browser cannot. @throws Unsuitable */
async function look(blob: Blob, kind: Kind, shown: string): Promise<Shown> {
  const own = blob.type === mediaTypes[kind] ? blob : new Blob([blob], { type: mediaTypes[kind] });
  if (!await isTurnedByServerAlone(blob, kind)) {
    const seen = await load(own);
    if (seen !== null) return seen;
    if (kind === "png" || kind === "gif" || kind === "bmp") throw damaged(shown); // every browser shows those
  }
  const form = new FormData();
  form.append("image", blob, "image");
  let answer: Response;
  try {
    answer = await call("/v1/preview", { method: "POST", body: form, headers: { Accept: "image/jpeg" } });
  } catch (error) {
    const why = error instanceof Refused ? error.message : "the server does not answer";
    throw new Unsuitable(`${shown} cannot be shown: ${why}`);
  }
  const seen = await load(await answer.blob());
  if (seen === null) throw damaged(shown);
  return seen;
}

/** WebP pictures and some PNGs say which way up they are where browsers do not look. */
async function isTurnedByServerAlone(blob: Blob, kind: Kind): Promise<boolean> {
  return (kind === "webp" || kind === "png") && orientationOf(new Uint8Array(await blob.arrayBuffer())) !== 1;
}

/** Null where this browser cannot show it. */
async function load(blob: Blob): Promise<Shown | null> {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    return { url, width: image.naturalWidth, height: image.naturalHeight };
  } catch {
    URL.revokeObjectURL(url);
    return null;
  }
}

const damaged = (shown: string) =>
  new Unsuitable(`${shown} cannot be read: the file is damaged. Open it elsewhere and save it again.`);

/** The picture files of a drop or a paste, in order. */
export function filesOf(transfer: DataTransfer | null): File[] {
  return Array.from(transfer?.files ?? []);
}
