/** What a PNG says of its colours, read as Chromium reads it: cICP before an ICC profile before sRGB before gAMA with cHRM. What cannot be understood counts as not said. */
import { codedColours, coloursBy, type Curve, matrixFrom, SRGB_PRIMARIES, type Tables } from "./codes.ts";

/** `profile`: the file's ICC profile is what counts, and whoever reads the pixels has to heed it. */
export type PngColours =
  | { readonly by: "profile"; readonly profile: Uint8Array<ArrayBuffer> }
  | { readonly by: "curves"; readonly tables: Tables }
  | { readonly by: "nothing" };

export interface PngHeader {
  readonly width: number;
  readonly height: number;
  readonly grey: boolean;
  readonly chunks: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
}

/** The size, and the chunks before the pixels, the first of a name. Null where it does not begin as a PNG has to. */
export function pngHeader(bytes: Uint8Array<ArrayBuffer>): PngHeader | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 33 || view.getUint32(8) !== 13 || nameAt(bytes, 12) !== "IHDR") return null;
  const chunks = new Map<string, Uint8Array<ArrayBuffer>>();
  for (let at = 33; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const name = nameAt(bytes, at + 4);
    if (name === "IDAT") break;
    if (!chunks.has(name)) {
      chunks.set(name, bytes.subarray(at + 8, Math.min(bytes.length, at + 8 + view.getUint32(at))));
    }
  }
  return { width: view.getUint32(16), height: view.getUint32(20), grey: (bytes[25] & 2) === 0, chunks };
}

const nameAt = (bytes: Uint8Array, at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));

export function pngColours({ chunks }: PngHeader): PngColours {
  const cicp = chunks.get("cICP");
  if (cicp?.length === 4) {
    const [primaries, transfer, matrix, fullRange] = cicp;
    const coded = matrix === 0 && fullRange === 1 ? codedColours(primaries, transfer) : null;
    if (coded !== null) return coded === "srgb" ? { by: "nothing" } : { by: "curves", tables: coded };
  }
  const profile = chunks.get("iCCP");
  if (profile) return { by: "profile", profile };
  const gamma = numbers(chunks.get("gAMA"))[0];
  if (chunks.has("sRGB") || !gamma) return { by: "nothing" };
  const [wx, wy, ...rgb] = numbers(chunks.get("cHRM"));
  const said = rgb.length === 6 ? [...rgb, wx, wy] : null;
  const exponent = 100_000 / gamma;
  const light: Curve = (value) => value ** exponent;
  if (said !== null && matrixFrom(said) !== null) return { by: "curves", tables: coloursBy(light, said) };
  // Alone, what is nearly 1 / 2.2 is said of sRGB.
  return Math.abs(gamma * 2.2 / 100_000 - 1) < 0.05
    ? { by: "nothing" }
    : { by: "curves", tables: coloursBy(light, SRGB_PRIMARIES) };
}

function numbers(chunk: Uint8Array | undefined): number[] {
  if (!chunk || chunk.length % 4 !== 0) return [];
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  return Array.from({ length: chunk.length / 4 }, (_, i) => view.getUint32(4 * i));
}
