/** One download from a raw server into a folder: what became of it, what was asked for, and what is left on the disk. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { download, type DownloadOptions, type Patience } from "../../../src/weights/download/download.ts";
import { FetchError } from "../../../src/weights/download/setback.ts";
import { type Answer, type Asked, serveRaw } from "./raw_server.ts";

export const sum = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const patterned = (seed: number) => Uint8Array.from({ length: 60_000 }, (_, i) => (i * i * seed + (i >> 8)) & 255);
export const [file, other] = [patterned(7), patterned(11)];
export const patience: Patience = { attempts: 4, firstPause: 1, longestPause: 1500, silence: 5000 };

export interface Seen {
  readonly result: { bytes: number; sha256: string } | Error;
  readonly asked: readonly Asked[];
  readonly notes: readonly string[];
  readonly progress: readonly number[];
  /** What lies in the folder afterwards. */
  readonly left: Uint8Array | null;
}

/** Fetches once from a server that answers like this, into `folder` or a fresh one. */
export async function fetchFrom(
  answer: (asked: Asked) => Answer,
  { folder, ...options }: Partial<DownloadOptions> & { folder?: string; path?: string } = {},
): Promise<Seen> {
  await using server = serveRaw(answer);
  const home = folder ?? await Deno.makeTempDir();
  const part = `${home}/file.part`;
  const [notes, progress]: [string[], number[]] = [[], []];
  try {
    const result = await download(`${server.address}/weights.pth`, {
      part,
      expected: {},
      signal: new AbortController().signal,
      patience,
      onProgress: (have) => void progress.push(have),
      onNote: (text) => void notes.push(text),
      ...options,
    }).catch((error: Error) => error);
    const left = await Deno.readFile(part).catch(() => null);
    return { result, asked: [...server.asked], notes, progress, left };
  } finally {
    if (folder === undefined) await Deno.remove(home, { recursive: true });
  }
}

export const whole = { bytes: file.length, sha256: sum(file) };
export const failsWith = ({ result }: Seen, message: RegExp) => {
  assert.ok(result instanceof FetchError, `${JSON.stringify(result)}`);
  assert.match(result.message, message);
};
export const ranges = ({ asked }: Seen) => asked.map(({ headers }) => headers.get("range") ?? "");
