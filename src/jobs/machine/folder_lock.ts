/**
 * A folder that one process at a time may use. The lock is the system's, so it goes with the process, however that ends; the file stays and means nothing by itself.
 * (The package proper-lockfile 4.1 makes a folder instead: after a kill it stands in the way until it counts as stale, and one who was only held up loses it.)
 */
import { join } from "node:path";

export interface FolderLock {
  release(): void;
}

/** Null where another process has it. @throws Deno.errors where no file can be written there */
export function lockFolder(folder: string): FolderLock | null {
  const file = Deno.openSync(join(folder, "lock"), { create: true, write: true, mode: 0o600 });
  if (file.tryLockSync(true)) return { release: () => file.close() };
  file.close();
  return null;
}
