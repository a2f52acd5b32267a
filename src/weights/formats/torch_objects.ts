// What PyTorch's names mean in a pickle: storages, tensors as windows on them, ordered dicts; and which of an unpickled object's values are
// tensors, under which names. Nothing of a storage is read here. Invariant: a TensorRef is made by this file alone, of a storage of a known
// type; whatever else a pickle builds of a tensor is `Inert`, and says by which name.

import { Inert, type PickleGlobal, type PickleOptions } from "./pickle_machine.ts";
import { brainToFloat, halfToFloat } from "./tensor.ts";

/** A storage class: bytes an element, and elements at an aligned place in memory as float32 (a view where they already are that); null: no weights. */
export type StorageType = PickleGlobal & {
  readonly bytes: number;
  readonly read: ((memory: ArrayBufferLike, at: number, count: number) => Float32Array) | null;
};
/** `count` elements, all of the storage `key`; of the storages before PyTorch 0.4 that were views of others, `begin` is where they begin. */
export type StorageRef = {
  readonly kind: "storage";
  readonly type: StorageType;
  readonly key: string;
  readonly count: number;
  readonly begin: number;
};
/** What _rebuild_tensor_v2 returns: a window on a storage, nothing read yet. Offset and strides count elements. */
export type TensorRef = {
  readonly kind: "tensor";
  readonly storage: StorageRef;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
};

const STORAGES: readonly StorageType[] = [
  storage("torch.FloatStorage", 4, (memory, at, count) => new Float32Array(memory, at, count)),
  storage("torch.HalfStorage", 2, (memory, at, count) => halfToFloat(new Uint16Array(memory, at, count))),
  storage("torch.BFloat16Storage", 2, (memory, at, count) => brainToFloat(new Uint16Array(memory, at, count))),
  storage("torch.DoubleStorage", 8, (memory, at, count) => new Float32Array(new Float64Array(memory, at, count))),
  storage(
    "torch.LongStorage",
    8,
    (memory, at, count) => Float32Array.from(new BigInt64Array(memory, at, count), Number),
  ),
  storage("torch.IntStorage", 4, (memory, at, count) => new Float32Array(new Int32Array(memory, at, count))),
  storage("torch.ShortStorage", 2, (memory, at, count) => new Float32Array(new Int16Array(memory, at, count))),
  storage("torch.CharStorage", 1, (memory, at, count) => new Float32Array(new Int8Array(memory, at, count))),
  storage("torch.ByteStorage", 1, (memory, at, count) => new Float32Array(new Uint8Array(memory, at, count))),
  storage("torch.BoolStorage", 1, (memory, at, count) => new Float32Array(new Uint8Array(memory, at, count))),
  storage("torch.ComplexFloatStorage", 8, null),
  storage("torch.ComplexDoubleStorage", 16, null),
  storage("torch.QInt8Storage", 1, null),
  storage("torch.QUInt8Storage", 1, null),
  storage("torch.QInt32Storage", 4, null),
  storage("torch.storage.UntypedStorage", 1, null),
];

/** Types a tensor may be said to have and still be nothing but a tensor. */
const PLAIN_TENSORS = ["torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter"];

/** Elements that `OrderedDict(list of pairs)` may copy in one pickle, which can name one list often. */
const PAIR_LIMIT = 1_000_000;

function storage(name: string, bytes: number, read: StorageType["read"]): StorageType {
  return { name, bytes, read };
}

/** What `unpickle` needs for one file of PyTorch; `foreign` as there, `onStorage` is told of every storage that is mentioned. */
export function torchOptions(
  { foreign, onStorage = () => {} }: {
    readonly foreign: (name: string) => void;
    readonly onStorage?: (storage: StorageRef) => void;
  },
): PickleOptions {
  const rebuildV2: PickleGlobal = { name: "torch._utils._rebuild_tensor_v2", call: rebuildTensor };
  const globals: readonly PickleGlobal[] = [
    ...STORAGES,
    rebuildV2,
    { name: "collections.OrderedDict", call: orderedDicts() },
    { name: "torch._utils._rebuild_tensor", call: rebuildTensor },
    { name: "torch._utils._rebuild_parameter", call: rebuildParameter },
    { name: "torch._utils._rebuild_parameter_with_state", call: rebuildParameter },
    { name: "torch._tensor._rebuild_from_type_v2", call: (args) => rebuildFromType(args, rebuildV2) },
    ...PLAIN_TENSORS.map((name) => ({ name })),
  ];
  return {
    globals: new Map(globals.map((global) => [global.name, global])),
    persistent(id) {
      const found = storageOf(id);
      if (!(found instanceof Inert)) onStorage(found);
      return found;
    },
    foreign,
  };
}

/** What PyTorch calls to rebuild an ordered dict: without arguments, or (Python 2) with one list of pairs. */
function orderedDicts(): (args: readonly unknown[]) => Map<unknown, unknown> {
  let left = PAIR_LIMIT;
  return ([pairs = []]) => {
    if (!Array.isArray(pairs)) throw new Error("an OrderedDict of something that is no list");
    left -= pairs.length;
    if (left < 0) throw new Error(`OrderedDicts of more than ${PAIR_LIMIT} pairs`);
    return new Map(pairs.map((pair: unknown): [unknown, unknown] => {
      if (!Array.isArray(pair) || pair.length !== 2) throw new Error("an OrderedDict of something that is no pair");
      return [pair[0], pair[1]];
    }));
  };
}

/** `_rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata])`; the last three say nothing here. */
function rebuildTensor(args: readonly unknown[]): TensorRef | Inert {
  const [storage, offset, shape, strides] = args;
  if (storage instanceof Inert) return new Inert(storage.name, { isObject: true, parts: [args] });
  if (
    !isStorage(storage) || !isCount(offset) || !isCounts(shape) || !isCounts(strides) || strides.length !== shape.length
  ) {
    throw new Error("a tensor whose storage, offset, size or stride is not what it should be");
  }
  return { kind: "tensor", storage, offset, shape: [...shape], strides: [...strides] };
}

/** `_rebuild_parameter(data, requires_grad, backward_hooks[, state])`. */
function rebuildParameter([data]: readonly unknown[]): TensorRef | Inert {
  if (!isTensor(data) && !(data instanceof Inert)) throw new Error("a parameter that is no tensor");
  return data;
}

/** `_rebuild_from_type_v2(function, type, arguments, state)`: a tensor with attributes, or of a class of somebody's own. */
function rebuildFromType(args: readonly unknown[], rebuild: PickleGlobal): unknown {
  const [callee, type, inner] = args;
  const plain = typeof type === "object" && type !== null && "name" in type && !(type instanceof Inert) &&
    typeof type.name === "string" && PLAIN_TENSORS.includes(type.name);
  if (plain && callee === rebuild && Array.isArray(inner)) return rebuildTensor(inner);
  const name = type instanceof Inert ? type.name : "torch._tensor._rebuild_from_type_v2";
  return new Inert(name, { isObject: true, parts: [args] });
}

/**
 * A persistent id: `("storage", class, key, device, element count)`, before PyTorch 1.6 with `(view's key, offset, count)` or None behind;
 * the key is the entry's name under `data/`. Those files also name the sources of modules: `("module", class, file, text)`.
 */
function storageOf(id: unknown): StorageRef | Inert {
  const [kind, type, key, , count, view = null] = Array.isArray(id) ? id : [];
  if (kind === "module" && type instanceof Inert) return type;
  if (kind === "storage" && type instanceof Inert) return new Inert(type.name, { isObject: true, parts: [FOREIGN] });
  const known = STORAGES.find((storage) => storage === type);
  if (kind !== "storage" || known === undefined || typeof key !== "string" || !isCount(count)) {
    throw new Error("a reference to something that is no storage of a known type");
  }
  if (view === null) return { kind: "storage", type: known, key, count, begin: 0 };
  const [, begin, size] = Array.isArray(view) ? view : [];
  if (!isCount(begin) || !isCount(size) || begin + size > count) {
    throw new Error("a view of a storage that does not lie in it");
  }
  return { kind: "storage", type: known, key, count, begin };
}

/** Stands for the data of a storage of an unknown class. */
const FOREIGN: unique symbol = Symbol("data of a foreign storage");

/** Values and dicts that are looked at while names are collected: a pickle can nest one dict in itself many times over. */
const LOOK_LIMIT = 1_000_000;
const DEPTH_LIMIT = 6;

export type Named = { readonly name: string; readonly value: TensorRef | Inert };

/**
 * The tensors in a dict, and in the dicts in it, which lend their keys to the names ("teacher.norm.bias"); an `Inert` among them is one that
 * was built of a storage or of tensors. Null if `root` is no dict. @throws Error if there are too many
 */
export function tensorsIn(root: unknown): readonly Named[] | null {
  const top = dictOf(root);
  if (top === null) return null;
  const found: Named[] = [];
  let looks = LOOK_LIMIT;
  const visit = (dict: ReadonlyMap<unknown, unknown>, path: string, depth: number): void => {
    for (const [key, value] of dict) {
      if (--looks < 0) throw new Error(`more than ${LOOK_LIMIT} values in its dicts`);
      if (typeof key !== "string") continue;
      const name = path + key;
      const inner = dictOf(value);
      if (isTensor(value)) found.push({ name, value });
      else if (value instanceof Inert && holdsData(value)) found.push({ name, value });
      else if (inner !== null && depth < DEPTH_LIMIT) visit(inner, `${name}.`, depth + 1);
    }
  };
  visit(top, "", 1);
  return found;
}

/** A dict, or what was set in an object of a class that is one (defaultdict, a lab's own). */
function dictOf(value: unknown): ReadonlyMap<unknown, unknown> | null {
  return value instanceof Map ? value : value instanceof Inert ? value.items : null;
}

/** Whether an inert object was built of a storage or a tensor: of its arguments, or of what they are built of. */
function holdsData(value: Inert): boolean {
  const seen = new Set<unknown>();
  const waiting: unknown[] = [...value.parts.slice(0, 16)];
  for (let at = 0; at < waiting.length && at < 256; at++) {
    const part = waiting[at];
    if (part === FOREIGN || isTensor(part) || isStorage(part)) return true;
    if (seen.has(part)) continue;
    seen.add(part);
    if (Array.isArray(part)) waiting.push(...part.slice(0, 16));
    else if (part instanceof Inert) waiting.push(...part.parts.slice(0, 16));
  }
  return false;
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

/** Only this file makes objects with a `kind` while unpickling: dicts are Maps, and the rest is Inert, so a pickle cannot forge one. */
function hasKind(value: unknown, kind: string): boolean {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}
