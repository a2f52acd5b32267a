/**
 * The files of the cluster's jobs, for a server: uploads lie on its own disk until a job takes them over, what jobs have is streamed from where the cluster keeps it, and what a program has to have
 * as a file is fetched and kept for a while. Where a job's files lie, its record says: it is asked each time, for previews are replaced.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { BEGINNING, pictureTypeOf } from "../../../images/kinds.ts";
import { orientationOf } from "../../../images/orientation.ts";
import { writeWhole } from "../../machine/write_whole.ts";
import { Fault } from "../../model/job.ts";
import type { JobFiles } from "../../model/ports.ts";
import type { JobRecord } from "../../model/record.ts";
import { type FileFacts, type FileName, FILES, type Served, type Upload } from "../../model/service.ts";
import type { InputName } from "../../model/work.ts";
import { openCache } from "./cache.ts";
import type { Chunks } from "../chunks.ts";
import type { Log } from "../log.ts";
import type { AdoptedFiles, FileRef, Snapshot } from "../snapshot.ts";

export interface ClusterFiles extends JobFiles {
  adopt(upload: Upload, id: string, names: readonly InputName[]): Promise<AdoptedFiles>;
  openUpload(): Promise<Upload>;
}

export interface ClusterFilesOptions {
  readonly log: Pick<Log, "last">;
  readonly chunks: Chunks;
  /** Empty, and this server's alone. */
  readonly folder: string;
  /** Of what is fetched and converted, so many bytes are kept. */
  readonly cacheBytes: number;
}

/** A file between two looks at it is replaced at most so often: previews are seconds apart. */
const MOST_LOOKS = 3;

export async function openClusterFiles(
  { log, chunks, folder, cacheBytes }: ClusterFilesOptions,
): Promise<ClusterFiles> {
  const uploads = join(folder, "uploads");
  const cached = join(folder, "cache");
  for (const each of [uploads, cached]) await Deno.mkdir(each, { recursive: true, mode: 0o700 });
  const cache = openCache(cached, cacheBytes);

  const fetched = (file: FileRef) =>
    cache.hold(file.sha256, async (path) => {
      await chunks.download(file, path);
      return file.sha256;
    });

  /** What the job is now; null where it is gone. */
  async function look(id: string): Promise<Snapshot | null> {
    const at = await log.last(id);
    return at === null || at.snap.status === "removed" ? null : at.snap;
  }

  async function find(id: string, name: FileName | InputName): Promise<FileRef | null> {
    const snap = await look(id);
    return snap && fileOf(snap, name);
  }

  async function needed(id: string, name: FileName | InputName): Promise<FileRef> {
    const file = await find(id, name);
    if (file) return file;
    throw new Fault("not_found", `The job has no ${name}; it may have been removed a moment ago`);
  }

  /** As it is kept in the cluster. */
  function served(record: JobRecord, name: FileName | InputName, type: string, found: FileRef): Served {
    const modified = modifiedOf(record, name);
    const facts = ({ bytes, sha256 }: FileRef): FileFacts => ({ bytes, tag: sha256, modified });
    return {
      type,
      ...facts(found),
      async open() {
        for (let looks = 1;; looks++) {
          const file = await needed(record.job.id, name);
          try {
            return { ...facts(file), stream: await chunks.open(file) };
          } catch (error) {
            const gone = error instanceof Fault && error.code === "not_found";
            if (!gone || looks === MOST_LOOKS) throw error;
          }
        }
      },
    };
  }

  /** The file of this machine that `make` makes of one of the job's. */
  async function made(
    id: string,
    name: FileName | InputName,
    { suffix, make }: { readonly suffix: string; make(from: string, to: string): Promise<void> },
  ) {
    const file = await needed(id, name);
    return await cache.hold(`${file.sha256}.${suffix}`, async (to) => {
      using from = await fetched(file);
      await make(from.path, to);
      return await sha256Of(to);
    });
  }

  return {
    async openUpload() {
      const upload = join(uploads, crypto.randomUUID());
      await Deno.mkdir(upload, { mode: 0o700 });
      return {
        folder: upload,
        write: (field, bytes) => writeWhole(join(upload, safe(field)), bytes),
        discard: () => Deno.remove(upload, { recursive: true }).catch(unlessGone),
      };
    },
    async adopt(upload, id, names) {
      const stored = await Promise.allSettled(names.map(async (name) => {
        const path = join(upload.folder, name);
        const file = await chunks.put(id, path);
        return [name, { ...await lookAt(path), file }] as const;
      }));
      const inputs = stored.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
      const failed = stored.find((each) => each.status === "rejected");
      if (failed) {
        for (const [, { file }] of inputs) await chunks.remove(file, { patience: 0 }).catch(() => {}); // else the sweep finds it
        throw failed.reason;
      }
      const bytes = inputs.reduce((sum, [, { file }]) => sum + file.bytes, 0);
      return { bytes, folder: id, inputs: Object.fromEntries(inputs) };
    },
    drop: (id) => chunks.removeAll(id),
    async open(record, name) {
      const file = await find(record.job.id, name);
      return file && served(record, name, FILES[name].type, file);
    },
    async input(record, name) {
      const input = (await look(record.job.id))?.inputs[name];
      if (!input) return null;
      const { upright, type, file } = input;
      return { ...served(record, name, type, file), upright: () => Promise.resolve(upright) };
    },
    async use(record, name, use) {
      const file = await needed(record.job.id, name);
      using held = await fetched(file);
      return await use(held.path);
    },
    async converted(record, name, { suffix, type, make }) {
      const { id } = record.job;
      const modified = modifiedOf(record, name);
      const hold = () => made(id, name, { suffix, make });
      using held = await hold();
      const { size } = await Deno.stat(held.path);
      return {
        type,
        bytes: size,
        tag: held.tag,
        modified,
        async open() {
          using held = await hold();
          const file = await Deno.open(held.path); // it can be read to its end, even where it is thrown away meanwhile
          return { bytes: (await file.stat()).size, tag: held.tag, modified, stream: file.readable };
        },
      };
    },
  };
}

/** Where a record names its files. */
function fileOf(snap: Snapshot, name: FileName | InputName): FileRef | null {
  return (name in FILES ? snap.files[name as FileName] : snap.inputs[name as InputName]?.file) ?? null;
}

/** When it became what it is, as far as the record tells. */
function modifiedOf({ job }: JobRecord, name: FileName | InputName): Date | null {
  const when = name in FILES ? job.finished_at : job.created_at;
  return when === null ? null : new Date(when);
}

/** What is to be known of a photograph before it is out of reach. */
async function lookAt(path: string): Promise<{ readonly type: string; readonly upright: boolean }> {
  using file = await Deno.open(path);
  const beginning = new Uint8Array(BEGINNING);
  const type = pictureTypeOf(beginning.subarray(0, await file.read(beginning) ?? 0));
  const tells = type === "image/png" || type === "image/webp"; // of others, every program knows
  return {
    type: type ?? "application/octet-stream",
    upright: !tells || orientationOf(await Deno.readFile(path)) === 1,
  };
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  const file = await Deno.open(path);
  for await (const part of file.readable) hash.update(part);
  return hash.digest("hex");
}

function safe(name: string): string {
  if (/^[a-z]{1,40}$/.test(name)) return name;
  throw new Error(`Bug: ${JSON.stringify(name.slice(0, 60))} is no name for a file of an upload`);
}

function unlessGone(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
