/** sRGB as an ICC profile of version 4, for a colour engine to convert into: a matrix (adapted to D50, as ICC wants it) and sRGB's own curve, in 500 bytes. */

/** Columns of sRGB to XYZ under D50: red, green, blue. */
const PRIMARIES = [[0.4360747, 0.2225045, 0.0139322], [0.3850649, 0.7168786, 0.0971045], [
  0.1430804,
  0.0606169,
  0.7141733,
]];
const D50 = [0.9642, 1, 0.8249];
/** g, a, b, c, d of the ICC's third kind of curve: (aX + b)^g from d on, cX before. */
const CURVE = [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045];

export function srgbProfile(): Uint8Array<ArrayBuffer> {
  const curve = join(ascii("para"), words(0), [0, 3, 0, 0], fixed(CURVE));
  const [red, green, blue] = PRIMARIES.map(xyz);
  const tags: [name: string, body: Uint8Array][] = [
    ["desc", text("sRGB")],
    ["cprt", text("none")],
    ["wtpt", xyz(D50)],
    ["rXYZ", red],
    ["gXYZ", green],
    ["bXYZ", blue],
    ["rTRC", curve],
    ["gTRC", curve],
    ["bTRC", curve],
  ];
  let end = 128 + 4 + 12 * tags.length;
  const table = [words(tags.length)];
  for (const [name, body] of tags) {
    table.push(ascii(name), words(end, body.length));
    end += body.length;
  }
  const head = new Uint8Array(128);
  head.set(join(words(end), words(0), words(0x04200000), ascii("mntrRGB XYZ ")));
  head.set(join(ascii("acsp")), 36);
  head.set(fixed(D50), 68);
  return join(head, ...table, ...tags.map(([, body]) => body));
}

const ascii = (letters: string) => new TextEncoder().encode(letters);
const xyz = (values: readonly number[]) => join(ascii("XYZ "), words(0), fixed(values));
/** One string, in English; an even number of letters keeps every tag at a multiple of four. */
const text = (letters: string) =>
  join(
    ascii("mluc"),
    words(0, 1, 12),
    ascii("enUS"),
    words(2 * letters.length, 28),
    [...ascii(letters)].flatMap((letter) => [0, letter]),
  );

/** Unsigned, 32 bits. */
function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  values.forEach((value, i) => new DataView(bytes.buffer).setUint32(4 * i, value));
  return bytes;
}

/** Signed, 16 bits before the point and 16 behind. */
function fixed(values: readonly number[]): Uint8Array {
  return words(...values.map((value) => Math.round(value * 65536) >>> 0));
}

function join(...parts: readonly ArrayLike<number>[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
