// Whether a model of the store is still what it was: its checksum against the manifest's or the record's, and whether it loads. It changes nothing.

import { dirname } from "node:path";
import { checkIsModel } from "./keep.ts";
import type { VitDescription } from "./names.ts";
import { copyAt } from "./record.ts";
import { findModel, loadVit, MODELS, sha256OfFile, type StoreOptions } from "./store.ts";
import { WeightsError } from "./tensor.ts";

/** `known`: there was a checksum to compare with. */
export type Verified = {
  readonly path: string;
  readonly sha256: string;
  readonly known: boolean;
  readonly vit: VitDescription;
};

/** Reads a model's file twice over. @throws WeightsError if it is not there, is not what was stored, or does not load; it says what to do. */
export async function verifyModel(name: string, options: StoreOptions): Promise<Verified> {
  const path = await findModel(name, options);
  const entry = MODELS.find((model) => model.name === name);
  const sha256 = await sha256OfFile(path);
  const { named = "" } = options;
  const copy = entry?.sha256 === undefined ? await copyAt(path, sha256, { named }) : null;
  const expected = entry?.sha256 ?? copy?.sha256;
  const remedy = entry?.sources.length === 0
    ? "Restore models/ from the repository"
    : `Run \`splice models remove ${name}${named}\`, then ${
      entry === undefined ? "pull or import it again" : `\`splice models pull ${name}${named}\``
    }`;
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
