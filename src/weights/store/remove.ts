// Taking a model out of the store, and sweeping up after it: which files of a folder belong to a name, the unfinished ones included. Only the user's own
// folder is touched. Invariant: weights go before their record, so that what a crash leaves is still described.

import { dirname, join, resolve } from "node:path";
import { withModelLock, workFolder } from "./lock.ts";
import { recordPath } from "./record.ts";
import { listModels, type StoreOptions } from "./store.ts";
import { listNames, messageOf, quote, WeightsError } from "../formats/tensor.ts";

export type Removed = { readonly path: string; readonly bytes: number };

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
/** What follows a model's name in the files that a killed write, and a download that has not come to its end, leave. */
const unfinished = {
  write: new RegExp(`^\\.(?:safetensors|record\\.json)\\.${UUID}\\.part$`),
  download: new RegExp(`^-[0-9a-f]{8}\\.part(?:\\.json(?:\\.${UUID}\\.part)?)?$`),
};

/**
 * Removes all that the own folder has of a model: weights, record, unfinished downloads. Resolves to what was removed.
 * @throws WeightsError if there is nothing of that name in it, or a file cannot be removed; the signal's reason.
 */
export async function removeModel(
  name: string,
  { own, signal, onWait, ...store }: StoreOptions & { own: string; signal: AbortSignal; onWait(): void },
): Promise<readonly Removed[]> {
  if ((await filesOf(own, name)).length === 0) await explainAbsence(name, { own, ...store });
  return await withModelLock(name, async () => {
    return await removeAll(await filesOf(own, name));
  }, { folder: own, signal, onWait });
}

/** Removes what other downloads and killed processes have left of a model that is here now. The caller holds its lock. @throws WeightsError */
export async function sweepLeftovers(own: string, name: string): Promise<void> {
  await removeAll(await leftoversOf(own, name));
}

async function filesOf(own: string, name: string): Promise<readonly string[]> {
  const weights = ["safetensors", "pth", "bin"].map((ending) => join(own, `${name}.${ending}`));
  const there: string[] = [];
  for (const path of [...weights, recordPath(own, name)]) if (await sizeOf(path) !== null) there.push(path);
  return [...there, ...await leftoversOf(own, name)];
}

async function leftoversOf(own: string, name: string): Promise<readonly string[]> {
  const found = async (folder: string, rest: RegExp) =>
    (await namesIn(folder)).filter((file) => file.startsWith(name) && rest.test(file.slice(name.length)))
      .map((file) => join(folder, file));
  return [...await found(own, unfinished.write), ...await found(workFolder(own), unfinished.download)];
}

async function removeAll(paths: readonly string[]): Promise<readonly Removed[]> {
  const removed: Removed[] = [];
  for (const path of paths) {
    const bytes = await sizeOf(path);
    if (bytes === null) continue;
    try {
      await Deno.remove(path);
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) continue;
      throw new WeightsError(`Cannot remove ${path}: ${messageOf(cause)}. Check the folder and its permissions.`, {
        cause,
      });
    }
    removed.push({ path, bytes });
  }
  return removed;
}

/** A file's bytes (of a link its own, which are those that become free), null if it is none. */
async function sizeOf(path: string): Promise<number | null> {
  const info = await Deno.lstat(path).catch(() => null);
  return info === null || info.isDirectory ? null : info.size;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  const names: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(folder)) if (!isDirectory) names.push(name);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw new WeightsError(
      `Cannot look for models in ${folder}: ${
        messageOf(cause)
      }. Check the folder and its permissions, or name another with --models.`,
      { cause },
    );
  }
  return names.toSorted();
}

async function explainAbsence(name: string, { own, ...store }: StoreOptions & { own: string }): Promise<never> {
  const present = (await listModels(store)).flatMap(({ path, name }) => path === null ? [] : { path, name });
  const elsewhere = present.find((model) => model.name === name)?.path;
  if (elsewhere !== undefined) {
    throw new WeightsError(`Cannot remove ${name}: it is ${elsewhere}, and only models in ${own} are removed.`);
  }
  const names = present.filter(({ path }) => resolve(dirname(path)) === resolve(own)).map(({ name }) => name);
  throw new WeightsError(
    `Cannot remove ${quote(name)}: there is nothing of that name in ${own}; ${
      names.length === 0 ? "it holds no model" : `it holds ${listNames(names, 8)}`
    }. \`splice models list${store.named ?? ""}\` shows them.`,
  );
}
