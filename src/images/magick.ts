/**
 * ImageMagick compiled to WebAssembly, as the program holds it: loaded when first needed, with a bound on its memory that no file can pass, and started anew after it has
 * failed. It is told the kind of every file, so that none of its many other readers is ever reached. It touches neither files nor network.
 */
import type * as Library from "@imagemagick/magick-wasm";

export type Magick = typeof Library;

/** Its memory, in bytes: for pictures that are decoded beside everything else, and for large ones in a thread of their own. */
const LEAST_MEMORY = 320e6;
const MOST_MEMORY = 1150e6;
/** Pixels that the smaller memory is enough for, even of a progressive JPEG or a JPEG XL. */
export const SMALL_PIXELS = 4e6;

let magick: Promise<Magick> | null = null;

/** The library, ready to read. `large`: with the memory of a thread of its own; the first call decides. */
export function openMagick({ large = false } = {}): Promise<Magick> {
  return magick ??= load(large ? MOST_MEMORY : LEAST_MEMORY).catch((error) => {
    magick = null;
    throw error;
  });
}

/** After a failure inside it, nothing is known of its memory: the next call starts another. */
export function dropMagick(): void {
  magick = null;
}

let compiled: Promise<WebAssembly.Module> | null = null;

async function load(memory: number): Promise<Magick> {
  const library = await import("@imagemagick/magick-wasm");
  compiled ??= import("@imagemagick/magick-wasm/magick.wasm", { with: { type: "bytes" } })
    .then(({ default: bytes }) => WebAssembly.compile(withMemory(bytes, memory)));
  // The library is meant to be started once in a process; it starts again where it is told that it has not yet.
  (library.ImageMagick as unknown as { _api: undefined })._api = undefined;
  await library.initializeImageMagick(await compiled);
  const { ResourceLimits } = library;
  ResourceLimits.disk = 0n; // of its file system in memory
  ResourceLimits.memory = BigInt(memory);
  ResourceLimits.listLength = 1n << 20n;
  return library;
}

/**
 * The module with a lower maximum in its memory section, so that what a file makes a decoder ask for ends in an error of that decoder: the section (id 5) is
 * a count of one, a flag, least and most pages of 64 KiB, numbers in LEB128.
 */
function withMemory(wasm: Uint8Array, memory: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(wasm);
  let at = 8;
  function number(): number {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }
  while (at < bytes.length) {
    const id = bytes[at++];
    const end = number() + at;
    if (id === 5) {
      at += 2;
      number();
      const from = at;
      number();
      const pages = Math.floor(memory / 65536);
      for (let i = from; i < at; i++) bytes[i] = ((pages >> (7 * (i - from))) & 0x7f) | (i + 1 < at ? 0x80 : 0);
      return bytes;
    }
    at = end;
  }
  throw new Error("Bug: Cannot bound the memory of magick.wasm: it has no memory section");
}
