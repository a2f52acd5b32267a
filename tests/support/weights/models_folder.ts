/** A store of models in a folder of its own, filled from files and from a server on the loopback address, without a process between. */
import { IMAGENET } from "../../../src/weights/formats/vit_family.ts";
import { importModel } from "../../../src/weights/store/keep.ts";
import type { Copy } from "../../../src/weights/store/record.ts";
import { pullModel, type PullOptions } from "../../../src/weights/download/pull.ts";
import { type Answer, type Asked, fileAnswer, type RawServer, serveRaw, statusAnswer } from "./raw_server.ts";
import { asHuggingFace, madeUpVit, safetensorsFile, small, torchFile } from "./vit_files.ts";

export const published = madeUpVit(small);
export const files = {
  pth: torchFile(published),
  bin: torchFile(asHuggingFace(published)),
  safetensors: safetensorsFile(asHuggingFace(published)),
};
const patience = { attempts: 3, firstPause: 1, longestPause: 100, silence: 5000 };
const { signal } = new AbortController();

export interface Store {
  readonly folder: string;
  readonly notes: string[];
  pull(name: string, urls: string | readonly string[], options?: Partial<PullOptions>): ReturnType<typeof pullModel>;
  /** What tensors do not tell is told. */
  take(
    name: string,
    bytes: Uint8Array,
    options?: { half?: boolean; licence?: string; network?: string },
  ): Promise<Copy>;
  /** The names of the files, those in the making included. */
  names(): Promise<string[]>;
  read(name: string): Promise<Uint8Array>;
}

export async function withStore(use: (store: Store) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir();
  const folder = `${home}/models`;
  const notes: string[] = [];
  try {
    await use({
      folder,
      notes,
      pull: (name, urls, options = {}) =>
        pullModel(name, {
          folders: [folder],
          own: folder,
          sources: [urls].flat().map((url) => ({ url })),
          chosen: false,
          half: false,
          licence: null,
          signal,
          onProgress() {},
          onNote: (text) => void notes.push(text),
          patience,
          ...options,
        }),
      async take(name, bytes, { half = false, licence = null, network } = {}) {
        await Deno.writeFile(`${home}/given`, bytes);
        const told = { heads: 1, normalisation: IMAGENET };
        const options = { folder, half, licence, network, told, signal, onWait() {} };
        const { copy, remarks } = await importModel(name, `${home}/given`, options);
        notes.push(...remarks);
        return copy;
      },
      async names() {
        const found: string[] = [];
        for await (const { name, isFile } of Deno.readDir(folder)) if (isFile) found.push(name);
        for await (const { name } of Deno.readDir(`${folder}/.fetch`)) if (!name.endsWith(".lock")) found.push(name);
        return found.sort();
      },
      read: (name) => Deno.readFile(`${folder}/${name}`),
    });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

/** The files under their endings, and counts of what was asked for. */
export const serveFiles = (change: (asked: Asked) => Answer | null = () => null): RawServer =>
  serveRaw((asked) => {
    const ending = asked.path.split(".").at(-1) as keyof typeof files;
    return change(asked) ??
      (Object.hasOwn(files, ending) ? fileAnswer(asked, files[ending]) : statusAnswer("404 Not Found"));
  });
