/** The ledger and the folder as one JobStore: what is asked of it is done at once, and a job goes with its files. */
import type { JobStore } from "../model/ports.ts";
import type { DataFiles } from "./files.ts";
import type { Ledger } from "./ledger.ts";
import { onDisk } from "../machine/storage_fault.ts";

export function openStore({ ledger, files, log }: {
  readonly ledger: Ledger;
  readonly files: DataFiles;
  log(text: string): void;
}): JobStore {
  return {
    async create(job, limits) {
      try {
        const created = await onDisk(() => ledger.create(job, limits));
        if (created.replayed) await files.removeJob(job.id); // the same request came twice at once
        return created;
      } catch (error) {
        await files.removeJob(job.id);
        throw error;
      }
    },
    find: (idempotency) => onDisk(() => ledger.find(idempotency)),
    get: (id) => onDisk(() => ledger.get(id)),
    list: (page) => onDisk(() => ledger.list(page)),
    async cancel(id) {
      const before = await onDisk(() => ledger.cancel(id));
      // Whoever works on a running one has its files for a moment yet.
      if (before === "queued") await files.dropCheckpoint(id);
      return before;
    },
    async remove(id) {
      if (!await onDisk(() => ledger.remove(id))) return false;
      await files.removeJob(id).catch((error) => log(`the files of job ${id} stay until the next start: ${error}`));
      return true;
    },
    expired: (limits) => onDisk(() => ledger.expired(limits)),
    events: (id, range) => onDisk(() => ledger.events(id, range)),
    sight: (id) => onDisk(() => ledger.sight(id)),
    counts: ledger.counts,
    onChange: ledger.onChange,
    onCount: ledger.onCount,
  };
}
