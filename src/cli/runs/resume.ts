/**
 * Going on with an earlier run: its checkpoint, if that was asked for and is there, and what is said when a run stops. Of transfers and inversions alike; what a
 * checkpoint consists of, their owners know.
 */
import type { Checkpoint } from "../../splice/transfer/checkpoint.ts";
import type { StateDict } from "../../weights/formats/tensor.ts";
import { loadWeights } from "../../weights/store/store.ts";
import type { Voice } from "../terminal/voice.ts";

export interface Resumable {
  readonly checkpoint?: string | undefined;
  readonly resume?: boolean | undefined;
}

type Decode<Kind> = (tensors: StateDict, metadata: Readonly<Record<string, string>>) => Kind | null;

/** The checkpoint to go on from. A file that is none is neither read nor replaced. */
export async function findCheckpoint<Kind extends Checkpoint>(
  { checkpoint: path, resume }: Resumable,
  decode: Decode<Kind>,
  voice: Voice,
): Promise<Kind | undefined> {
  if (path === undefined || !(await exists(path))) return undefined;
  const { tensors, metadata } = await loadWeights(path);
  const checkpoint = decode(tensors, metadata);
  if (!checkpoint) {
    throw new Error(
      `Cannot use --checkpoint ${path}: a file of another kind is there; name another, or remove it first`,
    );
  }
  if (resume) return checkpoint;
  voice.note(
    `${path} holds ${checkpoint.step} steps of an earlier run and will be replaced; --resume would go on from it`,
  );
  return undefined;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}

/** What is said when a run ends before its last step. */
export function stoppedText(step: number, steps: number, checkpoint: string | undefined): string {
  const kept = checkpoint === undefined
    ? "nothing was kept: with --checkpoint FILE a run can be continued"
    : step === 0
    ? "there was nothing to keep yet"
    : `the same command with --resume goes on from ${checkpoint}`;
  return `Stopped after ${step} of ${steps} steps; ${kept}`;
}
