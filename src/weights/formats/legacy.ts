// PyTorch checkpoints from before version 1.6: no zip, but five pickles one after the other (a magic number, a version, facts about the machine, the
// object, the keys of its storages), then for each key the number of its elements (i64) and their bytes. The tar of version 0.1 is older still,
// and refused where files are opened. Invariant: every storage lies inside the file and has the size that the pickle says.

import type { Contents } from "./contents.ts";
import { unpickleAt } from "./pickle.ts";
import { quote, WeightsError } from "./tensor.ts";
import { type StorageRef, torchOptions } from "./torch_objects.ts";
import { torchContents } from "./torch_tensors.ts";
import { damaged, RESAVE } from "./torch_zip.ts";

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const COUNT_BYTES = 8;

/**
 * What is in an old PyTorch checkpoint, as `openPth`; null if it is a pickle of something else.
 * @throws WeightsError if it is damaged, or holds no dict with tensors
 */
export function openLegacy(bytes: Uint8Array, label: string): Contents | null {
  const foreign = new Set<string>();
  const storages = new Map<string, StorageRef>();
  const options = torchOptions({
    foreign: (name) => foreign.add(name),
    onStorage: (storage) => storages.set(storage.key, storage),
  });
  let at = 0;
  const next = (): unknown => {
    const { value, end } = unpickleAt(bytes, at, label, options);
    at = end;
    return value;
  };
  if (next() !== MAGIC) return null;
  const protocol = next();
  if (protocol !== PROTOCOL) throw damaged(label, `its protocol is not ${PROTOCOL}`);
  const machine = next();
  if (machine instanceof Map && machine.get("little_endian") === false) {
    throw new WeightsError(`Cannot read ${label}: it was saved on a big-endian machine. ${RESAVE}`);
  }
  const root = next();
  const keys = next();
  const places = placesOf(keys, at, { bytes, storages, label });
  return torchContents(root, foreign, {
    label,
    size: bytes.length,
    bytesOf: ({ key }) => {
      const place = places.get(key);
      if (place === undefined) throw damaged(label, `it lacks the storage ${quote(key)}`);
      return place;
    },
  });
}

/** Each storage's bytes, in the order of `keys`; what follows the last one is none of ours. */
function placesOf(
  keys: unknown,
  start: number,
  { bytes, storages, label }: { bytes: Uint8Array; storages: ReadonlyMap<string, StorageRef>; label: string },
): ReadonlyMap<string, Uint8Array> {
  if (!Array.isArray(keys)) throw damaged(label, "its list of storages is none");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const places = new Map<string, Uint8Array>();
  let at = start;
  for (const key of keys) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (storage === undefined) {
      const name = typeof key === "string" ? quote(key) : "without a name";
      throw damaged(label, `the type of its storage ${name} is not known, so what lies behind it cannot be found`);
    }
    if (places.has(storage.key)) throw damaged(label, `its storage ${quote(storage.key)} is listed twice`);
    const size = storage.count * storage.type.bytes;
    if (at + COUNT_BYTES + size > bytes.length) {
      throw damaged(label, `its storage ${quote(storage.key)} goes beyond the end of the file`);
    }
    const count = view.getBigInt64(at, true);
    if (count !== BigInt(storage.count)) {
      throw damaged(
        label,
        `its storage ${quote(storage.key)} has ${count} elements, and ${storage.count} are described`,
      );
    }
    at += COUNT_BYTES;
    places.set(storage.key, bytes.subarray(at, at + size));
    at += size;
  }
  return places;
}
