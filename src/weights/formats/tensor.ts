// What a weight file holds once it is read: named float32 tensors on the host, and the half-width number formats they may have been stored in.
// Not the engine's tensors: nothing here knows a GPU, a graph or a model. Invariant: every tensor of a `StateDict` has exactly as many
// elements as its shape says, row by row, and may be a view into the file it came from, so nobody writes into it.

/** A dense row-major float32 tensor; `data` may be a view into a larger buffer and must not be written to. */
export type HostTensor = { readonly shape: readonly number[]; readonly data: Float32Array };

/** Named tensors in the order of their file. */
export type StateDict = ReadonlyMap<string, HostTensor>;

/** What every reader of this folder returns: the tensors and the file's own key-value notes. */
export type Weights = { readonly tensors: StateDict; readonly metadata: Readonly<Record<string, string>> };

/** Every failure of this folder: the message names the file, what is wrong with it, and what to do. */
export class WeightsError extends Error {
  override readonly name = "WeightsError";
}

/**
 * The number of elements of `shape`, or null if it is not a list of whole, non-negative numbers whose product is exact.
 * One dimension holds at most 2^32 elements, also where another is zero.
 */
export function elementCount(shape: readonly unknown[]): number | null {
  let count = 1;
  for (const size of shape) {
    if (typeof size !== "number" || !Number.isInteger(size) || size < 0 || size > 2 ** 32) return null;
    count *= size;
  }
  return Number.isSafeInteger(count) ? count : null;
}

/** `[2, 3]` as text: `[2,3]`. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(",")}]`;
}

/** At most `limit` names joined by commas, then how many more there are. */
export function listNames(names: readonly string[], limit = 4): string {
  const shown = names.slice(0, limit).map(quote).join(", ");
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}

/** A text from a file, made safe to print on one line: control characters escaped, quoted, at most 120 characters. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 117)}...` : text);
}

/** IEEE half floats (n values, as raw bits) as float32: exact. */
export function halfToFloat(bits: Uint16Array): Float32Array {
  return new Float32Array(new Float16Array(bits.buffer, bits.byteOffset, bits.length));
}

/** float32 as the raw bits of IEEE half floats, rounded to nearest, ties to even; beyond 65,504 it becomes an infinity. */
export function floatToHalf(values: Float32Array): Uint16Array {
  return new Uint16Array(new Float16Array(values).buffer);
}

/** bfloat16 (the upper half of a float32, as raw bits) as float32: exact. */
export function brainToFloat(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i] << 16;
  return new Float32Array(wide.buffer);
}

/** The part of `bytes` from `offset`, `length` bytes long, at an address that is a multiple of `alignment`: a view if it already is, else a copy. */
export function alignedBytes(bytes: Uint8Array, offset: number, length: number, alignment: number): Uint8Array {
  const part = bytes.subarray(offset, offset + length);
  return part.byteOffset % alignment === 0 ? part : part.slice();
}

/** The largest published network that is read, DINOv2's ViT-g, has 4.5 GB. */
export const MOST_BYTES = 6 * 2 ** 30;

/**
 * A whole file, read into one buffer of exactly its size (343 MB for ViT-B, so not a byte of it twice).
 * @throws WeightsError if the file cannot be read or is larger than 6 GiB.
 */
export async function readWholeFile(path: string): Promise<Uint8Array> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path, { read: true });
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound ? "there is no such file" : messageOf(cause);
    throw new WeightsError(`Cannot read ${path}: ${why}. Check the path and its permissions.`, { cause });
  }
  try {
    const info = await file.stat();
    if (!info.isFile) throw new WeightsError(`Cannot read ${path}: it is not a file. Name the weight file itself.`);
    if (info.size > MOST_BYTES) {
      throw new WeightsError(
        `Cannot read ${path}: it has ${info.size} bytes, more than the 6 GiB this program reads. Use a smaller model.`,
      );
    }
    const bytes = new Uint8Array(info.size);
    let filled = 0;
    while (filled < bytes.length) {
      const count = await file.read(bytes.subarray(filled));
      if (count === null) {
        throw new WeightsError(
          `Cannot read ${path}: it ended after ${filled} of ${info.size} bytes. Is something still writing it? Try again.`,
        );
      }
      filled += count;
    }
    return bytes;
  } catch (cause) {
    if (cause instanceof WeightsError) throw cause;
    throw new WeightsError(
      `Cannot read ${path}: ${messageOf(cause)}. Check that the disk is readable, or fetch the file again.`,
      { cause },
    );
  } finally {
    file.close();
  }
}

/**
 * Writes a file whole or not at all: beside `path` first, to the disk, then renamed over it.
 * @throws WeightsError if the folder cannot be written.
 */
export async function writeWholeFile(path: string, bytes: Uint8Array): Promise<void> {
  const aside = `${path}.${crypto.randomUUID()}.part`;
  try {
    const file = await Deno.open(aside, { write: true, createNew: true });
    try {
      for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
      await file.sync();
    } finally {
      file.close();
    }
    await Deno.rename(aside, path);
  } catch (cause) {
    await Deno.remove(aside).catch(() => {});
    throw new WeightsError(
      `Cannot write ${path}: ${messageOf(cause)}. Check that its folder exists, is writable and has room.`,
      { cause },
    );
  }
}

/** The message of anything thrown. */
export function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
