// The weight files on this machine: which models exist, where they lie, which one a name means, and how a file is opened whatever its format.
// It downloads nothing and reads no environment: its callers say which folders to look in. Invariant: a file's content decides how it is read,
// never its name, and a model's name never leaves its folders.

import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { checkGenerator } from "../formats/generator_names.ts";
import { readAll } from "../formats/contents.ts";
import { openBytes, openWeights } from "../formats/opening.ts";
import { modelIn } from "../formats/sharded.ts";
import { type IdentifiedVit, type IdentifyOptions, identifyVit } from "./identify.ts";
import { isBundled, type ModelEntry, MODELS, NAME } from "./manifest.ts";
import { copyAt } from "./record.ts";
import { listNames, messageOf, quote, type Weights, WeightsError } from "../formats/tensor.ts";

export { type ModelEntry, MODELS, parseManifest } from "./manifest.ts";

/** The folders models are looked for in, first come, first served. `named` is how the command line names them, where they are not the usual ones. */
export type StoreOptions = { readonly folders: readonly string[]; readonly named?: string };

/** A model by name: its file, if it is present in one of the folders, and its manifest entry, if it is a known one. */
export type StoredModel = { readonly name: string; readonly path: string | null; readonly entry: ModelEntry | null };

export const isModelName = (text: string) => NAME.test(text);

/** A model's name as people say it: the file without folder and ending. */
export const modelName = (path: string) => basename(path).replace(/\.(?:safetensors|pth|bin)(?:\.index\.json)?$/, "");

/** The tensors of a weight file in memory, of any format. @throws WeightsError if it is none, or damaged. */
export function decodeWeights(bytes: Uint8Array, label: string): Weights {
  return readAll(openBytes(bytes, label));
}

/** `decodeWeights` of a file. @throws WeightsError as there, and if it cannot be read. */
export async function loadWeights(path: string): Promise<Weights> {
  return readAll((await openWeights(path)).contents);
}

/**
 * The ViT in a file, a folder or an index of any supported format, under the published names, checked, with its description: what its tensors do not tell comes from the options,
 * the list of known models, the record of the store, or the files beside it, and else is assumed, with a remark.
 * @throws WeightsError if there is none, or it cannot be read.
 */
export async function loadVit(path: string, options: IdentifyOptions = {}): Promise<IdentifiedVit> {
  const opened = await openWeights(path);
  const remembered = async () => (await copyAt(path))?.network;
  return await identifyVit(opened.contents, {
    ...options,
    label: path,
    name: modelName(path),
    path: opened.path,
    remembered,
  });
}

/** A generator's checkpoint, checked. @throws WeightsError if it is anything else. */
export async function loadGenerator(path: string): Promise<Weights> {
  const weights = await loadWeights(path);
  checkGenerator(weights.tensors, path);
  return weights;
}

/** The known models, best first, then whatever else lies in the folders, by name. */
export async function listModels({ folders }: StoreOptions): Promise<readonly StoredModel[]> {
  const present = new Map<string, string>();
  for (const folder of folders) {
    for (const file of await filesOf(folder)) {
      const name = file.replace(/\.(?:safetensors|pth|bin)$/, "");
      if (name !== file && NAME.test(name) && !present.has(name)) present.set(name, join(folder, file));
    }
  }
  const known = MODELS.map((entry) => ({ name: entry.name, path: present.get(entry.name) ?? null, entry }));
  const others = [...present].filter(([name]) => !MODELS.some((entry) => entry.name === name));
  return [
    ...known,
    ...others.toSorted(([a], [b]) => a < b ? -1 : 1).map(([name, path]) => ({ name, path, entry: null })),
  ];
}

/**
 * The file of a model of the store: of `name`, or without one of the best that is present. A name is never taken for a path, so it may
 * come from a stranger.
 * @throws WeightsError if it is not present, saying which are and how to get it.
 */
export async function findModel(name: string | undefined, options: StoreOptions): Promise<string> {
  const models = await listModels(options);
  const found = models.find((model) =>
    model.path !== null && (name === undefined ? model.entry !== null : model.name === name)
  );
  if (found !== undefined && found.path !== null) return found.path;
  const present = models.filter(({ path }) => path !== null).map((model) => model.name);
  const wanted = name ?? MODELS[0].name;
  const remedy = MODELS.some((model) => model.name === wanted && !isBundled(model))
    ? `Fetch it: \`splice models pull ${wanted}${options.named ?? ""}\`.`
    : `\`splice models list${
      options.named ?? ""
    }\` shows the models that are here; a file of your own can be given by its path.`;
  throw new WeightsError(
    `Cannot find ${name === undefined ? "any model" : `the model ${quote(name)}`}: ${listNames(options.folders)} ` +
      `${present.length === 0 ? "hold none" : `hold ${listNames(present, 8)}`}. ${remedy}`,
  );
}

/**
 * As `findModel`, and a path to a weight file is accepted too: a text with a slash or a weight file's ending, or a name that is not in the store
 * but is a file; a folder or an index stands for the shards of a model. For the command line, whose user may read any file anyway.
 */
export async function resolveModel(nameOrPath: string | undefined, options: StoreOptions): Promise<string> {
  if (nameOrPath === undefined) return await findModel(undefined, options);
  if (!/[/\\]|\.(?:safetensors|pth|bin|index\.json)$/.test(nameOrPath)) {
    const stored = (await listModels(options)).find((model) => model.name === nameOrPath)?.path;
    if (stored !== undefined && stored !== null) return stored;
    return await isThere(nameOrPath) ? nameOrPath : await findModel(nameOrPath, options);
  }
  if (await isThere(nameOrPath)) return nameOrPath;
  const why = await isFolder(nameOrPath)
    ? "the folder holds no model.safetensors and no index of one"
    : "there is no such file";
  throw new WeightsError(
    `Cannot find the model file ${nameOrPath}: ${why}. Check the path, or name a model that \`splice models list${
      options.named ?? ""
    }\` shows.`,
  );
}

/** A file's SHA-256 in lower-case hexadecimal, read piece by piece. @throws WeightsError if it cannot be read. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    const file = await Deno.open(path, { read: true });
    for await (const piece of file.readable) hash.update(piece);
  } catch (cause) {
    throw new WeightsError(`Cannot read ${path}: ${messageOf(cause)}. Check the path and its permissions.`, { cause });
  }
  return hash.digest("hex");
}

/** Passes if the file's SHA-256 is `expected`. @throws WeightsError if it is another one, or the file cannot be read. */
export async function verifySha256(path: string, expected: string): Promise<void> {
  const found = await sha256OfFile(path);
  if (found === expected.toLowerCase()) return;
  throw new WeightsError(
    `Cannot trust ${path}: its SHA-256 is ${found}, and ${expected.toLowerCase()} is expected. It is damaged or another version: remove it and fetch it again.`,
  );
}

async function filesOf(folder: string): Promise<readonly string[]> {
  const names: string[] = [];
  try {
    for await (const item of Deno.readDir(folder)) if (!item.isDirectory) names.push(item.name);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return []; // a data folder that nobody has filled yet
    throw new WeightsError(
      `Cannot look for models in ${folder}: ${messageOf(cause)}. Check the folder and its permissions.`,
      { cause },
    );
  }
  // The same name in several formats: safetensors first, it is the one this program writes.
  return names.toSorted((a, b) =>
    Number(b.endsWith(".safetensors")) - Number(a.endsWith(".safetensors")) || (a < b ? -1 : 1)
  );
}

async function isFolder(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ isDirectory }) => isDirectory, () => false);
}

/** A file, or a folder with a model's files under their usual names. */
async function isThere(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile || await modelIn(path) !== null;
  } catch {
    return false;
  }
}
