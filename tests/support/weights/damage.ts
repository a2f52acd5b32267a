/** Pictures that are broken in the ways files get broken, and in the ways people break them on purpose. The same seed breaks them in the same way. */
import { crc32, deflateSync } from "node:zlib";
import { randomStream } from "../../../src/engine/mod.ts";

export interface DamagedFile {
  /** How it came about, for messages. */
  readonly about: string;
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

type Bytes = Uint8Array<ArrayBuffer>;
type Random = { below(n: number): number };

/** One way to break a file. Null where it does not apply. */
type Damage = (bytes: Bytes, random: Random, others: readonly Bytes[]) => Bytes | null;

const LYING_SIDES = [0, 1, 31, 32, 33, 255, 4000, 8000, 16383, 16384, 65500, 65535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

const DAMAGES: Readonly<Record<string, Damage>> = {
  "bytes flipped": (bytes, random) => {
    const out = bytes.slice();
    for (let i = 1 + random.below(20); i > 0; i--) out[random.below(out.length)] ^= 1 << random.below(8);
    return out;
  },
  "header flipped": (bytes, random) => {
    const out = bytes.slice();
    for (let i = 1 + random.below(4); i > 0; i--) out[random.below(Math.min(64, out.length))] = random.below(256);
    return out;
  },
  "cut": (bytes, random) => bytes.slice(0, random.below(bytes.length)),
  "end cut": (bytes, random) => bytes.slice(0, bytes.length - 1 - random.below(Math.min(16, bytes.length - 1))),
  "middle gone": (bytes, random) => {
    const [a, b] = [random.below(bytes.length), random.below(bytes.length)].sort((a, b) => a - b);
    return joined(bytes.subarray(0, a), bytes.subarray(b));
  },
  "zeros inside": (bytes, random) => {
    const from = random.below(bytes.length);
    return bytes.slice().fill(0, from, from + 1 + random.below(bytes.length));
  },
  "said twice": (bytes, random) => {
    const [a, b] = [random.below(bytes.length), random.below(bytes.length)].sort((a, b) => a - b);
    return joined(bytes.subarray(0, b), bytes.subarray(a));
  },
  "two files in one": (bytes, random, others) => joined(bytes, others[random.below(others.length)]),
  "half of each": (bytes, random, others) => {
    const other = others[random.below(others.length)];
    return joined(bytes.subarray(0, bytes.length >> 1), other.subarray(other.length >> 1));
  },
  "another's beginning": (bytes, random, others) =>
    joined(others[random.below(others.length)].subarray(0, 16), bytes.subarray(16)),
  "chunks swapped": (bytes, random) => {
    const chunks = chunksOf(bytes);
    if (chunks.length < 3) return null;
    const [a, b] = [1 + random.below(chunks.length - 1), 1 + random.below(chunks.length - 1)];
    [chunks[a], chunks[b]] = [chunks[b], chunks[a]];
    return joined(...chunks);
  },
  "chunk gone": (bytes, random) => {
    const chunks = chunksOf(bytes);
    if (chunks.length < 3) return null;
    return joined(...chunks.toSpliced(1 + random.below(chunks.length - 1), 1));
  },
  "chunk many times": (bytes, random) => {
    const chunks = chunksOf(bytes);
    if (chunks.length < 3) return null;
    const at = 1 + random.below(chunks.length - 1);
    return joined(...chunks.toSpliced(at, 0, ...Array(50).fill(chunks[at])));
  },
  "size that lies": (bytes, random) => lie(bytes, () => LYING_SIDES[random.below(LYING_SIDES.length)]),
  "length that lies": (bytes, random) => {
    const chunks = chunksOf(bytes);
    if (chunks.length < 3) return null;
    const at = 1 + random.below(chunks.length - 1);
    const chunk = chunks[at].slice();
    for (let i = 0; i < 4 && i < chunk.length; i++) chunk[i + (isPng(bytes) ? 0 : 2)] = random.below(256);
    return joined(...chunks.with(at, chunk));
  },
};

/** So many files, in turn of each kind of damage. */
export function damagedFiles(count: number, whole: readonly Bytes[], seed: number): DamagedFile[] {
  const stream = randomStream(seed);
  const random: Random = { below: (n) => Math.floor(stream.uniform() * Math.max(1, n)) };
  const names = ["photo.png", "photo.jpg", "photo.webp", "photo", "../../x.png", "ä b.gif", "photo.png.exe"];
  const files: DamagedFile[] = traps();
  const kinds = Object.entries(DAMAGES);
  for (let i = 0; files.length < count; i++) {
    const [about, damage] = kinds[i % kinds.length];
    const at = random.below(whole.length);
    const bytes = damage(whole[at], random, whole);
    if (bytes) files.push({ about: `${about} (${at})`, name: names[i % names.length], bytes });
  }
  return files;
}

/** What people think of to bring a decoder down. */
function traps(): DamagedFile[] {
  const trap = (about: string, bytes: Bytes) => ({ about, name: "photo.png", bytes });
  const few = deflateSync(new Uint8Array(1000));
  const sides = (width: number, height: number, rest: Partial<PngOptions> = {}) =>
    trap(`PNG of ${width} x ${height} with little in it`, png({ width, height, data: few, ...rest }));
  return [
    trap("empty", new Uint8Array()),
    trap("one byte", new Uint8Array([0x89])),
    trap("only magic: PNG", new Uint8Array([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10])),
    trap("only magic: JPEG", new Uint8Array([0xff, 0xd8, 0xff, 0xe0])),
    trap("only magic: JPEG, ended", new Uint8Array([0xff, 0xd8, 0xff, 0xd9])),
    trap("only magic: WebP", new TextEncoder().encode("RIFF\x04\0\0\0WEBP")),
    trap("only magic: GIF", new TextEncoder().encode("GIF89a")),
    trap("only magic: TIFF", new Uint8Array([0x49, 0x49, 42, 0])),
    trap("only magic: HEIC", new TextEncoder().encode("\0\0\0\x18ftypheic\0\0\0\0mif1heic")),
    trap("only magic: AVIF", new TextEncoder().encode("\0\0\0\x18ftypavif\0\0\0\0mif1avif")),
    trap("only magic: JPEG XL", new Uint8Array([0xff, 0x0a])),
    trap("GIF of 65535 x 65535", gifOf(65_535, 65_535)),
    trap("GIF of 8000 x 8000 with nothing in it", gifOf(8000, 8000)),
    trap("BMP of 40000 x 40000", bmpOf(40_000, 40_000)),
    trap("BMP of 8000 x 8000 with nothing in it", bmpOf(8000, 8000)),
    trap("TIFF of 100000 x 100000", tiffOf(100_000, 100_000)),
    trap("TIFF of 7000 x 7000 with nothing in it", tiffOf(7000, 7000)),
    trap("JPEG of fill bytes", new Uint8Array(100_000).fill(0xff).with(1, 0xd8) as Bytes),
    sides(8000, 8000),
    sides(8000, 8000, { depth: 16, colour: 6 }),
    sides(8001, 8000),
    sides(64_000_000 / 32, 32),
    sides(32, 2_000_000),
    sides(2 ** 31 - 1, 2 ** 31 - 1),
    sides(0, 0),
    sides(64, 64, { interlace: 1 }),
    sides(64, 64, { interlace: 77 }),
    sides(64, 64, { depth: 3 }),
    sides(64, 64, { colour: 5 }),
    trap("a bomb of 36 megapixels", bomb(6000, 6000)),
    trap("a thread", bomb(4000, 32)),
    trap("palette that is not there", png({ width: 64, height: 64, colour: 3, data: few })),
    trap("data that is no zlib", png({ width: 64, height: 64, data: new Uint8Array(500).fill(7) })),
    trap("no data", png({ width: 64, height: 64, data: new Uint8Array() })),
    trap(
      "compressed text bomb",
      png({ width: 64, height: 64, data: deflateSync(new Uint8Array(64 * 65)), extra: textBomb() }),
    ),
  ];
}

interface PngOptions {
  readonly width: number;
  readonly height: number;
  readonly depth?: number;
  readonly colour?: number;
  readonly interlace?: number;
  readonly data: Uint8Array;
  readonly extra?: Uint8Array;
}

function png(
  { width, height, depth = 8, colour = 0, interlace = 0, data, extra = new Uint8Array() }: PngOptions,
): Bytes {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([depth, colour, 0, 0, interlace], 8);
  const magic = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]);
  return joined(magic, chunk("IHDR", header), extra, chunk("IDAT", data), chunk("IEND", new Uint8Array()));
}

/** A screen of this size, and no frame. */
function gifOf(width: number, height: number): Bytes {
  const gif = new Uint8Array(14);
  gif.set(new TextEncoder().encode("GIF89a"));
  gif.set([width & 255, width >> 8, height & 255, height >> 8, 0x80], 6);
  return joined(gif, new Uint8Array([0x2c, 0, 0, 0, 0, ...gif.subarray(6, 10), 0, 2, 1, 0, 0, 0x3b]));
}

function bmpOf(width: number, height: number): Bytes {
  const bmp = new Uint8Array(80);
  const view = new DataView(bmp.buffer);
  view.setUint16(0, 0x424d);
  view.setUint32(2, bmp.length, true);
  view.setUint32(10, 54, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint32(26, 0x180001, true);
  return bmp;
}

/** One strip, deflated, with hardly a byte in it. */
function tiffOf(width: number, height: number): Bytes {
  const entries = [[256, width], [257, height], [258, 8], [259, 8], [262, 1], [273, 200], [277, 1], [278, height], [
    279,
    8,
  ]];
  const tiff = new Uint8Array(208);
  const view = new DataView(tiff.buffer);
  tiff.set([0x49, 0x49, 42, 0, 8]);
  view.setUint16(8, entries.length, true);
  entries.forEach(([tag, value], i) => {
    view.setUint16(10 + 12 * i, tag, true);
    view.setUint16(12 + 12 * i, 4, true);
    view.setUint32(14 + 12 * i, 1, true);
    view.setUint32(18 + 12 * i, value, true);
  });
  tiff.set(deflateSync(new Uint8Array(4)).subarray(0, 8), 200);
  return tiff;
}

/** One bit a pixel, all black: a few kilobytes that become megabytes, and a good picture. */
function bomb(width: number, height: number): Bytes {
  return png({ width, height, depth: 1, data: deflateSync(new Uint8Array((1 + Math.ceil(width / 8)) * height)) });
}

function textBomb(): Uint8Array {
  const text = deflateSync(new Uint8Array(50_000_000));
  return chunk("zTXt", joined(new TextEncoder().encode("Comment\0\0"), text));
}

function chunk(type: string, data: Uint8Array): Bytes {
  const out = new Uint8Array(12 + data.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set(new TextEncoder().encode(type), 4);
  out.set(data, 8);
  view.setUint32(8 + data.length, crc32(out.subarray(4, 8 + data.length)));
  return out;
}

const isPng = (bytes: Uint8Array) => bytes[0] === 0x89;
const isJpeg = (bytes: Uint8Array) => bytes[0] === 0xff;

/** The file in pieces: its magic, then each chunk or segment. */
function chunksOf(bytes: Bytes): Bytes[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [first, lengthOf] = isPng(bytes)
    ? [8, (at: number) => 12 + view.getUint32(at)]
    : isJpeg(bytes)
    ? [2, (at: number) => view.getUint16(at) === 0xffda ? Infinity : 2 + view.getUint16(at + 2)]
    : [12, (at: number) => 8 + view.getUint32(at + 4, true) + view.getUint32(at + 4, true) % 2];
  const chunks = [bytes.slice(0, first)];
  for (let at = first; at + 8 <= bytes.length;) {
    const end = Math.min(bytes.length, at + lengthOf(at));
    chunks.push(bytes.slice(at, end));
    at = end;
  }
  return chunks;
}

/** Says other sides than there are, and where that has a checksum, makes it right. */
function lie(bytes: Bytes, side: () => number): Bytes | null {
  const out = bytes.slice();
  const view = new DataView(out.buffer);
  if (isPng(out)) {
    view.setUint32(16, side());
    view.setUint32(20, side());
    view.setUint32(29, crc32(out.subarray(12, 29)));
    return out;
  }
  if (isJpeg(out)) {
    for (let at = 2; at + 9 < out.length && view.getUint16(at) !== 0xffda; at += 2 + view.getUint16(at + 2)) {
      if (![0xc0, 0xc1, 0xc2].includes(out[at + 1])) continue;
      view.setUint16(at + 5, side());
      view.setUint16(at + 7, side());
      return out;
    }
    return null;
  }
  const kind = new TextDecoder("latin1").decode(out.subarray(12, 16));
  const at = { "VP8 ": 26, VP8L: 21, VP8X: 24 }[kind];
  if (at === undefined || at + 4 > out.length) return null;
  view.setUint16(at, side());
  view.setUint16(at + 2, side());
  return out;
}

function joined(...parts: readonly Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
