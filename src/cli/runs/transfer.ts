/** One transfer from the command line, from files to a picture: what `run` and `demo` do. */
import type { Picture } from "../../images/picture.ts";
import type { Size } from "../../images/scale.ts";
import {
  decodeCheckpoint,
  encodeCheckpoint,
  encodeGenerator,
  generatorSlab,
} from "../../splice/transfer/checkpoint.ts";
import { openEnlarging } from "../../splice/transfer/enlarge.ts";
import { fingerprintOf } from "../../splice/transfer/fingerprint.ts";
import { megabytes } from "../../splice/transfer/memory.ts";
import { type Recipe, vitSize } from "../../splice/transfer/recipe.ts";
import { openTrainer, type Trainer } from "../../splice/transfer/trainer.ts";
import { seenSize } from "../../nets/vit.ts";
import { writeSafetensors } from "../../weights/formats/safetensors.ts";
import { loadWeights } from "../../weights/store/store.ts";
import { checkSize, openPhotograph, readPicture } from "../files/files.ts";
import type { ExtractorFlags } from "../terminal/extractor_flags.ts";
import type { Voice } from "../terminal/voice.ts";
import { openExtractor } from "./extractor.ts";
import { findCheckpoint } from "./resume.ts";
import { withRuntime } from "./surroundings.ts";
import { type TrainingJob, trainToPicture, withVoice } from "./training_run.ts";

export interface Transfer extends TrainingJob, ExtractorFlags {
  readonly structure: string;
  readonly appearance: string;
  readonly recipe: Recipe;
  readonly initGenerator?: string | undefined;
  readonly saveGenerator?: string | undefined;
}

/** More steps than this are worth a warning where no graphics card computes them. */
const QUICK_STEPS = 300;

/** Does it, and says so with `voice`. Resolves to the exit code. */
export async function runTransfer(transfer: Transfer, voice: Voice): Promise<number> {
  return await withVoice(voice, (signal) => prepareAndTrain(transfer, voice, signal));
}

async function prepareAndTrain(transfer: Transfer, voice: Voice, signal: AbortSignal): Promise<number> {
  const began = performance.now();
  const { recipe } = transfer;
  const file = await openPhotograph(transfer.structure, recipe.size);
  const structure = file.picture;
  checkSize({ path: transfer.out, flag: "--out" }, recipe.detail === "none" ? structure : file.size);
  const appearance = await readPicture(transfer.appearance, recipe.size);
  const extractor = await openExtractor(recipe.model, transfer, voice.note);
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
    const generator = async () => ({
      slab: await trainer.slab(),
      size: Math.max(structure.width, structure.height),
    });
    const enlarging = openEnlarging({ detail: recipe.detail, file, runtime, generator, memoryLimit });
    const { name } = runtime.gpu.info;
    const seen = vitSize(recipe, extractor.vit.native);
    if (runtime.gpu.info.software && recipe.preset === undefined && recipe.steps > QUICK_STEPS) {
      voice.note(
        `${name} computes on the CPU: ${recipe.steps} steps take hours. With --preset quick, a small picture takes minutes`,
      );
    }
    voice.started({
      adapter: name,
      model: extractor.name,
      steps: recipe.steps,
      step: trainer.step(),
      memory_bytes: trainer.memory.totalBytes,
      plan: planText(trainer, {
        adapter: name,
        model: extractor.name,
        pictures: [structure, appearance],
        result: enlarging?.size ?? structure,
        side: seen.side,
        longest: seen.longest,
      }),
    });
    return await trainToPicture(trainer, {
      job: transfer,
      voice,
      signal,
      began,
      encode: encodeCheckpoint,
      enlarging,
      async keep() {
        if (transfer.saveGenerator === undefined) return;
        const { tensors, metadata } = encodeGenerator(await generator(), {
          model: extractor.name,
          steps: String(recipe.steps),
        });
        await writeSafetensors(transfer.saveGenerator, tensors, { metadata });
      },
    });
  });
}

function planText(
  trainer: Trainer,
  { adapter, model, pictures, result, side, longest }: {
    adapter: string;
    model: string;
    pictures: readonly Picture[];
    result: Size;
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
    `structure ${a}, appearance ${b}, seen as ${seen.width} x ${seen.height}, result ${result.width} x ${result.height}${from}`,
  ].join("\n");
}
