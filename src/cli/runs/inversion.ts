/**
 * One feature inversion from the command line, from a photograph to a picture: what `invert` does. Metrics, previews, checkpoints and Ctrl-C as in a transfer.
 */
import {
  decodeInversion,
  encodeInversion,
  fingerprintOfInversion,
  type Inversion,
  openInversion,
} from "../../splice/instruments/inversion.ts";
import type { InversionRecipe } from "../../splice/instruments/inversion_options.ts";
import { layerProblem } from "../../splice/instruments/look_options.ts";
import { megabytes } from "../../splice/transfer/memory.ts";
import { readPicture } from "../files/files.ts";
import type { ExtractorFlags } from "../terminal/extractor_flags.ts";
import { asFlag, UsageError } from "../terminal/usage.ts";
import type { Voice } from "../terminal/voice.ts";
import { openExtractor } from "./extractor.ts";
import { findCheckpoint } from "./resume.ts";
import { withRuntime } from "./surroundings.ts";
import { type TrainingJob, trainToPicture, withVoice } from "./training_run.ts";

export interface InversionJob extends TrainingJob, ExtractorFlags {
  readonly image: string;
  readonly recipe: InversionRecipe;
}

/** Does it, and says so with `voice`. Resolves to the exit code. */
export async function runInversion(job: InversionJob, voice: Voice): Promise<number> {
  return await withVoice(voice, (signal) => invert(job, voice, signal));
}

async function invert(job: InversionJob, voice: Voice, signal: AbortSignal): Promise<number> {
  const began = performance.now();
  const { recipe } = job;
  const picture = await readPicture(job.image, recipe.size);
  const extractor = await openExtractor(recipe.model, job, voice.note);
  const { name: model, vit: { depth } } = extractor;
  const problem = layerProblem(recipe.layer, { model, depth });
  if (problem) throw new UsageError([asFlag(problem.message)]);
  const checkpoint = await findCheckpoint(job, decodeInversion, voice);
  const fingerprint = job.checkpoint === undefined ? "" : fingerprintOfInversion({ recipe, extractor, picture });
  return await withRuntime(async (runtime, memoryLimit) => {
    const inversion = await openInversion({
      runtime,
      extractor,
      recipe,
      picture,
      checkpoint,
      fingerprint,
      memoryLimit,
    });
    const { name: adapter } = runtime.gpu.info;
    voice.started({
      adapter,
      model,
      steps: recipe.steps,
      step: inversion.step(),
      memory_bytes: inversion.memory.totalBytes,
      plan: planText(inversion, {
        adapter,
        model,
        what: `${recipe.feature} of block ${
          recipe.layer ?? depth - 1
        }, photograph ${picture.width} x ${picture.height}`,
      }),
    });
    return await trainToPicture(inversion, { job, voice, signal, began, encode: encodeInversion });
  });
}

function planText(
  { memory, seen, step }: Inversion,
  { adapter, model, what }: { adapter: string; model: string; what: string },
): string {
  const from = step() > 0 ? `; going on after step ${step()}` : "";
  return [
    `${adapter}; model ${model}; memory ${megabytes(memory.totalBytes)} (${megabytes(memory.scratchBytes)} reused)`,
    `${what}, seen and painted as ${seen.width} x ${seen.height}${from}`,
  ].join("\n");
}
