/**
 * Folders of pictures that belong together: a sub-folder each, with structure, appearance and result in it, of any kind of picture. The order is that of names.
 */
import { join } from "node:path";
import { reasonOf } from "./files.ts";
import { UsageError } from "../terminal/usage.ts";

const PARTS = ["structure", "appearance", "result"] as const;
type Part = (typeof PARTS)[number];

export interface TripleFiles extends Readonly<Record<Part, string>> {
  /** The sub-folder's. */
  readonly name: string;
}

/** @throws UsageError naming every sub-folder that lacks a picture, or has two; or where there is none at all. */
export async function findTriples(folder: string): Promise<TripleFiles[]> {
  const problems: string[] = [];
  const triples: TripleFiles[] = [];
  for (const name of await namesIn(folder, "--folder")) {
    const inside = join(folder, name);
    if (!(await Deno.stat(inside)).isDirectory) continue;
    const found = partsOf(await namesIn(inside, "--folder"));
    if (PARTS.every((part) => found[part].length === 0)) continue; // a folder of other things
    const wrong = PARTS.flatMap((part) =>
      found[part].length === 1
        ? []
        : found[part].length === 0
        ? [`no picture ${part}.* is there`]
        : [`${found[part].join(" and ")} are both there`]
    );
    if (wrong.length > 0) problems.push(`Cannot use ${inside}: ${wrong.join("; ")}`);
    const file = (part: Part) => join(inside, found[part][0] ?? "");
    triples.push({ name, structure: file("structure"), appearance: file("appearance"), result: file("result") });
  }
  if (triples.length === 0 && problems.length === 0) {
    problems.push(
      `Cannot use --folder ${folder}: it has no sub-folder with structure, appearance and result (.jpg, .png, .webp, .heic, .avif, .tif, .gif, .bmp or .jxl)`,
    );
  }
  if (problems.length > 0) throw new UsageError(problems);
  return triples;
}

function partsOf(names: readonly string[]): Record<Part, string[]> {
  const found: Record<Part, string[]> = { structure: [], appearance: [], result: [] };
  for (const name of names) {
    const part = /^(structure|appearance|result)\.(?:png|jpe?g|webp|avif|hei[cf]|tiff?|gif|bmp|jxl)$/i.exec(name)?.[1]
      .toLowerCase();
    if (part !== undefined) found[part as Part].push(name);
  }
  return found;
}

async function namesIn(folder: string, flag: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) names.push(name);
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound
      ? "there is no such folder"
      : cause instanceof Deno.errors.NotADirectory
      ? "it is no folder"
      : reasonOf(cause);
    throw new UsageError([`Cannot use ${flag} ${folder}: ${why}`]);
  }
  return names.sort();
}
