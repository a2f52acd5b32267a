// One process at a time changes a model: the lock of its name, a file beside the unfinished downloads. It knows nothing of what is changed.
// Invariant: a lock ends with its process, however that ends; its file stays, because others may be waiting on it.

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, WeightsError } from "../formats/tensor.ts";

/** Where unfinished downloads and locks lie. */
export const workFolder = (folder: string) => join(folder, ".fetch");

/**
 * Runs `use` while no other process changes this model. The system takes the lock back when a process ends, however it ends.
 * @throws WeightsError if the folder cannot be made or written; the signal's reason if it is aborted first.
 */
export async function withModelLock<T>(
  name: string,
  use: () => Promise<T>,
  { folder, signal, onWait }: { folder: string; signal: AbortSignal; onWait: () => void },
): Promise<T> {
  const lock = await openLock(folder, name);
  try {
    for (let told = false; !(await lock.tryLock(true)); told = true) {
      if (!told) onWait();
      await delay(LOCK_PAUSE, undefined, { signal });
    }
    return await use();
  } finally {
    lock.close();
  }
}

/** Between two looks at a lock that another process has, in ms. */
const LOCK_PAUSE = 100;

async function openLock(folder: string, name: string): Promise<Deno.FsFile> {
  try {
    await Deno.mkdir(workFolder(folder), { recursive: true });
    return await Deno.open(join(workFolder(folder), `${name}.lock`), { create: true, write: true });
  } catch (cause) {
    const denied = cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable;
    const why = denied ? "permission denied" : messageOf(cause);
    throw new WeightsError(
      `Cannot keep models in ${folder}: ${why}. Check the folder and its permissions, or name another with --models.`,
      { cause },
    );
  }
}
