/** Files of this machine as answers: streamed from the disk, never held in memory. They may go at any moment. */
import { Fault } from "../model/job.ts";
import type { FileFacts, Served } from "../model/service.ts";

/** A file to answer with. @throws Deno.errors.NotFound */
export async function serveFile(path: string, type: string): Promise<Served> {
  return {
    ...factsOf(await Deno.stat(path)),
    type,
    async open() {
      const file = await found(Deno.open(path));
      if (file === null) throw gone();
      return { ...factsOf(await file.stat()), stream: file.readable };
    },
  };
}

function factsOf({ size, mtime }: Deno.FileInfo): FileFacts {
  return { bytes: size, tag: `${size.toString(36)}-${(mtime?.getTime() ?? 0).toString(36)}`, modified: mtime };
}

export async function found<T>(looking: Promise<T>): Promise<T | null> {
  try {
    return await looking;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

export const gone = () =>
  new Fault("not_found", "The file has gone from the server's data folder; start the job again");
