/**
 * One transfer from the command line, from files to a picture: what `run` and `demo` do.
 *
 * Invariant: whenever a checkpoint lies on the disk, the metrics of all its steps do too, so that a run that goes on leaves neither
 * a gap nor a step twice.
 */
import { resolve } from "node:path";
import { fitPicture, type Picture } from "../../images/picture.ts";
import {
  decodeCheckpoint,
  encodeCheckpoint,
  generatorSlab,
  unpackGenerator,
} from "../../splice/transfer/checkpoint.ts";
import { conduct } from "../../splice/transfer/conduct.ts";
import { fingerprintOf } from "../../splice/transfer/fingerprint.ts";
import { megabytes } from "../../splice/transfer/memory.ts";
import { type Recipe, vitSize } from "../../splice/transfer/recipe.ts";
import { openTrainer, type Trainer } from "../../splice/transfer/trainer.ts";
import { seenSize } from "../../nets/vit.ts";
import { writeSafetensors } from "../../weights/formats/safetensors.ts";
import { loadWeights } from "../../weights/store/store.ts";
import { checkSize, readPicture, writePicture } from "../files/files.ts";
import { type Metrics, openMetrics } from "./metrics.ts";
import { findCheckpoint, stoppedText } from "./resume.ts";
import { interruptible, withRuntime } from "./surroundings.ts";
import { openExtractor } from "./extractor.ts";
import type { ToldFlags } from "../terminal/told_flags.ts";
import { EXIT } from "../terminal/usage.ts";
import { durationText } from "../terminal/quantities.ts";
import type { Voice } from "../terminal/voice.ts";

export interface Transfer extends ToldFlags {
  readonly structure: string;
  readonly appearance: string;
  readonly out: string;
  readonly recipe: Recipe;
  readonly initGenerator?: string | undefined;
  readonly saveGenerator?: string | undefined;
  readonly metrics?: string | undefined;
  readonly checkpoint?: string | undefined;
  readonly resume?: boolean | undefined;
  /** Where models are kept, if not in the usual folder. */
  readonly models?: string | undefined;
  readonly quiet?: boolean | undefined;
}

/** Does it, and says so with `voice`. Resolves to the exit code. */
export async function runTransfer(transfer: Transfer, voice: Voice): Promise<number> {
  return await interruptible(async (signal) => {
    try {
      return await prepareAndTrain(transfer, voice, signal);
    } catch (error) {
      voice.failed(error);
      throw error;
    }
  });
}

async function prepareAndTrain(transfer: Transfer, voice: Voice, signal: AbortSignal): Promise<number> {
  const began = performance.now();
  const { recipe } = transfer;
  const picture = async (path: string) => {
    const whole = await readPicture(path);
    return recipe.size === undefined ? whole : fitPicture(whole, recipe.size);
  };
  const structure = await picture(transfer.structure);
  checkSize({ path: transfer.out, flag: "--out" }, structure);
  const appearance = await picture(transfer.appearance);
  const { extractor, model } = await openExtractor(recipe.model, transfer);
  const initial = transfer.initGenerator === undefined
    ? undefined
    : generatorSlab((await loadWeights(transfer.initGenerator)).tensors, transfer.initGenerator);
  const checkpoint = await findCheckpoint(transfer, decodeCheckpoint, voice);
  const fingerprint = transfer.checkpoint === undefined
    ? ""
    : fingerprintOf({ structure, appearance, extractor, recipe, initial });

  return await withRuntime(async (runtime, memoryLimit) => {
    const trainer = await openTrainer({
      runtime,
      extractor,
      recipe,
      structure,
      appearance,
      initial,
      checkpoint,
      fingerprint,
      memoryLimit,
    });
    const { name } = runtime.gpu.info;
    const seen = vitSize(recipe, extractor.vit.native);
    voice.started({
      adapter: name,
      model,
      steps: recipe.steps,
      step: trainer.step(),
      memory_bytes: trainer.memory.totalBytes,
      plan: planText(trainer, {
        adapter: name,
        model,
        pictures: [structure, appearance],
        side: seen.side,
        longest: seen.longest,
      }),
    });
    const metrics = transfer.metrics === undefined ? null : await openMetrics(transfer.metrics, trainer.step());
    try {
      await train(trainer, { transfer, voice, signal, metrics });
    } finally {
      metrics?.close();
    }
    const finished = trainer.step() >= recipe.steps;
    if (!finished) {
      voice.canceled(stoppedText(trainer.step(), recipe.steps, transfer.checkpoint));
      return EXIT.interrupted;
    }
    if (transfer.saveGenerator !== undefined) {
      await writeSafetensors(transfer.saveGenerator, unpackGenerator(await trainer.slab()), {
        metadata: { kind: "splice-generator", model, steps: String(recipe.steps) },
      });
    }
    await writePicture(transfer.out, await trainer.render());
    const took = durationText((performance.now() - began) / 1000);
    voice.succeeded(transfer.out, `${resolve(transfer.out)} is done, in ${took}`);
    return EXIT.done;
  });
}

/** Trains to the end or until the signal; keeps the metrics, the previews and the checkpoint. */
async function train(
  trainer: Trainer,
  { transfer, voice, signal, metrics }: {
    transfer: Transfer;
    voice: Voice;
    signal: AbortSignal;
    metrics: Metrics | null;
  },
): Promise<void> {
  await conduct(trainer, {
    recipe: transfer.recipe,
    signal,
    onSteps(reports, progress) {
      metrics?.add(reports);
      voice.progress(progress);
    },
    async onPreview(picture, step) {
      await writePicture(transfer.out, picture);
      voice.preview(step, transfer.out);
    },
    save: transfer.checkpoint === undefined ? null : async (checkpoint) => {
      const { tensors, metadata } = encodeCheckpoint(checkpoint);
      await writeSafetensors(transfer.checkpoint!, tensors, { metadata });
    },
  });
}

function planText(
  trainer: Trainer,
  { adapter, model, pictures, side, longest }: {
    adapter: string;
    model: string;
    pictures: readonly Picture[];
    side: number;
    longest: number;
  },
): string {
  const [a, b] = pictures.map(({ width, height }) => `${width} x ${height}`);
  const seen = seenSize(pictures[0].height, pictures[0].width, side, longest);
  const { totalBytes, scratchBytes } = trainer.memory;
  const from = trainer.step() > 0 ? `; going on after step ${trainer.step()}` : "";
  return [
    `${adapter}; model ${model}; memory ${megabytes(totalBytes)} (${megabytes(scratchBytes)} reused)`,
    `structure ${a}, appearance ${b}, seen as ${seen.width} x ${seen.height}${from}`,
  ].join("\n");
}
