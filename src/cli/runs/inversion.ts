/**
 * One feature inversion from the command line, from a photograph to a picture: what `invert` does. Metrics, previews, checkpoints and Ctrl-C as in a transfer.
 */
import { resolve } from "node:path";
import { fitPicture } from "../../images/picture.ts";
import { conduct } from "../../splice/transfer/conduct.ts";
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
import { writeSafetensors } from "../../weights/formats/safetensors.ts";
import { readPicture, writePicture } from "../files/files.ts";
import { openMetrics } from "./metrics.ts";
import { findCheckpoint, type Resumable, stoppedText } from "./resume.ts";
import { interruptible, withRuntime } from "./surroundings.ts";
import { openExtractor } from "./extractor.ts";
import type { ToldFlags } from "../terminal/told_flags.ts";
import { asFlag, EXIT, UsageError } from "../terminal/usage.ts";
import { durationText } from "../terminal/quantities.ts";
import type { Voice } from "../terminal/voice.ts";

export interface InversionJob extends Resumable, ToldFlags {
  readonly image: string;
  readonly out: string;
  readonly recipe: InversionRecipe;
  readonly metrics?: string | undefined;
  /** Where models are kept, if not in the usual folder. */
  readonly models?: string | undefined;
  readonly quiet?: boolean | undefined;
}

/** Does it, and says so with `voice`. Resolves to the exit code. */
export async function runInversion(job: InversionJob, voice: Voice): Promise<number> {
  return await interruptible(async (signal) => {
    try {
      return await invert(job, voice, signal);
    } catch (error) {
      voice.failed(error);
      throw error;
    }
  });
}

async function invert(job: InversionJob, voice: Voice, signal: AbortSignal): Promise<number> {
  const began = performance.now();
  const { recipe } = job;
  const whole = await readPicture(job.image);
  const picture = recipe.size === undefined ? whole : fitPicture(whole, recipe.size);
  const { extractor, model } = await openExtractor(recipe.model, job);
  const { depth } = extractor.vit;
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
    await train(inversion, { job, voice, signal });
    if (inversion.step() < recipe.steps) {
      voice.canceled(stoppedText(inversion.step(), recipe.steps, job.checkpoint));
      return EXIT.interrupted;
    }
    await writePicture(job.out, await inversion.render());
    const took = durationText((performance.now() - began) / 1000);
    voice.succeeded(job.out, `${resolve(job.out)} is done, in ${took}`);
    return EXIT.done;
  });
}

/** Trains to the end or until the signal; keeps the metrics, the previews and the checkpoint. */
async function train(
  inversion: Inversion,
  { job, voice, signal }: { job: InversionJob; voice: Voice; signal: AbortSignal },
): Promise<void> {
  const metrics = job.metrics === undefined ? null : await openMetrics(job.metrics, inversion.step());
  try {
    await conduct(inversion, {
      recipe: job.recipe,
      signal,
      onSteps(reports, progress) {
        metrics?.add(reports);
        voice.progress(progress);
      },
      async onPreview(picture, step) {
        await writePicture(job.out, picture);
        voice.preview(step, job.out);
      },
      save: job.checkpoint === undefined ? null : async (checkpoint) => {
        const { tensors, metadata } = encodeInversion(checkpoint);
        await writeSafetensors(job.checkpoint!, tensors, { metadata });
      },
    });
  } finally {
    metrics?.close();
  }
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
