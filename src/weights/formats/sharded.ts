// Weights in several files, as Hugging Face writes large models: an index, `model.safetensors.index.json` or `pytorch_model.bin.index.json`, says
// which tensor lies in which file of its folder. It knows no format of these files. Invariant: nothing outside the index's folder is opened, and
// every tensor the index names is where it says.

import { basename, dirname, join } from "node:path";
import { z } from "zod";
import type { Contents, Stored } from "./contents.ts";
import { listNames, messageOf, quote, readWholeFile, WeightsError } from "./tensor.ts";

const INDEX = /\.index\.json$/;
const SHARD = /^(.+)-\d{5}-of-(\d{5})(\.safetensors|\.bin)$/;
/** What may be opened in a folder, best first; the last two are whole models. */
const IN_FOLDER = [
  "model.safetensors.index.json",
  "pytorch_model.bin.index.json",
  "model.safetensors",
  "pytorch_model.bin",
];
const INDEX_LIMIT = 2 ** 26;
const SHARD_LIMIT = 1000;
/** No single file larger than 4 GiB is read, and of shards no more than the memory of a large workstation. */
const TOTAL_LIMIT = 2 ** 34;

const Index = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

export const isIndex = (path: string) => INDEX.test(path);

/**
 * The file to open for `path`: of a folder its index or its one model, of a shard the index that lists it, else `path` itself.
 * @throws WeightsError if a folder holds no model, or the index of a shard is missing
 */
export async function locateWeights(path: string): Promise<string> {
  if ((await statOf(path))?.isDirectory) {
    const found = await modelIn(path);
    if (found !== null) return found;
    throw new WeightsError(
      `Cannot read ${path}: it is a folder without ${IN_FOLDER.join(", ")}. Name the weight file itself.`,
    );
  }
  const [, stem, count, ending] = SHARD.exec(basename(path)) ?? [];
  if (stem === undefined || Number(count) === 1) return path;
  const index = join(dirname(path), `${stem}${ending}.index.json`);
  if (await statOf(index) !== null) return index;
  throw new WeightsError(
    `Cannot read ${path}: it is one of ${Number(count)} parts of a model, and ${
      basename(index)
    }, which lists them, is not beside it. Fetch that too, and the other parts.`,
  );
}

/** The file that stands for a folder's model, null if it is no folder or has none. */
export async function modelIn(folder: string): Promise<string | null> {
  for (const name of IN_FOLDER) if ((await statOf(join(folder, name)))?.isFile) return join(folder, name);
  return null;
}

/**
 * All tensors of an index, in its order, each in the file that it names; `open` opens one of these. `files` are the index and the shards.
 * @throws WeightsError if index or shards are damaged, missing, outside its folder, or do not hold what it says
 */
export async function openShards(
  index: string,
  open: (bytes: Uint8Array, label: string) => Contents,
): Promise<{ readonly contents: Contents; readonly files: readonly Uint8Array[] }> {
  const { bytes, places } = await readIndex(index);
  const names = [...new Set(places.values())].toSorted();
  await checkShards(index, names);
  const shards = new Map<string, Contents>();
  const files = [bytes];
  for (const name of names) {
    const path = join(dirname(index), name);
    const shard = await readWholeFile(path);
    files.push(shard);
    shards.set(name, open(shard, path));
  }
  const tensors = new Map<string, Stored>();
  for (const [name, file] of places) {
    const stored = shards.get(file)?.tensors.get(name);
    if (stored === undefined) throw damagedIndex(index, `${quote(file)} does not hold ${quote(name)}`);
    tensors.set(name, stored);
  }
  const remarks = [...shards.values()].flatMap((shard) => shard.remarks);
  return { contents: { tensors, metadata: {}, remarks }, files };
}

async function readIndex(
  index: string,
): Promise<{ readonly bytes: Uint8Array; readonly places: ReadonlyMap<string, string> }> {
  const size = (await statOf(index))?.size ?? 0;
  if (size > INDEX_LIMIT) {
    throw damagedIndex(index, `it has ${size} bytes, and no index needs more than ${INDEX_LIMIT}`);
  }
  const bytes = await readWholeFile(index);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw damagedIndex(index, `it is not JSON (${messageOf(cause)})`, cause);
  }
  const parsed = Index.safeParse(json);
  if (!parsed.success) throw damagedIndex(index, "it has no weight_map from tensors to files");
  const places = new Map(Object.entries(parsed.data.weight_map));
  if (places.size === 0) throw damagedIndex(index, "its weight_map is empty");
  const astray = [...places.values()].find((file) => !/^[^./\\][^/\\]*\.(?:safetensors|bin|pth)$/.test(file));
  if (astray !== undefined) {
    throw damagedIndex(index, `it names ${quote(astray)}, which is no weight file of its own folder`);
  }
  return { bytes, places };
}

/** Before the first of many gigabytes is read. */
async function checkShards(index: string, names: readonly string[]): Promise<void> {
  if (names.length > SHARD_LIMIT) throw damagedIndex(index, `it names ${names.length} files`);
  const found = await Promise.all(names.map((name) => statOf(join(dirname(index), name))));
  const missing = names.filter((_, i) => found[i] === null);
  if (missing.length > 0) {
    throw new WeightsError(
      `Cannot read ${index}: ${listNames(missing)} ${
        missing.length === 1 ? "is" : "are"
      } missing. Fetch all the files that it names into its folder.`,
    );
  }
  const total = found.reduce((sum, info) => sum + (info?.size ?? 0), 0);
  if (total > TOTAL_LIMIT) {
    throw new WeightsError(
      `Cannot read ${index}: its files have ${total} bytes, more than the ${TOTAL_LIMIT} this program reads. Use a smaller model.`,
    );
  }
}

async function statOf(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.stat(path);
  } catch {
    return null;
  }
}

function damagedIndex(index: string, problem: string, cause?: unknown): WeightsError {
  return new WeightsError(
    `Cannot read ${index} as the index of a model: ${problem}. Fetch the index and all its files again.`,
    { cause },
  );
}
