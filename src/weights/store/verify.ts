// Whether a model of the store is still what it was: its checksum against the manifest's or the record's, and whether it loads. It changes nothing.

import { dirname } from "node:path";
import { checkIsModel } from "./keep.ts";
import type { VitDescription } from "../formats/vit_family.ts";
import { isBundled } from "./manifest.ts";
import { copyAt } from "./record.ts";
import { findModel, loadVit, MODELS, sha256OfFile, type StoreOptions } from "./store.ts";
import { WeightsError } from "../formats/tensor.ts";

/** `known`: there was a checksum to compare with. */
export type Verified = {
  readonly path: string;
  readonly sha256: string;
  readonly known: boolean;
  readonly vit: VitDescription;
};

/** What to do about a model whose file or record is damaged. */
export function remedyFor(name: string, { named = "" }: Pick<StoreOptions, "named">): string {
  const entry = MODELS.find((model) => model.name === name);
  if (entry && isBundled(entry)) return "Restore models/ from the repository";
  const again = entry === undefined ? "pull or import it again" : `\`splice models pull ${name}${named}\``;
  return `Run \`splice models remove ${name}${named}\`, then ${again}`;
}

/** Reads a model's file twice over. @throws WeightsError if it is not there, is not what was stored, or does not load; it says what to do. */
export async function verifyModel(name: string, options: StoreOptions): Promise<Verified> {
  const path = await findModel(name, options);
  const entry = MODELS.find((model) => model.name === name);
  const sha256 = await sha256OfFile(path);
  const { named } = options;
  const expected = entry?.sha256 ?? (await copyAt(path, sha256, { named }))?.sha256;
  const remedy = remedyFor(name, options);
  if (expected !== undefined && expected !== sha256) {
    throw new WeightsError(
      `Cannot trust ${path}: its SHA-256 is ${sha256}, and ${expected} was stored. It has been changed or damaged. ${remedy}.`,
    );
  }
  try {
    const { vit } = await loadVit(path);
    checkIsModel(name, vit, path);
    return { path, sha256, known: expected !== undefined, vit };
  } catch (cause) {
    if (!(cause instanceof WeightsError)) throw cause;
    throw new WeightsError(`${cause.message} ${remedy} (in ${dirname(path)}).`, { cause });
  }
}
