// The zip container of a PyTorch checkpoint: where each entry's bytes lie in a file that is in memory. It is not an unzipper: torch.save stores
// entries as they are, so compressed ones are refused, and zip bombs with them. Invariant: an entry is a view that lies inside the file, and
// its CRC-32 was right.

import * as zip from "@zip.js/zip.js";
import { crc32 } from "node:zlib";
import { messageOf, quote, WeightsError } from "./tensor.ts";

/** Where an entry's bytes lie in the file. */
export type Entry = { readonly at: number; readonly size: number; readonly crc: number };

const ENTRY_LIMIT = 100_000;

/** What to do about a checkpoint that is whole but not of the plain kind. */
export const RESAVE =
  `Fetch the file again, or load it with PyTorch and save its tensors alone: torch.save(dict(model.state_dict()), "weights.pth").`;

/** An error about a checkpoint whose bytes contradict themselves. */
export function damaged(label: string, problem: string, cause?: unknown): WeightsError {
  return new WeightsError(
    `Cannot read ${label} as a PyTorch checkpoint: ${problem}. The file is damaged: fetch it again.`,
    { cause },
  );
}

/**
 * The entries of PyTorch's zip by name; `label` names the file in errors.
 * @throws WeightsError if the directory is damaged, or entries are compressed, encrypted, doubled or overlapping (larger than the file in sum).
 */
export async function listEntries(bytes: Uint8Array, label: string): Promise<ReadonlyMap<string, Entry>> {
  const reader = new zip.ZipReader(new zip.Uint8ArrayReader(bytes), { useWebWorkers: false });
  const entries = new Map<string, Entry>();
  try {
    for await (const entry of reader.getEntriesGenerator()) {
      const name = entry.filename;
      if (entries.size >= ENTRY_LIMIT) throw damaged(label, `its zip has more than ${ENTRY_LIMIT} entries`);
      if (entries.has(name)) throw damaged(label, `its zip has two entries ${quote(name)}`);
      if (entry.encrypted || entry.compressionMethod !== 0 || entry.compressedSize !== entry.uncompressedSize) {
        const problem = `its entry ${quote(name)} is ${
          entry.encrypted ? "encrypted" : "compressed"
        }, and torch.save stores entries as they are`;
        throw new WeightsError(`Cannot read ${label}: ${problem}. ${RESAVE}`);
      }
      entries.set(name, {
        at: dataStart(bytes, entry.offset, name, label),
        size: entry.uncompressedSize,
        crc: entry.signature ?? 0,
      });
    }
    const sum = Array.from(entries.values(), ({ size }) => size).reduce((a, b) => a + b, 0);
    if (sum > bytes.length) throw damaged(label, `its zip entries announce ${sum} bytes, the file has ${bytes.length}`);
  } catch (cause) {
    if (cause instanceof WeightsError) throw cause;
    throw damaged(label, `its zip directory cannot be read (${messageOf(cause)})`, cause);
  } finally {
    await reader.close();
  }
  return entries;
}

/** The directory says where an entry's local header is; its data follows that header, whose padding PyTorch uses to align it to 64 bytes. */
function dataStart(bytes: Uint8Array, offset: number, name: string, label: string): number {
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!(offset >= 0 && offset + 30 <= bytes.length) || header.getUint32(offset, true) !== 0x04034b50) {
    throw damaged(label, `its zip has no entry ${quote(name)} at byte ${offset}`);
  }
  return offset + 30 + header.getUint16(offset + 26, true) + header.getUint16(offset + 28, true);
}

/** The bytes of one entry, a view. @throws WeightsError if it is missing, cut off, or its CRC-32 is wrong. */
export function readEntry(
  bytes: Uint8Array,
  entries: ReadonlyMap<string, Entry>,
  name: string,
  label: string,
): Uint8Array {
  const entry = entries.get(name);
  if (entry === undefined) throw damaged(label, `its zip lacks ${quote(name)}`);
  if (entry.at + entry.size > bytes.length) throw damaged(label, `${quote(name)} goes beyond the end of the file`);
  const data = bytes.subarray(entry.at, entry.at + entry.size);
  if (crc32(data) !== entry.crc) throw damaged(label, `the checksum of ${quote(name)} is wrong`);
  return data;
}
