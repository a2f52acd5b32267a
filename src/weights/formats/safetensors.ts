// The safetensors format, written from its specification: 8 bytes of header length (u64, little-endian), a JSON header
// `{name: {dtype, shape, data_offsets}, __metadata__}` padded with spaces, then the tensors' bytes without gaps. Not a general library: it
// reads the float types only and always yields float32; tensors of other types may lie beside them. Invariant: nothing of a file is trusted; whatever decodes is complete and consistent.
// (The package safetensors 0.0.1 believes the header, fails where that has metadata, and writes nothing.)

import { type Contents, readAll, type Stored } from "./contents.ts";
import {
  alignedBytes,
  brainToFloat,
  elementCount,
  floatToHalf,
  halfToFloat,
  type HostTensor,
  listNames,
} from "./tensor.ts";
import {
  quote,
  readWholeFile,
  shapeText,
  type StateDict,
  type Weights,
  WeightsError,
  writeWholeFile,
} from "./tensor.ts";

const HEADER_LIMIT = 100_000_000;
const BYTES_OF = { F16: 2, BF16: 2, F32: 4, F64: 8 } as const;
type StoredType = keyof typeof BYTES_OF;

/** `metadata` becomes the header's `__metadata__`; `dtype` is how each tensor is stored (default f32; f16 rounds to nearest even). */
export type SafetensorsOptions = {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly dtype?: "f32" | "f16" | ((name: string, tensor: HostTensor) => "f32" | "f16");
};

type Entry = {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
};

/**
 * The bytes of a safetensors file with `tensors` in their order.
 * @throws WeightsError if a tensor's data does not match its shape, is named `__metadata__`, or does not fit f16.
 */
export function encodeSafetensors(tensors: StateDict, options: SafetensorsOptions = {}): Uint8Array {
  const { dtype } = options;
  const halves = new Set<string>();
  const header = new Map<string, unknown>();
  if (options.metadata !== undefined && Object.keys(options.metadata).length > 0) {
    header.set("__metadata__", options.metadata);
  }
  let offset = 0;
  for (const [name, tensor] of tensors) {
    const { shape, data } = tensor;
    if (name === "__metadata__") {
      throw new WeightsError(`Cannot store a tensor named "__metadata__": safetensors reserves it. Rename the tensor.`);
    }
    if (elementCount(shape) !== data.length) {
      throw new WeightsError(
        `Cannot store ${quote(name)}: its shape ${
          shapeText(shape)
        } does not match its ${data.length} elements, a shape that holds them all is needed.`,
      );
    }
    const half = (typeof dtype === "function" ? dtype(name, tensor) : dtype) === "f16";
    if (half) halves.add(name);
    const end = offset + data.length * (half ? 2 : 4);
    header.set(name, { dtype: half ? "F16" : "F32", shape, data_offsets: [offset, end] });
    offset = end;
  }
  // Object.fromEntries would let a tensor named "0" jump the queue and "__proto__" vanish: the text is joined by hand.
  const fields = Array.from(header, ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const text = new TextEncoder().encode(`{${fields.join(",")}}`);
  const start = 8 + Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(start + offset).fill(0x20, 8, start);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true);
  bytes.set(text, 8);
  let at = start;
  for (const [name, { data }] of tensors) {
    const part = halves.has(name) ? checkedHalf(name, data) : data;
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  return bytes;
}

/**
 * The tensors and metadata of a safetensors file, all of them; `label` names it in errors. F32 that happens to lie at a multiple of four bytes is a view
 * into `bytes`, everything else (F16, BF16, F64) is converted; F64 is rounded to float32.
 * @throws WeightsError for anything damaged, truncated, contradictory, or of another type.
 */
export function decodeSafetensors(bytes: Uint8Array, label: string): Weights {
  return readAll(openSafetensors(bytes, label));
}

/** As `decodeSafetensors`, each tensor when it is asked for: what is of another type is refused only then. @throws WeightsError */
export function openSafetensors(bytes: Uint8Array, label: string): Contents {
  if (bytes.length < 8) throw damaged(label, `it has ${bytes.length} bytes, and the header's length alone takes 8`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (length > HEADER_LIMIT) {
    throw damaged(
      label,
      `its first 8 bytes announce a header of ${length} bytes, more than ${HEADER_LIMIT} are never needed`,
    );
  }
  if (8 + length > bytes.length) {
    throw damaged(label, `its header of ${length} bytes goes beyond the file's ${bytes.length} bytes`);
  }
  const header = parseHeader(bytes.subarray(8, 8 + length), label);
  const start = 8 + length;
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__").map(([name, value]) =>
    checkEntry(name, value, label)
  );
  const tensors = new Map<string, Stored>();
  for (const entry of inOrder(entries, bytes.length - start, label)) {
    tensors.set(entry.name, () => ({ shape: entry.shape, data: readEntry(bytes, start, { ...entry, label }) }));
  }
  return { tensors, metadata: checkMetadata(header["__metadata__"], label), remarks: [] };
}

/** `decodeSafetensors` of a file. @throws WeightsError as there, and if it cannot be read. */
export async function readSafetensors(path: string): Promise<Weights> {
  return decodeSafetensors(await readWholeFile(path), path);
}

/**
 * Writes a safetensors file whole or not at all: beside `path` first, then renamed over it.
 * @throws WeightsError as `encodeSafetensors`, and if the folder cannot be written.
 */
export async function writeSafetensors(
  path: string,
  tensors: StateDict,
  options: SafetensorsOptions = {},
): Promise<void> {
  await writeWholeFile(path, encodeSafetensors(tensors, options));
}

function checkedHalf(name: string, data: Float32Array): Uint16Array {
  const half = floatToHalf(data);
  for (let i = 0; i < half.length; i++) {
    if ((half[i] & 0x7fff) === 0x7c00 && Number.isFinite(data[i])) {
      throw new WeightsError(
        `Cannot store ${quote(name)} as f16: element ${i} is ${data[i]}, beyond 65504. Store it as f32.`,
      );
    }
  }
  return half;
}

function parseHeader(bytes: Uint8Array, label: string): Record<string, unknown> {
  let header: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (cause) {
    throw damaged(label, "its header is not JSON", cause);
  }
  if (!isRecord(header)) throw damaged(label, "its header is not a JSON object");
  const twice = firstDuplicate(text);
  if (twice !== null) throw damaged(label, `its header names ${quote(twice)} twice`);
  return header;
}

/** The first key that occurs twice in one object of valid JSON text, or null: JSON.parse keeps the last of them without a word. */
function firstDuplicate(text: string): string | null {
  const seen: Set<string>[] = [];
  let token = ""; // the last string met, still quoted: a key if a colon follows
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case "{":
        seen.push(new Set());
        break;
      case "}":
        seen.pop();
        break;
      case '"': {
        const begin = at++;
        while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
        token = text.slice(begin, at + 1);
        break;
      }
      case ":": {
        const key: string = JSON.parse(token);
        const keys = seen[seen.length - 1];
        if (keys.has(key)) return key;
        keys.add(key);
      }
    }
  }
  return null;
}

function checkEntry(name: string, value: unknown, label: string): Entry {
  const { dtype, shape, data_offsets: offsets } = isRecord(value) ? value : {};
  if (typeof dtype !== "string" || !Array.isArray(shape) || !Array.isArray(offsets)) {
    throw damaged(label, `${quote(name)} lacks one of dtype, shape, data_offsets`);
  }
  const count = elementCount(shape);
  if (count === null) throw damaged(label, `${quote(name)} has the impossible shape ${listText(shape)}`);
  const [begin, end] = offsets;
  if (offsets.length !== 2 || !Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || begin < 0 || end < begin) {
    throw damaged(label, `${quote(name)} has the impossible data_offsets ${listText(offsets)}`);
  }
  const bits = dtype === "BOOL" ? 8 : Number(/^[A-Z]+(\d+)/.exec(dtype)?.[1] ?? NaN); // the specification's names say them
  if (Number.isNaN(bits)) throw unreadable({ name, type: dtype, label });
  const needed = count * bits / 8;
  if (end - begin !== needed) {
    throw damaged(
      label,
      `${quote(name)}, ${dtype}${shapeText(shape)}, needs ${needed} bytes, and its data_offsets span ${end - begin}`,
    );
  }
  return { name, type: dtype, shape, begin, end };
}

/** The entries as their data lies. The specification wants the data covered exactly: no overlap, no hole, nothing before or after. */
function inOrder(entries: readonly Entry[], available: number, label: string): readonly Entry[] {
  const sorted = entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of sorted) {
    if (begin < at) throw damaged(label, `${quote(name)} overlaps the tensor before it (byte ${begin} of its data)`);
    if (begin > at) throw damaged(label, `bytes ${at} to ${begin} of its data belong to no tensor`);
    at = end;
  }
  if (at > available) {
    const beyond = sorted.filter(({ end }) => end > available).map(({ name }) => name);
    throw damaged(
      label,
      `it holds ${available} bytes of data, its header describes ${at}: ${listNames(beyond)} cut off`,
    );
  }
  if (at < available) throw damaged(label, `${available - at} bytes follow its last tensor`);
  return sorted;
}

function checkMetadata(value: unknown, label: string): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  if (!isRecord(value)) throw damaged(label, "its __metadata__ is not an object");
  const pairs = Object.entries(value).map(([key, text]): [string, string] => {
    if (typeof text !== "string") throw damaged(label, `its __metadata__ has no text for ${quote(key)}`);
    return [key, text];
  });
  return Object.fromEntries(pairs);
}

function readEntry(
  bytes: Uint8Array,
  start: number,
  { name, type, begin, end, label }: Entry & { label: string },
): Float32Array {
  if (!isStoredType(type)) throw unreadable({ name, type, label });
  const part = alignedBytes(bytes, start + begin, end - begin, BYTES_OF[type]);
  const count = part.byteLength / BYTES_OF[type];
  switch (type) {
    case "F32":
      return new Float32Array(part.buffer, part.byteOffset, count);
    case "F64":
      return new Float32Array(new Float64Array(part.buffer, part.byteOffset, count));
    case "F16":
      return halfToFloat(new Uint16Array(part.buffer, part.byteOffset, count));
    case "BF16":
      return brainToFloat(new Uint16Array(part.buffer, part.byteOffset, count));
    default:
      return type satisfies never;
  }
}

/** A list from the header for an error: numbers as they are, of anything else only its type. */
function listText(values: readonly unknown[]): string {
  const shown = values.slice(0, 8).map((value) => typeof value === "number" ? value : typeof value).join(",");
  return `[${shown}${values.length > 8 ? ",..." : ""}]`;
}

function isStoredType(dtype: string): dtype is StoredType {
  return Object.hasOwn(BYTES_OF, dtype);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unreadable({ name, type, label }: { name: string; type: string; label: string }): WeightsError {
  const known = Object.keys(BYTES_OF).join(", ");
  return new WeightsError(
    `Cannot read ${label}: ${quote(name)} is stored as ${
      quote(type)
    }, and only ${known} are read. Convert the file to F32 or F16.`,
  );
}

function damaged(label: string, problem: string, cause?: unknown): WeightsError {
  return new WeightsError(
    `Cannot read ${label} as safetensors: ${problem}. The file is damaged or of another kind: fetch or export it again.`,
    { cause },
  );
}
