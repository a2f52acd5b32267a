// The unfinished file of a download, and what is known of the file it will be: size and validators, in a small JSON file beside it. It speaks
// no HTTP. Invariant: the bytes of a part are the first ones of the file that its validators belong to.

import { z } from "zod";
import { messageOf, WeightsError, writeWholeFile } from "./tensor.ts";

/** What the server said of the file: entity tag, date of the last change, size in bytes; null where it said nothing. */
const Facts = z.strictObject({
  url: z.string(),
  etag: z.string().nullable(),
  modified: z.string().nullable(),
  total: z.number().int().nonnegative().nullable(),
});
export type Facts = z.infer<typeof Facts>;

export type Part = { readonly have: number; readonly facts: Facts };

const factsPath = (path: string) => `${path}.json`;

/** The part at `path` if it is of `url`, null if there is none. */
export async function openPart(path: string, url: string): Promise<Part | null> {
  try {
    const facts = Facts.parse(JSON.parse(await Deno.readTextFile(factsPath(path))));
    const { size } = await Deno.stat(path);
    return facts.url === url && size <= (facts.total ?? Infinity) ? { have: size, facts } : null;
  } catch {
    return null; // whatever it is, it is fetched anew
  }
}

/** Writes down what is known of the file. @throws WeightsError if it cannot be written. */
export async function describePart(path: string, facts: Facts): Promise<void> {
  await writeWholeFile(factsPath(path), new TextEncoder().encode(JSON.stringify(facts)));
}

/** An empty part of a file with these facts. @throws WeightsError if it cannot be written. */
export async function beginPart(path: string, facts: Facts): Promise<void> {
  await discardPart(path);
  await describePart(path, facts);
}

export async function discardPart(path: string): Promise<void> {
  for (const file of [path, factsPath(path)]) {
    await Deno.remove(file).catch((cause) => {
      if (!(cause instanceof Deno.errors.NotFound)) {
        throw new WeightsError(`Cannot remove ${file}: ${messageOf(cause)}. Check the folder and its permissions.`, {
          cause,
        });
      }
    });
  }
}

/** Appends pieces at byte `from`; `onSize` is told the part's size after each. @throws WeightsError if the disk is full, ...; whatever the source throws. */
export async function appendPart(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  { from, total, onSize }: { from: number; total: number | null; onSize: (bytes: number) => void },
): Promise<number> {
  let size = from;
  const failed = (cause: unknown) => {
    const missing = total === null ? "" : ` with ${((total - size) / 1e6).toFixed(1)} MB still to come`;
    const full = /os error (28|122)\b/.test(messageOf(cause)); // no space, no quota
    return new WeightsError(
      `Cannot write ${path}: ${full ? `the disk is full${missing}` : messageOf(cause)}. ` +
        "Make room, check the folder's permissions, and pull again: it goes on from here.",
      { cause },
    );
  };
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path, { write: true, create: true });
  } catch (cause) {
    throw failed(cause);
  }
  try {
    await file.truncate(from);
    await file.seek(from, Deno.SeekMode.Start);
    for await (const piece of pieces) {
      try {
        for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
      } catch (cause) {
        throw failed(cause);
      }
      size += piece.length;
      onSize(size);
    }
    return size;
  } finally {
    file.close();
  }
}
