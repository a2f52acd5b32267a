/** The files in jobs' folders as answers: streamed from the disk, never held in memory. */
import { BEGINNING, pictureTypeOf } from "../../images/kinds.ts";
import { orientationOf } from "../../images/orientation.ts";
import type { JobFiles } from "../model/ports.ts";
import { type FileName, FILES } from "../model/service.ts";
import { INPUTS } from "../model/work.ts";
import type { DataFiles } from "./files.ts";
import { found, gone, serveFile } from "../machine/serve_file.ts";
import { onDisk } from "../machine/storage_fault.ts";

export function openJobFiles(files: DataFiles): JobFiles {
  const isFile = (name: string): name is FileName => Object.hasOwn(FILES, name);
  const pathOf = (id: string, name: string) => files.jobFile(id, isFile(name) ? FILES[name].file : name);

  return {
    adopt: (upload, id) =>
      onDisk(async () => {
        await files.adopt(upload, id);
        return { bytes: await files.sizeOf(id) };
      }),
    drop: (id) => files.removeJob(id),
    open: ({ job }, name) => found(serveFile(pathOf(job.id, name), FILES[name].type)),
    async input({ job }, name) {
      if (!INPUTS[job.kind].includes(name)) return null;
      const path = pathOf(job.id, name);
      const type = await found(typeOf(path));
      const served = type === null ? null : await found(serveFile(path, type));
      return served && { ...served, upright: async () => orientationOf(await Deno.readFile(path)) === 1 };
    },
    async use({ job }, name, use) {
      const path = pathOf(job.id, name);
      if (await found(Deno.stat(path)) === null) throw gone();
      return await use(path);
    },
    async converted({ job }, name, { suffix, type, make }) {
      const to = files.jobFile(job.id, `${name}.${suffix}`);
      const before = await found(serveFile(to, type));
      if (before !== null) return before;
      const from = pathOf(job.id, name);
      if (await found(Deno.stat(from)) === null) throw gone();
      await make(from, to);
      return await serveFile(to, type);
    },
  };
}

/** As its first bytes tell. */
async function typeOf(path: string): Promise<string> {
  using file = await Deno.open(path);
  const bytes = new Uint8Array(BEGINNING);
  return pictureTypeOf(bytes.subarray(0, await file.read(bytes) ?? 0)) ?? "application/octet-stream";
}
