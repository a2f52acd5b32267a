// The unfinished file of a download, and what is known of the file it will be: size and validators, in a small JSON file beside it. It speaks
// no HTTP. Invariant: the bytes of a part are the first ones of the file that its validators belong to, and only those count that were on the disk when
// that was written down: after a power cut a file may have the right size and the wrong bytes.

import { z } from "zod";
import { messageOf, WeightsError, writeWholeFile } from "../formats/tensor.ts";

/** What the server said of the file: entity tag, date of the last change, size in bytes; null where it said nothing. `safe`: bytes that are on the disk. */
const Facts = z.strictObject({
  url: z.string(),
  etag: z.string().nullable(),
  modified: z.string().nullable(),
  total: z.number().int().nonnegative().nullable(),
  safe: z.number().int().nonnegative(),
});
export type Facts = z.infer<typeof Facts>;

export type Part = { readonly have: number; readonly facts: Facts };

/** How much may be lost with the power: bytes, or ms. */
const UNSAFE = { bytes: 32e6, ms: 2000 };

const factsPath = (path: string) => `${path}.json`;

/** The part at `path` if it is of `url`, null if there is none. */
export async function openPart(path: string, url: string): Promise<Part | null> {
  try {
    const facts = Facts.parse(JSON.parse(await Deno.readTextFile(factsPath(path))));
    const { size } = await Deno.stat(path);
    const have = Math.min(size, facts.safe);
    return facts.url === url && have <= (facts.total ?? Infinity) ? { have, facts } : null;
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

/**
 * Appends pieces at byte `from` of the file that `facts` describe, and keeps writing down how much of it is safe; `onSize` is told the part's size after each.
 * @throws WeightsError if the disk is full, ...; whatever the source throws.
 */
export async function appendPart(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  { from, facts, onSize }: { from: number; facts: Facts; onSize: (bytes: number) => void },
): Promise<number> {
  let size = from;
  const orFail = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (cause) {
      const missing = facts.total === null ? "" : ` with ${((facts.total - size) / 1e6).toFixed(1)} MB still to come`;
      const full = /os error (28|122)\b/.test(messageOf(cause)); // no space, no quota
      throw new WeightsError(
        `Cannot write ${path}: ${full ? `the disk is full${missing}` : messageOf(cause)}. ` +
          "Make room, check the folder's permissions, and pull again: it goes on from here.",
        { cause },
      );
    }
  };
  const file = await orFail(Deno.open(path, { write: true, create: true }));
  let [safe, at] = [from, -Infinity];
  const settle = async () => {
    await orFail(file.syncData());
    [safe, at] = [size, performance.now()];
    await describePart(path, { ...facts, safe });
  };
  try {
    await orFail(file.truncate(from));
    await file.seek(from, Deno.SeekMode.Start);
    for await (const piece of pieces) {
      for (let done = 0; done < piece.length;) done += await orFail(file.write(piece.subarray(done)));
      size += piece.length;
      if (size - safe >= UNSAFE.bytes || performance.now() - at >= UNSAFE.ms) await settle();
      onSize(size);
    }
    await settle();
    return size;
  } catch (error) {
    if (size > safe) await settle().catch(() => {}); // why it ended matters more
    throw error;
  } finally {
    file.close();
  }
}
