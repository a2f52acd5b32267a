// The weight files on this machine: which models exist, where they lie, which one a name means, and how a file is opened whatever its format.
// It downloads nothing and reads no environment: its callers say which folders to look in. Invariant: a file's content decides how it is read,
// never its name, and a model's name never leaves its folders.

import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { z } from "zod";
import bundled from "../../../models/manifest.json" with { type: "json" };
import { checkGenerator, HEAD, prepareVit, type VitDescription } from "../formats/names.ts";
import { type Contents, detached, readAll, readTensors } from "../formats/contents.ts";
import { takeNetwork } from "../formats/networks.ts";
import { openBytes, openWeights } from "../formats/opening.ts";
import { modelIn } from "../formats/sharded.ts";
import { listNames, messageOf, quote, type Weights, WeightsError } from "../formats/tensor.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().positive();

/** One model of the manifest. `sources` are addresses to fetch it from, best first; sizes and checksums are there where they are known. */
const ModelEntry = z.strictObject({
  name: z.string().regex(NAME),
  file: z.string().regex(NAME),
  about: z.string(),
  licence: z.string(),
  dim: count.multipleOf(HEAD),
  depth: count,
  patch: count,
  native: count,
  parameters: count,
  megabytes: z.number().positive(),
  bytes: count.optional(),
  sha256: Sha256.optional(),
  sources: z.array(z.strictObject({
    format: z.enum(["pth", "safetensors"]),
    url: z.url({ protocol: /^https$/ }),
    revision: z.string().optional(),
    bytes: count.optional(),
    sha256: Sha256.optional(),
  })),
});
const Manifest = z.strictObject({ version: z.literal(1), models: z.array(ModelEntry).min(1) });

export type ModelEntry = z.infer<typeof ModelEntry>;

/** The folders models are looked for in, first come, first served. `named` is how the command line names them, where they are not the usual ones. */
export type StoreOptions = { readonly folders: readonly string[]; readonly named?: string };

/** A model by name: its file, if it is present in one of the folders, and its manifest entry, if it is a known one. */
export type StoredModel = { readonly name: string; readonly path: string | null; readonly entry: ModelEntry | null };

export const isModelName = (text: string) => NAME.test(text);

/** A model's name as people say it: the file without folder and ending. */
export const modelName = (path: string) => basename(path).replace(/\.(?:safetensors|pth|bin)(?:\.index\.json)?$/, "");

/** The known models, best first. @throws WeightsError naming `label` if `text` is not a manifest. */
export function parseManifest(text: string, label: string): readonly ModelEntry[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new WeightsError(
      `Cannot read ${label}: it is not JSON (${messageOf(cause)}). Restore the file of this version.`,
      { cause },
    );
  }
  const parsed = Manifest.safeParse(json);
  if (parsed.success) return parsed.data.models;
  const [issue] = parsed.error.issues;
  throw new WeightsError(
    `Cannot read ${label}: ${issue.path.join(".")}: ${issue.message}. Restore the file of this version.`,
  );
}

/** The manifest that came with the program, in the order in which models are preferred. */
export const MODELS: readonly ModelEntry[] = parseManifest(JSON.stringify(bundled), "models/manifest.json");

/** The tensors of a weight file in memory, of any format. @throws WeightsError if it is none, or damaged. */
export function decodeWeights(bytes: Uint8Array, label: string): Weights {
  return readAll(openBytes(bytes, label));
}

/** `decodeWeights` of a file. @throws WeightsError as there, and if it cannot be read. */
export async function loadWeights(path: string): Promise<Weights> {
  return readAll((await openWeights(path)).contents);
}

/** An extractor on its way from a file; `network` and `remarks` as `takeNetwork` says. */
export type LoadedVit = Weights & {
  readonly vit: VitDescription;
  readonly network: string | null;
  readonly remarks: readonly string[];
};

/** The DINO-ViT in a file's contents under the published names, checked, with its sizes. @throws WeightsError if there is none. */
export function vitIn(contents: Contents, label: string, network?: string): LoadedVit {
  const taken = takeNetwork(contents, label, network);
  const { tensors, vit } = prepareVit(detached(readTensors(taken.tensors)), label);
  return { tensors, vit, metadata: contents.metadata, network: taken.network, remarks: taken.remarks };
}

/** `vitIn` of a file, a folder or an index of any supported format. @throws WeightsError as there, and if it cannot be read. */
export async function loadVit(path: string, { network }: { network?: string | undefined } = {}): Promise<LoadedVit> {
  return vitIn((await openWeights(path)).contents, path, network);
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
  const remedy = MODELS.some((model) => model.name === wanted && model.sources.length > 0)
    ? `Fetch it: \`splice models pull ${wanted}${options.named ?? ""}\`.`
    : "`splice models list` shows the models that are here; a file of your own can be given by its path.";
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
    `Cannot find the model file ${nameOrPath}: ${why}. Check the path, or name a model that \`splice models list\` shows.`,
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
