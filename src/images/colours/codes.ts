/**
 * Colours by the numbers of ITU-T H.273 ("coding-independent code points", CICP), which PNG, AVIF and HEIC use, and by chromaticities: tables and a matrix that make sRGB of what
 * is stored. Transfer functions are turned round, from what is stored to light, and are those of Chromium.
 */
/** How stored colours become sRGB: each channel's light by its table, [max + 1] entries, then the matrix (row by row), then sRGB's curve. */
export interface Colours {
  readonly light: Float32Array;
  readonly matrix: readonly number[];
}

/** Makes the tables for samples in 0..max. */
export type Tables = (max: 255 | 65535) => Colours;

/** What these numbers mean; null where they say nothing that is understood. */
export function codedColours(primaries: number, transfer: number): Tables | "srgb" | null {
  const chromaticities = PRIMARIES[primaries];
  const light = TRANSFERS[transfer];
  if (!chromaticities || !light) return null;
  return primaries === 1 && transfer === 13 ? "srgb" : coloursBy(light, chromaticities);
}

/** `light` of each channel, in these primaries: x and y of red, green, blue and white, for which `matrixFrom` has a matrix. */
export function coloursBy(light: Curve, chromaticities: readonly number[]): Tables {
  const matrix = matrixFrom(chromaticities)!;
  return (max) => ({ light: Float32Array.from({ length: max + 1 }, (_, i) => light(i / max)), matrix });
}

/** From what is stored, in [0, 1], to light. */
export type Curve = (value: number) => number;

/** Of television: what its screens do, not the cameras' curve. */
const screen: Curve = (v) => v ** 2.4;
const pq: Curve = (v) => {
  const root = v ** (1 / 78.84375);
  return 10_000 / WHITE * (Math.max(0, root - 0.8359375) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125);
};
const hlg: Curve = (v) => {
  const scene = v <= 0.5 ? v * v / 3 : (Math.exp((v - 0.55991073) / 0.17883277) + 0.28466892) / 12;
  return 1000 / WHITE * scene ** 1.2;
};
/** What Chromium shows white for, of pictures made for brighter screens, in candela per square metre. */
const WHITE = 406;

/** By the number of H.273. */
const TRANSFERS: Readonly<Record<number, Curve>> = {
  1: screen,
  4: (v) => v ** 2.2,
  5: (v) => v ** 2.8,
  6: screen,
  7: (v) => v < 0.091286 ? v / 4 : ((v + 0.1115722) / 1.1115722) ** (1 / 0.45),
  8: (v) => v,
  11: screen,
  13: (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4,
  14: screen,
  15: screen,
  16: pq,
  17: (v) => v ** 2.6 * 52.37 / 48,
  18: hlg,
};

const [D65, C] = [[0.3127, 0.329], [0.31, 0.316]];
/** Chromaticities of red, green, blue and white, by the number of H.273. */
const PRIMARIES: Readonly<Record<number, readonly number[]>> = {
  1: [0.64, 0.33, 0.3, 0.6, 0.15, 0.06, ...D65],
  4: [0.67, 0.33, 0.21, 0.71, 0.14, 0.08, ...C],
  5: [0.64, 0.33, 0.29, 0.6, 0.15, 0.06, ...D65],
  6: [0.63, 0.34, 0.31, 0.595, 0.155, 0.07, ...D65],
  7: [0.63, 0.34, 0.31, 0.595, 0.155, 0.07, ...D65],
  8: [0.681, 0.319, 0.243, 0.692, 0.145, 0.049, ...C],
  9: [0.708, 0.292, 0.17, 0.797, 0.131, 0.046, ...D65],
  11: [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.314, 0.351],
  12: [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, ...D65],
  22: [0.63, 0.34, 0.295, 0.605, 0.155, 0.077, ...D65],
};

export const SRGB_PRIMARIES = PRIMARIES[1];

type Matrix = readonly number[];

/** From light in these primaries to light in sRGB's, white to white (Bradford). Null where they make no sense. */
export function matrixFrom(said: readonly number[]): Matrix | null {
  const scale = said.some((value) => value > 4) ? 100_000 : 1; // cHRM has hundred-thousandths
  const own = toD50(said.map((value) => value / scale));
  return own === null ? null : product(inverse(toD50(SRGB_PRIMARIES)!)!, own);
}

/** The columns are the primaries' XYZ, so long that together they make white, which becomes D50's. */
function toD50([rx, ry, gx, gy, bx, by, wx, wy]: readonly number[]): Matrix | null {
  if ([ry, gy, by, wy].some((y) => !(y > 0))) return null;
  const xyz = (x: number, y: number) => [x / y, 1, (1 - x - y) / y];
  const [red, green, blue, white] = [xyz(rx, ry), xyz(gx, gy), xyz(bx, by), xyz(wx, wy)];
  const primaries = [0, 1, 2].flatMap((i) => [red[i], green[i], blue[i]]);
  const back = inverse(primaries);
  if (back === null) return null;
  const lengths = applied(back, white);
  const scaled = primaries.map((value, i) => value * lengths[i % 3]);
  const from = applied(BRADFORD, white);
  const to = applied(BRADFORD, [0.9642, 1, 0.8249]);
  if (from.some((cone) => !(cone > 0))) return null;
  const cones = [to[0] / from[0], 0, 0, 0, to[1] / from[1], 0, 0, 0, to[2] / from[2]];
  return product(product(inverse(BRADFORD)!, product(cones, BRADFORD)), scaled);
}

const BRADFORD: Matrix = [0.8951, 0.2664, -0.1614, -0.7502, 1.7135, 0.0367, 0.0389, -0.0685, 1.0296];

function applied(m: Matrix, [x, y, z]: readonly number[]): number[] {
  return [0, 3, 6].map((row) => m[row] * x + m[row + 1] * y + m[row + 2] * z);
}

function product(a: Matrix, b: Matrix): Matrix {
  return Array.from({ length: 9 }, (_, i) => {
    const [row, column] = [i - i % 3, i % 3];
    return a[row] * b[column] + a[row + 1] * b[3 + column] + a[row + 2] * b[6 + column];
  });
}

function inverse([a, b, c, d, e, f, g, h, i]: Matrix): Matrix | null {
  const cofactors = [
    e * i - f * h,
    c * h - b * i,
    b * f - c * e,
    f * g - d * i,
    a * i - c * g,
    c * d - a * f,
    d * h - e * g,
    b * g - a * h,
    a * e - b * d,
  ];
  const determinant = a * cofactors[0] + b * cofactors[3] + c * cofactors[6];
  return Math.abs(determinant) < 1e-9 ? null : cofactors.map((value) => value / determinant);
}
