/** The checkpoint of an unattended run, as its file holds it: one that is of another run is no error there, the run begins anew. */
import { loadWeights } from "../../weights/store/store.ts";
import type { StateDict } from "../../weights/formats/tensor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { fingerprintChanges } from "./fingerprint.ts";

export interface Wanted {
  /** Null for what is no checkpoint of the run's kind. */
  decode(tensors: StateDict, metadata: Readonly<Record<string, string>>): Checkpoint | null;
  readonly fingerprint: string;
  /** The run's: a checkpoint beyond them is of a longer one. */
  readonly steps: number;
}

export interface KeptCheckpoint {
  readonly state: Checkpoint;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Null where there is none to go on from: none was saved, or it cannot be read, or is of another run. */
export async function keptCheckpoint(
  path: string,
  { decode, fingerprint, steps }: Wanted,
): Promise<KeptCheckpoint | null> {
  try {
    const { tensors, metadata } = await loadWeights(path);
    const state = decode(tensors, metadata);
    const fits = state && state.step <= steps && fingerprintChanges(state.fingerprint, fingerprint).length === 0;
    return fits ? { state, metadata } : null;
  } catch {
    return null;
  }
}
