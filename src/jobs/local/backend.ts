/** Jobs kept on this machine alone: SQLite and a folder, for one server. */
import type { StoreOptions } from "../../weights/store/store.ts";
import type { Backend } from "../model/ports.ts";
import { openFiles } from "./files.ts";
import { openJobFiles } from "./job_files.ts";
import { openLedger } from "./ledger.ts";
import { openOutbox } from "./outbox.ts";
import { openSource } from "./source.ts";
import { onDisk } from "../machine/storage_fault.ts";
import { ownMachines } from "./own_machines.ts";
import { openStore } from "./store.ts";

/**
 * Takes the folder. Whatever was running when the server before this one ended is queued again when this resolves.
 * @throws Error that says what to do: the folder is in use, cannot be written, ...
 */
export async function openLocal({ dataFolder, models, stopping, log, now }: {
  readonly dataFolder: string;
  readonly models: StoreOptions;
  /** Aborted when the server begins to stop. */
  readonly stopping: AbortSignal;
  log(text: string): void;
  readonly now?: () => Date;
}): Promise<Backend> {
  const files = openFiles(dataFolder);
  const lock = files.lockData();
  const clock = now === undefined ? {} : { now };
  const ledger = openLedger(files.database, { complain: log, ...clock });
  const resumed = ledger.recover();
  if (resumed > 0) log(`${resumed} interrupted ${resumed === 1 ? "job goes" : "jobs go"} on`);
  await files.sweep(ledger.ids());
  return {
    store: openStore({ ledger, files, log }),
    files: openJobFiles(files),
    source: openSource({ ledger, files, stopping, log }),
    outbox: openOutbox({ ledger, folder: files.folder, ...clock }),
    async openUpload() {
      const upload = await onDisk(() => files.openUpload());
      return { ...upload, write: (field, bytes) => onDisk(() => upload.write(field, bytes)) };
    },
    join: (own) => ownMachines(own, models),
    close() {
      ledger.close();
      lock.release();
      return Promise.resolve();
    },
  };
}
