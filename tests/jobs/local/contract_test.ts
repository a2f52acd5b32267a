/** The contract of jobs, over SQLite and a folder. */
import type { Backend } from "../../../src/jobs/model/ports.ts";
import { openLocal } from "../../../src/jobs/local/backend.ts";
import type { Bench } from "../contract/bench.ts";
import { contract } from "../contract/contract.ts";

async function open(): Promise<Bench> {
  const stopping = new AbortController();
  const folders: string[] = [];
  const left: Backend[] = [];
  let backend = await begin(await Deno.makeTempDir());

  async function begin(dataFolder: string): Promise<Backend> {
    folders.push(dataFolder);
    const models = { folders: [] };
    return await openLocal({ dataFolder, models, stopping: stopping.signal, log: () => {} });
  }

  return {
    get backend() {
      return backend;
    },
    async reopen() {
      await backend.close();
      backend = await begin(folders.pop()!);
    },
    /** What a killed process leaves is what the system has of its files: the same as a copy that is made while it writes nothing. */
    async kill() {
      left.push(backend);
      const copy = await Deno.makeTempDir();
      await copyAll(folders.at(-1)!, copy);
      backend = await begin(copy);
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      for (const one of [backend, ...left]) await one.close();
      for (const folder of folders) await Deno.remove(folder, { recursive: true });
    },
  };
}

/** With the times at which files were written: they are part of what is told of them. */
async function copyAll(from: string, to: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) {
      await Deno.mkdir(`${to}/${name}`);
      await copyAll(`${from}/${name}`, `${to}/${name}`);
    } else {
      await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
      const { atime, mtime } = await Deno.stat(`${from}/${name}`);
      await Deno.utime(`${to}/${name}`, atime!, mtime!);
    }
  }
}

contract("SQLite", open);
