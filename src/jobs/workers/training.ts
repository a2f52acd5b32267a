/**
 * What each kind of job makes of the files in its folder: the trainer of its kind, the form of its checkpoints, and what outlasts it beside the result. How a training is
 * run to its end, train_job.ts says, of all kinds alike.
 */
import { join } from "node:path";
import type { Runtime } from "../../engine/mod.ts";
import { decodeImage } from "../../images/decode.ts";
import type { Picture } from "../../images/picture.ts";
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  encodeGenerator,
  type GeneratorFile,
} from "../../splice/transfer/checkpoint.ts";
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
  ): Promise<Trainer>;
  encode(checkpoint: Checkpoint): GeneratorFile;
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
  const structure = await readInput("structure", { folder, size: recipe.size });
  const appearance = await readInput("appearance", { folder, size: recipe.size });
  const ingredients = { structure, appearance, extractor: await warm.extractor(model), recipe };
  const fingerprint = fingerprintOf(ingredients);
  return {
    fingerprint,
    open: (runtime, options) => openTrainer({ ...ingredients, ...options, runtime, fingerprint, cache: warm.steps }),
    encode: (checkpoint) => encodeCheckpoint(checkpoint, recipe.padding),
    decode: decodeCheckpoint,
    async keep(trainer) {
      const { tensors, metadata } = encodeGenerator(
        { slab: await trainer.slab(), padding: recipe.padding },
        { model: modelName(model), steps: String(recipe.steps) },
      );
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
    open: (runtime, options) => openInversion({ ...ingredients, ...options, runtime, fingerprint, cache: warm.steps }),
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
