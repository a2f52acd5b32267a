// What the store remembers of a model: one small JSON file beside it, NAME.record.json, that says where it came from, under which licence, and which
// SHA-256 the fetched and the stored file have. Not the known models (manifest.json): that list comes with the program, this is of one machine.
// Invariant: it is written before the weights are renamed into place and lists the copies before it too, so whatever lies there is described.

import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { messageOf, WeightsError, writeWholeFile } from "../formats/tensor.ts";

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const size = z.number().int().positive();
const three = z.array(z.number()).length(3);

/** A weight file of the store: its own size and checksum, and those of the file (or files, in sum) it was made from. `from` is an address, or a file's name. */
const Copy = z.strictObject({
  file: z.string(),
  dtype: z.enum(["f32", "f16"]),
  bytes: size,
  sha256: Sha256,
  licence: z.string().nullable(),
  /** What its tensors do not tell; older records do not say it. */
  network: z.strictObject({
    heads: size,
    normalisation: z.strictObject({ mean: three, deviation: three }),
  }).optional(),
  source: z.strictObject({
    from: z.string(),
    revision: z.string().nullable(),
    bytes: size,
    sha256: Sha256,
    /** Which of the source's networks it is; null where that has one. Records of earlier versions do not say. */
    network: z.string().nullable().default(null),
  }),
  when: z.iso.datetime(),
});

/** What an address gave when it was first used: from then on it has to give the same. */
const Sight = z.strictObject({ url: z.string(), bytes: size, sha256: Sha256, when: z.iso.datetime() });

const ModelRecord = z.strictObject({
  version: z.literal(1),
  name: z.string(),
  copies: z.array(Copy),
  first_seen: z.array(Sight),
});

export type Copy = z.infer<typeof Copy>;
export type Sight = z.infer<typeof Sight>;
/** `copies`, newest first: the file that is there is one of them. */
export type ModelRecord = z.infer<typeof ModelRecord>;

/** A crash may leave the copy before, and another crash the one before that. */
const COPIES = 3;

/** The path of a model's record. */
export const recordPath = (folder: string, name: string) => join(folder, `${name}.record.json`);

/** For what an error says to do: how the command line names the folder, as in `StoreOptions`. */
type Naming = { readonly named?: string | undefined };

/** What is remembered of a model in this folder, null if nothing is. @throws WeightsError if the record cannot be read. */
export async function readRecord(
  folder: string,
  name: string,
  { named = "" }: Naming = {},
): Promise<ModelRecord | null> {
  const path = recordPath(folder, name);
  try {
    return ModelRecord.parse(JSON.parse(await Deno.readTextFile(path)));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return null;
    const why = cause instanceof z.ZodError || cause instanceof SyntaxError ? "it is no record" : messageOf(cause);
    throw new WeightsError(
      `Cannot read ${path}: ${why}. What it describes cannot be trusted: \`splice models remove ${name}${named}\`, then pull or import it again.`,
      { cause },
    );
  }
}

/**
 * The copy that the weight file at `path` is, or should be: the one with this checksum, or without one that of its size, else the newest; null if the file was put
 * there by hand. @throws WeightsError as `readRecord`.
 */
export async function copyAt(path: string, sha256?: string, naming: Naming = {}): Promise<Copy | null> {
  const file = basename(path);
  const name = file.replace(/\.safetensors$/, "");
  if (name === file) return null;
  const copies = (await readRecord(dirname(path), name, naming))?.copies.filter((copy) => copy.file === file) ?? [];
  if (copies.length === 0) return null;
  const { size } = await Deno.stat(path);
  return copies.find((copy) => sha256 === undefined ? copy.bytes === size : copy.sha256 === sha256) ?? copies[0];
}

/** Remembers a copy that is about to be put in place, and what its address gave if this is the first time. @throws WeightsError */
export async function remember(
  folder: string,
  name: string,
  { copy, sight, named }: { copy: Copy; sight: Sight | null } & Naming,
): Promise<void> {
  const { copies, first_seen } = await readRecord(folder, name, { named }) ?? { copies: [], first_seen: [] };
  const known = sight === null || first_seen.some(({ url }) => url === sight.url);
  const record: ModelRecord = {
    version: 1,
    name,
    copies: [copy, ...copies.filter(({ sha256 }) => sha256 !== copy.sha256)].slice(0, COPIES),
    first_seen: known ? first_seen : [...first_seen, sight],
  };
  await writeWholeFile(recordPath(folder, name), new TextEncoder().encode(`${JSON.stringify(record, null, 2)}\n`));
}
