// The zip container of a PyTorch checkpoint: where each entry's bytes lie in a file that is in memory, and what they are once inflated. It is no
// general unzipper: one disk, stored or deflated entries. Invariant: an entry lies inside the file, its CRC-32 was right, and it inflates to
// exactly the size its directory announced. (The directory is read here because @zip.js/zip.js 2.24 looks for it where the plain end record
// would have it, although PyTorch always puts 76 bytes of zip64 records before that: a directory whose first entry has 76 bytes too, as where
// the file's stem had 21 characters when it was saved, is then read from its second entry on, and the file called damaged.)

import { crc32, inflateRawSync } from "node:zlib";
import { messageOf, quote, WeightsError } from "./tensor.ts";

/** Where an entry's bytes lie in the file, and what they become. */
export type Entry = {
  readonly at: number;
  readonly packed: number;
  readonly size: number;
  readonly crc: number;
  readonly deflated: boolean;
};

const ENTRY_LIMIT = 100_000;
/** How much more than the file's own size its entries may hold, so that inflating them cannot fill the memory. Weights shrink by a tenth. */
const EXPANSION = { factor: 16, bytes: 2 ** 24 };

const SIGNATURE = { local: 0x04034b50, entry: 0x02014b50, end: 0x06054b50, end64: 0x06064b50, locator64: 0x07064b50 };
const SIZE = { local: 30, entry: 46, end: 22, end64: 56, locator64: 20 };
const NONE_16 = 0xffff;
const NONE_32 = 0xffffffff;

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
 * The entries of a zip by name, without those for folders; `label` names the file in errors.
 * @throws WeightsError if the directory is damaged, or entries are encrypted, doubled, overlapping (larger than the file in sum), packed by
 * another method than deflate, or would inflate beyond all measure.
 */
export function listEntries(bytes: Uint8Array, label: string): ReadonlyMap<string, Entry> {
  const entries = new Map<string, Entry>();
  const utf8 = new TextDecoder();
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const directory = findDirectory(view);
    let at = directory.at;
    for (let i = 0; i < directory.count; i++) {
      const entry = readEntryHeader(view, at, utf8);
      at = entry.next;
      if (entry.name.endsWith("/")) continue;
      const { name, method } = entry;
      if (entries.size >= ENTRY_LIMIT) throw new Error(`more than ${ENTRY_LIMIT} entries`);
      if (entries.has(name)) throw damaged(label, `its zip has two entries ${quote(name)}`);
      if (entry.encrypted || (method !== 0 && method !== 8)) {
        const how = entry.encrypted ? "encrypted" : `packed by the method ${method}`;
        throw new WeightsError(
          `Cannot read ${label}: its entry ${quote(name)} is ${how}, and stored or deflated ones are read. ${RESAVE}`,
        );
      }
      if (method === 0 && entry.packed !== entry.size) {
        throw new Error(`${quote(name)} is stored and has two sizes`);
      }
      const place = dataStart(view, entry.offset, { name, label });
      if (place + entry.packed > bytes.length) throw damaged(label, `${quote(name)} goes beyond the end of the file`);
      entries.set(name, {
        at: place,
        packed: entry.packed,
        size: entry.size,
        crc: entry.crc,
        deflated: method === 8,
      });
    }
  } catch (cause) {
    if (cause instanceof WeightsError) throw cause;
    throw damaged(label, `its zip directory cannot be read (${messageOf(cause)})`, cause);
  }
  checkSums(entries, bytes.length, label);
  return entries;
}

function checkSums(entries: ReadonlyMap<string, Entry>, length: number, label: string): void {
  let packed = 0;
  let size = 0;
  for (const entry of entries.values()) {
    packed += entry.packed;
    size += entry.size;
  }
  if (packed > length) throw damaged(label, `its zip entries announce ${packed} bytes, the file has ${length}`);
  if (size > EXPANSION.factor * length + EXPANSION.bytes) {
    throw new WeightsError(
      `Cannot read ${label}: its ${length} bytes would become ${size} when unpacked, which no weights do. ${RESAVE}`,
    );
  }
}

/** By the end record, which is the file's last but for a comment, or by the zip64 record where that says so. @throws Error */
function findDirectory(view: DataView): { readonly at: number; readonly count: number } {
  const end = findEnd(view);
  const [count, at] = [view.getUint16(end + 10, true), view.getUint32(end + 16, true)];
  if (count !== NONE_16 && at !== NONE_32 && view.getUint32(end + 12, true) !== NONE_32) return { at, count };
  const locator = end - SIZE.locator64;
  if (view.getUint32(locator, true) !== SIGNATURE.locator64) throw new Error("its zip64 records are missing");
  const end64 = wide(view, locator + 8);
  if (view.getUint32(end64, true) !== SIGNATURE.end64) {
    throw new Error("its zip64 end record is not where it should be");
  }
  return { at: wide(view, end64 + 48), count: wide(view, end64 + 32) };
}

function findEnd(view: DataView): number {
  const last = view.byteLength - SIZE.end;
  for (let at = last; at >= Math.max(0, last - NONE_16); at--) {
    if (view.getUint32(at, true) !== SIGNATURE.end) continue;
    if (at + SIZE.end + view.getUint16(at + 20, true) === view.byteLength) return at;
  }
  throw new Error("it has no end record");
}

/** One entry of the directory; sizes and place beyond 32 bits are in its zip64 field. @throws Error, RangeError beyond the file */
function readEntryHeader(view: DataView, at: number, utf8: TextDecoder) {
  if (view.getUint32(at, true) !== SIGNATURE.entry) throw new Error(`it has no entry at byte ${at}`);
  const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
  const extra = at + SIZE.entry + nameLength;
  const next = extra + extraLength + commentLength;
  if (next > view.byteLength) throw new Error("it ends in the middle of an entry");
  let [packed, size, offset] = [20, 24, 42].map((field) => view.getUint32(at + field, true));
  for (let field = extra; field + 4 <= extra + extraLength; field += 4 + view.getUint16(field + 2, true)) {
    if (view.getUint16(field, true) !== 1) continue;
    let value = field + 4; // those that do not fit the header, in this order
    if (size === NONE_32) [size, value] = [wide(view, value), value + 8];
    if (packed === NONE_32) [packed, value] = [wide(view, value), value + 8];
    if (offset === NONE_32) offset = wide(view, value);
  }
  return {
    name: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + at + SIZE.entry, nameLength)),
    encrypted: (view.getUint16(at + 8, true) & 1) !== 0,
    method: view.getUint16(at + 10, true),
    crc: view.getUint32(at + 16, true),
    packed,
    size,
    offset,
    next,
  };
}

/** A 64-bit number; beyond 2^53 it is no place in a file anyway. */
function wide(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

/** The directory says where an entry's local header is; its data follows that header, whose padding PyTorch uses to align it to 64 bytes. */
function dataStart(view: DataView, offset: number, { name, label }: { name: string; label: string }): number {
  if (!(offset + SIZE.local <= view.byteLength) || view.getUint32(offset, true) !== SIGNATURE.local) {
    throw damaged(label, `its zip has no entry ${quote(name)} at byte ${offset}`);
  }
  return offset + SIZE.local + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
}

/** The bytes of one entry, a view where it is stored. @throws WeightsError if it is missing, does not inflate, or its CRC-32 is wrong. */
export function readEntry(
  bytes: Uint8Array,
  entries: ReadonlyMap<string, Entry>,
  name: string,
  label: string,
): Uint8Array {
  const entry = entries.get(name);
  if (entry === undefined) throw damaged(label, `its zip lacks ${quote(name)}`);
  const packed = bytes.subarray(entry.at, entry.at + entry.packed);
  const data = entry.deflated ? inflated(packed, entry, { name, label }) : packed;
  if (crc32(data) !== entry.crc) throw damaged(label, `the checksum of ${quote(name)} is wrong`);
  return data;
}

function inflated(packed: Uint8Array, { size }: Entry, { name, label }: { name: string; label: string }): Uint8Array {
  let data: Uint8Array;
  try {
    data = inflateRawSync(packed, { maxOutputLength: Math.max(1, size) });
  } catch (cause) {
    throw damaged(label, `${quote(name)} cannot be inflated to its ${size} bytes (${messageOf(cause)})`, cause);
  }
  if (data.length !== size) throw damaged(label, `${quote(name)} has ${data.length} bytes, and ${size} were announced`);
  return data;
}
