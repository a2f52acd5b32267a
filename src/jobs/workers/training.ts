/**
 * What each kind of job makes of the files in its folder: the trainer of its kind, the form of its checkpoints, and what outlasts it beside the result. How a training is
 * run to its end, train_job.ts says, of all kinds alike.
 */
import { join } from "node:path";
import type { Runtime } from "../../engine/mod.ts";
import { decodeImage, openPictureFile } from "../../images/decode.ts";
import type { Picture } from "../../images/picture.ts";
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  encodeGenerator,
  type TrainedGenerator,
} from "../../splice/transfer/checkpoint.ts";
import { type Enlarging, openEnlarging } from "../../splice/transfer/enlarge.ts";
import { fingerprintOf } from "../../splice/transfer/fingerprint.ts";
import {
  decodeInversion,
  encodeInversion,
  fingerprintOfInversion,
  openInversion,
} from "../../splice/instruments/inversion.ts";
import type { InversionRecipe } from "../../splice/instruments/inversion_options.ts";
import type { Recipe } from "../../splice/transfer/recipe.ts";
import { openTrainer, type Trainer } from "../../splice/transfer/trainer.ts";
import { writeSafetensors } from "../../weights/formats/safetensors.ts";
import { modelName } from "../../weights/store/store.ts";
import type { StateDict } from "../../weights/formats/tensor.ts";
import type { Warm } from "./warm.ts";
import type { InputName, Work } from "../model/work.ts";

export interface Training {
  /** Of pictures, model and options: checkpoints of another are of no use. */
  readonly fingerprint: string;
  open(
    runtime: Runtime,
    options: { readonly checkpoint: Checkpoint | undefined; readonly memoryLimit: number | undefined },
  ): Promise<{
    readonly trainer: Trainer;
    /** What becomes of its picture in the end; null where it stays as large as it was painted. */
    readonly enlarging: Enlarging | null;
  }>;
  encode(checkpoint: Checkpoint): { tensors: StateDict; metadata: Record<string, string> };
  /** Null for what is no checkpoint of this kind. */
  decode(tensors: StateDict, metadata: Readonly<Record<string, string>>): Checkpoint | null;
  /** Writes what is kept of the trainer, once all steps are done. */
  keep(trainer: Trainer): Promise<void>;
}

interface Ingredients<Options> {
  readonly folder: string;
  readonly options: Options;
  /** The model's file. */
  readonly model: string;
  readonly warm: Warm;
}

/** Reads pictures and model. @throws ImageError, WeightsError */
export function prepareTraining(
  work: Work,
  { folder, model, warm }: Pick<Ingredients<unknown>, "folder" | "model" | "warm">,
): Promise<Training> {
  return work.kind === "splice"
    ? prepareTransfer({ folder, model, warm, options: work.options })
    : prepareInversion({ folder, model, warm, options: work.options });
}

async function prepareTransfer({ folder, options: recipe, model, warm }: Ingredients<Recipe>): Promise<Training> {
  const { size, detail } = recipe;
  const file = await openPictureFile(await Deno.readFile(join(folder, "structure")), {
    label: "structure",
    longest: size,
  });
  const structure = file.picture;
  const appearance = await readInput("appearance", { folder, size: recipe.size });
  const ingredients = { structure, appearance, extractor: await warm.extractor(model), recipe };
  const fingerprint = fingerprintOf(ingredients);
  async function generatorOf(trainer: Trainer): Promise<TrainedGenerator> {
    return { slab: await trainer.slab(), size: Math.max(structure.width, structure.height) };
  }
  return {
    fingerprint,
    async open(runtime, options) {
      const trainer = await openTrainer({ ...ingredients, ...options, runtime, fingerprint, cache: warm.steps });
      const { memoryLimit } = options;
      const generator = () => generatorOf(trainer);
      return { trainer, enlarging: openEnlarging({ detail, file, runtime, generator, memoryLimit }) };
    },
    encode: encodeCheckpoint,
    decode: decodeCheckpoint,
    async keep(trainer) {
      const about = { model: modelName(model), steps: String(recipe.steps) };
      const { tensors, metadata } = encodeGenerator(await generatorOf(trainer), about);
      await writeSafetensors(join(folder, "generator.safetensors"), tensors, { metadata });
    },
  };
}

async function prepareInversion(
  { folder, options: recipe, model, warm }: Ingredients<InversionRecipe>,
): Promise<Training> {
  const picture = await readInput("image", { folder, size: recipe.size });
  const ingredients = { picture, extractor: await warm.extractor(model), recipe };
  const fingerprint = fingerprintOfInversion(ingredients);
  return {
    fingerprint,
    async open(runtime, options) {
      const cache = warm.steps;
      return {
        trainer: await openInversion({ ...ingredients, ...options, runtime, fingerprint, cache }),
        enlarging: null,
      };
    },
    encode: encodeInversion,
    decode: decodeInversion,
    keep: () => Promise.resolve(), // the picture is all there is to it
  };
}

async function readInput(
  name: InputName,
  { folder, size }: { readonly folder: string; readonly size: number | undefined },
): Promise<Picture> {
  return await decodeImage(await Deno.readFile(join(folder, name)), { label: name, longest: size });
}
