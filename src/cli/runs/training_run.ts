/**
 * A training from the command line, from where it stands to a picture: what transfers and inversions have in common. Each opens its own trainer, and says what it begins.
 *
 * Invariant: whenever a checkpoint lies on the disk, the metrics of all its steps do too, so that a run that goes on leaves neither
 * a gap nor a step twice.
 */
import { resolve } from "node:path";
import type { Checkpoint } from "../../splice/transfer/checkpoint.ts";
import { conduct, type Progress } from "../../splice/transfer/conduct.ts";
import type { Enlarging } from "../../splice/transfer/enlarge.ts";
import type { Recipe } from "../../splice/transfer/recipe.ts";
import type { Trainer } from "../../splice/transfer/trainer.ts";
import { writeSafetensors } from "../../weights/formats/safetensors.ts";
import type { StateDict } from "../../weights/formats/tensor.ts";
import { writePicture } from "../files/files.ts";
import { EXIT } from "../terminal/usage.ts";
import { durationText } from "../terminal/quantities.ts";
import type { Voice } from "../terminal/voice.ts";
import { openMetrics } from "./metrics.ts";
import { type Resumable, stoppedText } from "./resume.ts";
import { interruptible } from "./surroundings.ts";

export interface TrainingJob extends Resumable {
  readonly out: string;
  readonly recipe: Pick<Recipe, "steps" | "preview_every">;
  readonly metrics?: string | undefined;
}

/** Runs `work` with a signal that Ctrl-C aborts; what goes wrong is said with the voice as well. */
export async function withVoice(voice: Voice, work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  return await interruptible(async (signal) => {
    try {
      return await work(signal);
    } catch (error) {
      voice.failed(error);
      throw error;
    }
  });
}

export interface TrainingRunOptions {
  readonly job: TrainingJob;
  readonly voice: Voice;
  readonly signal: AbortSignal;
  /** When the command began, as `performance.now()` has it. */
  readonly began: number;
  /** A checkpoint as the content of a safetensors file. */
  encode(checkpoint: Checkpoint): { tensors: StateDict; metadata: Record<string, string> };
  /** What is kept of a finished training beside the picture. */
  keep?(): Promise<void>;
  /** What becomes of its picture; null or absent where it stays as large as it was painted. */
  readonly enlarging?: Enlarging | null;
}

/** Trains to the end or until the signal; keeps the metrics, the previews, the checkpoint and in the end the picture. Resolves to the exit code. */
export async function trainToPicture(trainer: Trainer, options: TrainingRunOptions): Promise<number> {
  const { job, voice } = options;
  const progress = await train(trainer, options);
  if (trainer.step() < job.recipe.steps) return stopped(trainer, options);
  await options.keep?.();
  const painted = await trainer.render();
  if (!options.enlarging) await writePicture(job.out, painted);
  else {
    const { signal } = options;
    const onLeft = (seconds: number) => progress && voice.progress({ ...progress, eta_seconds: seconds });
    try {
      await options.enlarging.enlarge(painted, { signal, onLeft }, (rows) => writePicture(job.out, rows));
    } catch (error) {
      if (signal.aborted) return stopped(trainer, options);
      throw error;
    }
  }
  const took = durationText((performance.now() - options.began) / 1000);
  voice.succeeded(job.out, `${resolve(job.out)} is done, in ${took}`);
  return EXIT.done;
}

function stopped(trainer: Trainer, { voice, job }: TrainingRunOptions): number {
  voice.canceled(stoppedText(trainer.step(), job.recipe.steps, job.checkpoint));
  return EXIT.interrupted;
}

async function train(
  trainer: Trainer,
  { job, voice, signal, encode, enlarging }: TrainingRunOptions,
): Promise<Progress | null> {
  const metrics = job.metrics === undefined ? null : await openMetrics(job.metrics, trainer.step());
  try {
    return await conduct(trainer, {
      recipe: job.recipe,
      signal,
      ahead: enlarging?.seconds,
      onSteps(reports, progress) {
        metrics?.add(reports);
        voice.progress(progress);
      },
      async onPreview(picture, step) {
        await writePicture(job.out, enlarging ? await enlarging.preview(picture) : picture);
        voice.preview(step, job.out);
      },
      save: job.checkpoint === undefined ? null : async (checkpoint) => {
        const { tensors, metadata } = encode(checkpoint);
        await writeSafetensors(job.checkpoint!, tensors, { metadata });
      },
    });
  } finally {
    metrics?.close();
  }
}
