/**
 * What a file is by its first bytes, whatever its name and Content-Type say: the kinds of pictures that are read, and words for those that are not. A look at the door,
 * not a proof. The server, the commands and the page all ask here, so that they say the same of the same file.
 */

/** In the order in which people meet them. */
export const kindNames = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF, BMP or JPEG XL";

export const mediaTypes = {
  jpeg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
  avif: "image/avif",
  heic: "image/heic",
  tiff: "image/tiff",
  gif: "image/gif",
  bmp: "image/bmp",
  jxl: "image/jxl",
} as const;

/** A kind of picture file that is read. */
export type Kind = keyof typeof mediaTypes;

/** So many bytes of a file tell what it is, but for raw files that pretend to be TIFF: more of those are wanted. */
export const BEGINNING = 64;

/** Brands of ISO base media files whose pictures are coded with HEVC; "mif1" and its like say nothing of the codec. */
const HEVC_BRANDS = ["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs"];
const ANY_BRANDS = ["mif1", "mif2", "msf1", "miaf", "MiHE", "MiHB"];

/** What begins as a picture that is read does; null for anything else. */
export function kindOf(bytes: Uint8Array): Kind | null {
  if (starts(bytes, "\xff\xd8\xff")) return "jpeg";
  if (starts(bytes, "\x89PNG\r\n\x1a\n")) return "png";
  if (starts(bytes, "RIFF") && starts(bytes, "WEBP", 8)) return "webp";
  if (starts(bytes, "GIF87a") || starts(bytes, "GIF89a")) return "gif";
  if (starts(bytes, "\xff\x0a") || starts(bytes, "\0\0\0\x0cJXL \r\n\x87\n")) return "jxl";
  if (isTiff(bytes)) return isRaw(bytes) ? null : "tiff";
  if (starts(bytes, "BM") && bytes.length >= 26 && [12, 16, 40, 52, 56, 64, 108, 124].includes(bytes[14])) return "bmp";
  const brands = brandsOf(bytes);
  if (brands.some((brand) => brand === "avif" || brand === "avis")) return "avif";
  return [...HEVC_BRANDS, ...ANY_BRANDS].some((brand) => brands[0] === brand) ||
      brands.some((brand) => HEVC_BRANDS.includes(brand))
    ? "heic"
    : null;
}

/** The media type of a picture that is read; null for anything else. */
export function pictureTypeOf(bytes: Uint8Array): (typeof mediaTypes)[Kind] | null {
  const kind = kindOf(bytes);
  return kind === null ? null : mediaTypes[kind];
}

/** What a file seems to be, for messages: completes "it is ...". */
export function semblance(bytes: Uint8Array): string {
  if (bytes.length === 0) return "empty";
  const kind = kindOf(bytes);
  if (kind !== null) return NAMES[kind];
  if (isTiff(bytes) || KNOWN_RAW.some(([start, at]) => starts(bytes, start, at))) return "a camera's raw file";
  if (starts(bytes, "ftyp", 4)) return "a film";
  return OTHERS.find(([start]) => starts(bytes, start))?.[1] ?? "of an unknown kind";
}

/** How such a file becomes one that is read; completes a sentence with "; ...". */
export function remedyFor(bytes: Uint8Array): string {
  const what = semblance(bytes);
  if (what === "a camera's raw file") return "develop it in a photo program and export it as JPEG or TIFF";
  if (what === "a film") return "take one picture from it and save that as JPEG or PNG";
  if (["a PDF", "an SVG", "a JPEG 2000 picture", "a Photoshop file", "an OpenEXR picture"].includes(what)) {
    return "open it in the program that made it and export it as JPEG or PNG";
  }
  return `send the picture file itself: ${kindNames}, told apart by content, not by name`;
}

const NAMES = {
  jpeg: "a JPEG",
  png: "a PNG",
  webp: "a WebP picture",
  avif: "an AVIF picture",
  heic: "a HEIC picture",
  tiff: "a TIFF",
  gif: "a GIF",
  bmp: "a BMP",
  jxl: "a JPEG XL picture",
} as const satisfies Record<Kind, string>;

const OTHERS: readonly (readonly [start: string, name: string])[] = [
  ["%PDF", "a PDF"],
  ["\0\0\0\x0cjP", "a JPEG 2000 picture"],
  ["\xff\x4f\xff\x51", "a JPEG 2000 picture"],
  ["8BPS", "a Photoshop file"],
  ["v/1\x01", "an OpenEXR picture"],
  ["<svg", "an SVG"],
  ["PK", "an archive"],
  ["\x1aE\xdf\xa3", "a film"],
  ["<", "a text such as HTML"],
];

/** Raw files of cameras that do not look like TIFF. */
const KNOWN_RAW: readonly (readonly [start: string, at: number])[] = [
  ["FUJIFILMCCD-RAW", 0],
  ["ftypcrx ", 4],
  ["FOVb", 0],
  ["IIRO", 0],
  ["IIU\0", 0],
];

function starts(bytes: Uint8Array, text: string, at = 0): boolean {
  return bytes.length >= at + text.length &&
    Array.from(text).every((letter, i) => bytes[at + i] === letter.charCodeAt(0));
}

function isTiff(bytes: Uint8Array): boolean {
  return ["II*\0", "MM\0*", "II+\0", "MM\0+"].some((start) => starts(bytes, start));
}

/** Is this TIFF a camera's raw file, whose first picture is a thumbnail? By its maker's mark, a DNG's version, or because it says itself that the first is a reduced one. */
function isRaw(bytes: Uint8Array): boolean {
  if (starts(bytes, "CR", 8)) return true;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 8 || bytes[2] === 0x2b || bytes[3] === 0x2b) return false;
  const little = bytes[0] === 0x49;
  const directory = view.getUint32(4, little);
  if (directory + 2 > bytes.length) return false;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= bytes.length; i++, at += 12) {
    const tag = view.getUint16(at, little);
    if (tag === 50706) return true; // DNGVersion
    if (tag === 254 && (view.getUint32(at + 8, little) & 1) === 1) return true; // NewSubfileType: reduced
  }
  return false;
}

/** The brands of an ISO base media file, the major one first; none where it is something else. */
function brandsOf(bytes: Uint8Array): string[] {
  if (!starts(bytes, "ftyp", 4) || bytes.length < 12) return [];
  const end = Math.min(bytes.length, new DataView(bytes.buffer, bytes.byteOffset).getUint32(0));
  const brands: string[] = [];
  for (let at = 8; at + 4 <= end; at += at === 8 ? 8 : 4) {
    brands.push(String.fromCharCode(...bytes.subarray(at, at + 4)));
  }
  return brands;
}
