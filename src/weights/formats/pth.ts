// PyTorch checkpoints, `.pth` or `.bin`: a zip of stored entries, `NAME/data.pkl` (a pickle of the dict) and `NAME/data/0` ... (raw storages).
// It is not torch.load: only dicts of tensors are read, only names a state dict needs are allowed, and nothing is run. Invariant: a float32
// tensor that is contiguous is a view into the file's bytes, so a checkpoint costs its own size once.

import { type PickleGlobal, unpickle } from "./pickle.ts";
import { alignedBytes, brainToFloat, elementCount, halfToFloat, type HostTensor } from "./tensor.ts";
import { listNames, quote, readWholeFile, shapeText, type Weights, WeightsError } from "./tensor.ts";
import { damaged, listEntries, readEntry, RESAVE } from "./torch_zip.ts";

/** A storage class: bytes an element, and elements at an aligned place in memory as float32 (a view where they already are that). */
type StorageType = PickleGlobal & {
  readonly bytes: number;
  readonly read: (memory: ArrayBufferLike, at: number, count: number) => Float32Array;
};
type StorageRef = {
  readonly kind: "storage";
  readonly type: StorageType;
  readonly key: string;
  readonly count: number;
};
type Storage = { readonly ref: StorageRef; readonly floats: Float32Array };
/** What _rebuild_tensor_v2 returns: a window on a storage, nothing read yet. Offset and strides count elements. */
type TensorRef = {
  readonly kind: "tensor";
  readonly storage: StorageRef;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
};

/** What an nn.Module's name may be wrapped in, outermost first; the teacher is the network that DINO publishes. */
const WRAPPERS = ["teacher", "state_dict", "model"] as const;

const STORAGES: readonly StorageType[] = [
  storage("Float", 4, (memory, at, count) => new Float32Array(memory, at, count)),
  storage("Half", 2, (memory, at, count) => halfToFloat(new Uint16Array(memory, at, count))),
  storage("BFloat16", 2, (memory, at, count) => brainToFloat(new Uint16Array(memory, at, count))),
  storage("Double", 8, (memory, at, count) => new Float32Array(new Float64Array(memory, at, count))),
  storage("Long", 8, (memory, at, count) => Float32Array.from(new BigInt64Array(memory, at, count), Number)),
  storage("Int", 4, (memory, at, count) => new Float32Array(new Int32Array(memory, at, count))),
  storage("Short", 2, (memory, at, count) => new Float32Array(new Int16Array(memory, at, count))),
  storage("Char", 1, (memory, at, count) => new Float32Array(new Int8Array(memory, at, count))),
  storage("Byte", 1, (memory, at, count) => new Float32Array(new Uint8Array(memory, at, count))),
  storage("Bool", 1, (memory, at, count) => new Float32Array(new Uint8Array(memory, at, count))),
];

function storage(name: string, bytes: number, read: StorageType["read"]): StorageType {
  return { name: `torch.${name}Storage`, bytes, read };
}

/** Every name a pickle may mention. */
const GLOBALS: ReadonlyMap<string, PickleGlobal> = new Map(
  [
    ...STORAGES,
    { name: "collections.OrderedDict", call: orderedDict },
    { name: "torch._utils._rebuild_tensor_v2", call: rebuildTensor },
    { name: "torch._utils._rebuild_parameter", call: rebuildParameter },
  ].map((global): [string, PickleGlobal] => [global.name, global]),
);

/**
 * The tensors of a PyTorch checkpoint as float32 (doubles and integers rounded), wrappers such as {"teacher": ...} and the name prefixes
 * `module.`, `backbone.` taken off; `label` names the file in errors. The metadata says which wrapper was opened, if any.
 * @throws WeightsError if the zip or a storage is damaged, or the pickle holds anything but a dict of tensors.
 */
export async function decodePth(bytes: Uint8Array, label: string): Promise<Weights> {
  const entries = await listEntries(bytes, label);
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw new WeightsError(
      `Cannot read ${label} as a PyTorch checkpoint: the zip has ${pickles.length} entries NAME/data.pkl, not one. ${RESAVE}`,
    );
  }
  const folder = pickles[0].slice(0, -"data.pkl".length);
  const read = (name: string) => readEntry(bytes, entries, folder + name, label);
  if (entries.has(`${folder}byteorder`) && new TextDecoder().decode(read("byteorder")) !== "little") {
    throw new WeightsError(`Cannot read ${label}: it was saved on a big-endian machine. ${RESAVE}`);
  }
  const root = unpickle(read("data.pkl"), label, { globals: GLOBALS, persistent: storageOf });
  const { dict, wrapper } = stateDictOf(root, label);
  const tensors = new Map<string, HostTensor>();
  const storages = new Map<string, Storage>();
  let budget = 2 ** 24 + bytes.length; // elements that may be copied out of strided views: an expanded scalar must not fill the memory
  for (const [key, value] of dict) {
    if (typeof key !== "string" || !isTensor(value)) continue;
    const name = withoutPrefix(key);
    if (tensors.has(name)) {
      throw new WeightsError(
        `Cannot read ${label}: ${quote(key)} and another tensor are both called ${quote(name)}. ${RESAVE}`,
      );
    }
    checkWindow(name, value, label);
    const { ref, floats } = storages.get(value.storage.key) ??
      loadStorage(value.storage, read(`data/${value.storage.key}`), label);
    if (ref.type !== value.storage.type || ref.count !== value.storage.count) {
      throw damaged(label, `storage ${quote(ref.key)} is described in two ways`);
    }
    storages.set(ref.key, { ref, floats });
    const contiguous = isContiguous(value);
    if (!contiguous && (budget -= elementCount(value.shape) ?? Infinity) < 0) {
      throw new WeightsError(
        `Cannot read ${label}: ${quote(name)}, ${
          shapeText(value.shape)
        }, repeats its data beyond all measure. ${RESAVE}`,
      );
    }
    tensors.set(name, { shape: [...value.shape], data: contiguous ? viewOf(value, floats) : gather(value, floats) });
  }
  return { tensors, metadata: wrapper === "" ? {} : { wrapper } };
}

/** `decodePth` of a file. @throws WeightsError as there, and if it cannot be read. */
export async function readPth(path: string): Promise<Weights> {
  return await decodePth(await readWholeFile(path), path);
}

/** `name` without the prefixes that data-parallel training (`module.`) and DINO's multi-crop wrapper (`backbone.`) add. */
export function withoutPrefix(name: string): string {
  return name.replace(/^(?:module\.)?(?:backbone\.)?/, "");
}

/** What PyTorch calls to rebuild an ordered dict: without arguments, or with one list of pairs. */
function orderedDict([pairs = []]: readonly unknown[]): Map<unknown, unknown> {
  if (!Array.isArray(pairs)) throw new Error("an OrderedDict of something that is no list");
  return new Map(pairs.map((pair: unknown): [unknown, unknown] => {
    if (!Array.isArray(pair) || pair.length !== 2) throw new Error("an OrderedDict of something that is no pair");
    return [pair[0], pair[1]];
  }));
}

/** `_rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata])`; the last three say nothing here. */
function rebuildTensor([storage, offset, shape, strides]: readonly unknown[]): TensorRef {
  if (
    !isStorage(storage) || !isCount(offset) || !isCounts(shape) || !isCounts(strides) || strides.length !== shape.length
  ) {
    throw new Error("a tensor whose storage, offset, size or stride is not what it should be");
  }
  return { kind: "tensor", storage, offset, shape: [...shape], strides: [...strides] };
}

function rebuildParameter([data]: readonly unknown[]): TensorRef {
  if (!isTensor(data)) throw new Error("a parameter that is no tensor");
  return data;
}

/** A persistent id: `("storage", class, key, device, element count)`; the key is the entry's name under `data/`. */
function storageOf(id: unknown): StorageRef {
  const [kind, type, key, , count] = Array.isArray(id) ? id : [];
  const known = STORAGES.find((storage) => storage === type);
  if (kind !== "storage" || known === undefined || typeof key !== "string" || !isCount(count)) {
    throw new Error("a reference to something that is no storage of a known type");
  }
  return { kind: "storage", type: known, key, count };
}

/** The dict that holds the tensors, under at most three wrappers. */
function stateDictOf(root: unknown, label: string): { dict: ReadonlyMap<unknown, unknown>; wrapper: string } {
  const opened: string[] = [];
  let dict = root;
  while (dict instanceof Map) {
    const current: Map<unknown, unknown> = dict;
    const inner = WRAPPERS.find((name) => current.get(name) instanceof Map);
    if (inner === undefined || opened.length === WRAPPERS.length) break;
    opened.push(inner);
    dict = current.get(inner);
  }
  if (dict instanceof Map && [...dict.values()].some(isTensor)) return { dict, wrapper: opened.join(".") };
  const found = dict instanceof Map
    ? `its dict has no tensors, only ${listNames([...dict.keys()].map(String)) || "nothing"}`
    : "it does not hold a dict";
  throw new WeightsError(
    `Cannot read ${label} as weights: ${found}; a state dict was expected, bare or under ${
      WRAPPERS.join(", ")
    }. ${RESAVE}`,
  );
}

/** A storage as float32, converted once however many tensors share it; torch.save writes exactly its elements. */
function loadStorage(ref: StorageRef, raw: Uint8Array, label: string): Storage {
  const { type, key, count } = ref;
  if (raw.length !== count * type.bytes) {
    throw damaged(
      label,
      `storage ${quote(key)} has ${raw.length} bytes, and ${count} elements of ${type.name} are ${count * type.bytes}`,
    );
  }
  const aligned = alignedBytes(raw, 0, raw.length, type.bytes);
  return { ref, floats: type.read(aligned.buffer, aligned.byteOffset, count) };
}

function checkWindow(name: string, { storage, offset, shape, strides }: TensorRef, label: string): void {
  const count = elementCount(shape);
  const last = shape.reduce((sum, size, i) => sum + (size - 1) * strides[i], offset);
  if (count === null || (count > 0 && !(last < storage.count))) {
    throw damaged(
      label,
      `${quote(name)}, ${shapeText(shape)}, reaches beyond its storage of ${storage.count} elements`,
    );
  }
}

/** Row-major without gaps; the stride of a dimension of size one never matters. */
function isContiguous({ shape, strides }: TensorRef): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return shape.includes(0);
    expected *= shape[i];
  }
  return true;
}

function viewOf({ offset, shape }: TensorRef, floats: Float32Array): Float32Array {
  return floats.subarray(offset, offset + (elementCount(shape) ?? 0));
}

/** A strided window copied row by row into a dense array: `at` walks the storage like an odometer over all dimensions but the last. */
function gather({ offset, shape, strides }: TensorRef, floats: Float32Array): Float32Array {
  const out = new Float32Array(elementCount(shape) ?? 0);
  const inner = shape.length - 1;
  const index = new Array<number>(inner).fill(0);
  let at = offset;
  for (let written = 0; written < out.length;) {
    for (let i = 0; i < shape[inner]; i++) out[written++] = floats[at + i * strides[inner]];
    for (let d = inner - 1; d >= 0; d--) {
      at += strides[d];
      if (++index[d] < shape[d]) break;
      at -= shape[d] * strides[d];
      index[d] = 0;
    }
  }
  return out;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length <= 16 && value.every(isCount);
}

function isStorage(value: unknown): value is StorageRef {
  return hasKind(value, "storage");
}

function isTensor(value: unknown): value is TensorRef {
  return hasKind(value, "tensor");
}

/** Only this file makes plain objects while unpickling: dicts are Maps, so a pickle cannot forge one. */
function hasKind(value: unknown, kind: string): boolean {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}
