/**
 * The data folder: where uploads and jobs' files lie, and that only one server uses it. A file or a job's folder is there whole or not at all: everything is
 * written, moved in and thrown away under a name in `uploads`, which nobody reads and the next start empties. Knows paths, not what a job is.
 */
import { join } from "node:path";
import { type FolderLock, lockFolder } from "../machine/folder_lock.ts";
import { Fault } from "../model/job.ts";
import type { Upload } from "../model/service.ts";

export interface DataFiles {
  readonly folder: string;
  readonly database: string;
  /** @throws Fault unknown_job for what is no job's id */
  jobFolder(id: string): string;
  /** @throws Fault unknown_job; Error for an unsafe name */
  jobFile(id: string, name: string): string;
  openUpload(): Promise<Upload>;
  /** Makes the upload's folder the job's: on the disk when this resolves. Do it before the job is created, so that no job ever lacks its files. */
  adopt(upload: Upload, id: string): Promise<void>;
  /** Bytes of the job's files; 0 where there are none. */
  sizeOf(id: string): Promise<number>;
  removeJob(id: string): Promise<void>;
  /** For a job that ended without a result: by far the largest of its files, and nothing will go on from it. */
  dropCheckpoint(id: string): Promise<void>;
  /** At a start: removes what was being uploaded or thrown away, and folders of jobs that are not known. */
  sweep(knownIds: Iterable<string>): Promise<void>;
  /** Holds the data folder for this process, until `release` or its end, however it ends. @throws Error if another process holds it */
  lockData(): FolderLock;
}

const JOB_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const FILE_NAME = /^[a-z0-9][a-z0-9_-]{0,40}(\.[a-z0-9]{1,20})?$/;

/** Opens the data folder, and creates it for this user alone. @throws Error that says what to do */
export function openFiles(dataFolder: string): DataFiles {
  const jobs = join(dataFolder, "jobs");
  const uploads = join(dataFolder, "uploads");
  try {
    for (const folder of [dataFolder, jobs, uploads]) Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw unusable(dataFolder, cause);
  }
  const aside = () => join(uploads, crypto.randomUUID());

  function jobFolder(id: string): string {
    if (!JOB_ID.test(id)) throw new Fault("unknown_job", `There is no job ${id.slice(0, 60)}; job ids are UUIDs`);
    return join(jobs, id);
  }

  return {
    folder: dataFolder,
    database: join(dataFolder, "splice.sqlite"),
    jobFolder,
    jobFile: (id, name) => join(jobFolder(id), safe(name)),
    async openUpload() {
      const folder = aside();
      await Deno.mkdir(folder, { mode: 0o700 });
      return {
        folder,
        write: async (field, bytes) => await writeWhole(folder, safe(field), bytes),
        discard: () => removeAll(folder),
      };
    },
    async adopt(upload, id) {
      await Deno.rename(upload.folder, jobFolder(id));
      await settle(jobs);
    },
    async sizeOf(id) {
      let bytes = 0;
      try {
        for await (const entry of Deno.readDir(jobFolder(id))) {
          if (entry.isFile) bytes += (await Deno.stat(join(jobFolder(id), entry.name))).size;
        }
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
      return bytes;
    },
    async removeJob(id) {
      const trash = aside();
      try {
        await Deno.rename(jobFolder(id), trash);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return;
        throw error;
      }
      await removeAll(trash);
    },
    dropCheckpoint: (id) => removeAll(join(jobFolder(id), "checkpoint.safetensors")),
    async sweep(knownIds) {
      const known = new Set(knownIds);
      for await (const { name } of Deno.readDir(jobs)) {
        if (!known.has(name)) await Deno.rename(join(jobs, name), aside());
      }
      for await (const { name } of Deno.readDir(uploads)) await removeAll(join(uploads, name));
    },
    lockData: () => lock(dataFolder),
  };
}

function safe(name: string): string {
  if (FILE_NAME.test(name)) return name;
  throw new Error(`Bug: ${JSON.stringify(name.slice(0, 60))} is no name for a file of a job`);
}

/** On the disk under its name when this resolves, for a job is acknowledged on the strength of it. */
async function writeWhole(folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const aside = join(folder, `.${name}.part`);
  using file = await Deno.open(aside, { write: true, create: true, truncate: true, mode: 0o600 });
  let done = 0;
  while (done < bytes.length) done += await file.write(bytes.subarray(done));
  await file.sync();
  await Deno.rename(aside, join(folder, name));
  await settle(folder);
}

/** Makes the folder's list of names durable, where the system can: not on Windows. */
async function settle(folder: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using file = await Deno.open(folder);
  await file.sync();
}

async function removeAll(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function lock(folder: string): FolderLock {
  let got: FolderLock | null;
  try {
    got = lockFolder(folder);
  } catch (cause) {
    throw unusable(folder, cause);
  }
  if (got) return got;
  throw new Error(
    `Cannot use the data folder ${folder}: another splice server is using it; stop that one, or give this one a folder ` +
      "of its own with --data",
  );
}

function unusable(folder: string, cause: unknown): Error {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new Error(`Cannot use the data folder ${folder}: ${why}; name one that can be written with --data`, { cause });
}
