// From windows on storages to dense tensors: what both of PyTorch's containers have in common once their pickle is read. It knows no container:
// its caller says where the bytes of a storage are. Invariant: a float32 tensor that is contiguous is a view into the storage's bytes, a
// storage is converted once however many tensors share it, and windows that repeat elements cannot fill the memory.

import type { Contents, Stored } from "./contents.ts";
import { Inert } from "./pickle_machine.ts";
import { alignedBytes, elementCount, type HostTensor, listNames, quote, shapeText, WeightsError } from "./tensor.ts";
import { type StorageRef, type TensorRef, tensorsIn } from "./torch_objects.ts";
import { damaged, RESAVE } from "./torch_zip.ts";

type Storage = { readonly ref: StorageRef; readonly floats: Float32Array };
type Source = { readonly label: string; readonly bytesOf: (storage: StorageRef) => Uint8Array; readonly size: number };

/** Names from Python's and PyTorch's own shelves that training programs save beside weights; nobody needs to be told of them. */
const USUAL =
  /^(?:argparse\.Namespace|pathlib\.\w+|_codecs\.encode|datetime\.\w+|collections\.\w+|(?:builtins|__builtin__)\.(?:set|frozenset|list|tuple|dict|int|float|complex|bool|str|bytearray|object|slice|range)|copy_?reg\._reconstructor|(?:numpy|torch)\.(?!.*(?:load|hub|fromfile)).+)$/;

/**
 * The tensors in what a file's pickle described; `bytesOf` gives a storage's bytes, `size` is the file's, `foreign` the names that were not known.
 * @throws WeightsError if it is no dict, or holds no tensors
 */
export function torchContents(root: unknown, foreign: ReadonlySet<string>, source: Source): Contents {
  const { label } = source;
  const named = namesIn(root, label);
  const storages = new Map<string, Storage>();
  let budget = 2 ** 24 + source.size; // elements that may be copied out of strided views: an expanded scalar must not fill the memory
  const storageOf = (ref: StorageRef): Float32Array => {
    const known = storages.get(ref.key) ?? loadStorage(ref, source);
    if (known.ref.type !== ref.type || known.ref.count !== ref.count) {
      throw damaged(label, `storage ${quote(ref.key)} is described in two ways`);
    }
    storages.set(ref.key, known);
    return known.floats;
  };
  const read = (name: string, ref: TensorRef): HostTensor => {
    checkWindow(name, ref, label);
    const floats = storageOf(ref.storage);
    const contiguous = isContiguous(ref);
    if (!contiguous && (budget -= elementCount(ref.shape) ?? Infinity) < 0) {
      throw new WeightsError(
        `Cannot read ${label}: ${quote(name)}, ${shapeText(ref.shape)}, repeats its data beyond all measure. ${RESAVE}`,
      );
    }
    return { shape: [...ref.shape], data: contiguous ? viewOf(ref, floats) : gather(ref, floats) };
  };
  const tensors = new Map<string, Stored>();
  for (const { name, value } of named) {
    if (tensors.has(name)) throw damaged(label, `two of its tensors are called ${quote(name)}`);
    tensors.set(name, value instanceof Inert ? () => refuse(name, value, label) : () => read(name, value));
  }
  return { tensors, metadata: {}, remarks: strangers(foreign, label) };
}

function namesIn(root: unknown, label: string) {
  let named: ReturnType<typeof tensorsIn>;
  try {
    named = tensorsIn(root);
  } catch (cause) {
    throw damaged(label, cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (named !== null && named.length > 0) return named;
  const texts = root instanceof Map ? [...root.keys()].filter((key) => typeof key === "string") : [];
  const found = named !== null
    ? `its dict has no tensors, only ${listNames(texts) || "nothing"}`
    : root instanceof Inert
    ? `it holds an object of ${quote(root.name)}, a program of which nothing was run, and not a dict`
    : "it does not hold a dict";
  throw new WeightsError(
    `Cannot read ${label} as weights: ${found}; a state dict was expected, bare or in a dict of a training program. ${RESAVE}`,
  );
}

function refuse(name: string, { name: foreign }: Inert, label: string): never {
  throw new WeightsError(
    `Cannot read ${label}: its tensor ${quote(name)} is made by ${
      quote(foreign)
    }, which is not among the names that weights need. Nothing of it was run. If you trust the file, ` +
      `load it with PyTorch and save its tensors as plain float32: torch.save({k: v.float() for k, v in model.state_dict().items()}, "weights.pth").`,
  );
}

function strangers(foreign: ReadonlySet<string>, label: string): readonly string[] {
  const names = [...foreign].filter((name) => !USUAL.test(name));
  if (names.length === 0) return [];
  return [`${label} also holds objects of ${listNames(names)}: they are left alone, and nothing of them was run`];
}

/** A storage as float32; torch.save writes exactly its elements. */
function loadStorage(ref: StorageRef, { label, bytesOf }: Source): Storage {
  const { type, key, count } = ref;
  if (type.read === null) {
    throw new WeightsError(
      `Cannot read ${label}: a tensor that is needed is stored in a ${type.name}, whose numbers are not read. ` +
        `Convert it with PyTorch: torch.save({k: v.float() for k, v in model.state_dict().items()}, "weights.pth").`,
    );
  }
  const raw = bytesOf(ref);
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
  const last = shape.reduce((sum, size, i) => sum + (size - 1) * strides[i], storage.begin + offset);
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

function viewOf({ storage, offset, shape }: TensorRef, floats: Float32Array): Float32Array {
  const begin = storage.begin + offset;
  return floats.subarray(begin, begin + (elementCount(shape) ?? 0));
}

/** A strided window copied row by row into a dense array: `at` walks the storage like an odometer over all dimensions but the last. */
function gather({ storage, offset, shape, strides }: TensorRef, floats: Float32Array): Float32Array {
  const out = new Float32Array(elementCount(shape) ?? 0);
  const inner = shape.length - 1;
  const index = new Array<number>(inner).fill(0);
  let at = storage.begin + offset;
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
