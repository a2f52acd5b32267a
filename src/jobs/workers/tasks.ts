/**
 * The short tasks of a GPU worker, done between the steps of its job: rendering with a trained generator, features of a picture, pictures of what the extractor sees. From
 * files to a file, like a job, but without a memory of it.
 */
import { decodeImage, openPictureFile } from "../../images/decode.ts";
import { encodeImage } from "../../images/encode.ts";
import { type Picture, releasePicture } from "../../images/picture.ts";
import type { Rows } from "../../images/scale.ts";
import { readGenerator } from "../../splice/transfer/checkpoint.ts";
import { renderPhotograph } from "../../splice/transfer/enlarge.ts";
import { extractFeatures, featureMetadata, layersProblem, wantedLayers } from "../../splice/instruments/features.ts";
import { paintLook, tooMuch } from "../../splice/instruments/look.ts";
import { lookProblems } from "../../splice/instruments/look_options.ts";
import { type Recipe, vitSize } from "../../splice/transfer/recipe.ts";
import { writeSafetensors } from "../../weights/formats/safetensors.ts";
import { loadWeights, modelName } from "../../weights/store/store.ts";
import { refuse } from "./blame.ts";
import type { Task } from "../model/messages.ts";
import type { Warm } from "./warm.ts";
import { refuseLongWebp } from "./webp.ts";
import { writeWhole } from "../machine/write_whole.ts";

/** A look is made between two steps of a job that is being trained, and may not keep it waiting long. */
const MOST_PATCHES = 3200;

/** Does it; what it makes is on the disk when this resolves. @throws Fault, EngineError, ... */
export async function perform(task: Task, warm: Warm): Promise<void> {
  switch (task.task) {
    case "apply":
      return await apply(task, warm);
    case "features":
      return await features(task, warm);
    case "look":
      return await lookAt(task, warm);
    default:
      throw new Error(`Bug: a GPU worker was asked to ${task.task}`);
  }
}

async function apply(
  { generator, picture, options, out, format }: Extract<Task, { task: "apply" }>,
  warm: Warm,
): Promise<void> {
  const trained = readGenerator(await loadWeights(generator), "the job's generator");
  const { detail, size: longest = trained.size } = options;
  const file = await openPictureFile(await Deno.readFile(picture), { label: "image", longest });
  try {
    refuseLongWebp(detail === "none" ? file.picture : file.size, format);
    const write = async (rendered: Picture | Rows) => await writeWhole(out, await encodeImage(rendered, format));
    await warm.withRuntime((runtime, memoryLimit) =>
      renderPhotograph(runtime, { generator: trained, file, detail, memoryLimit }, write)
    );
  } finally {
    releasePicture(file.picture);
  }
}

/** The photograph may be large: what it took is given back as soon as the answer is on the disk. */
async function withPicture<T>(path: string, use: (picture: Picture) => Promise<T>): Promise<T> {
  const picture = await decodeImage(await Deno.readFile(path), { label: "image" });
  try {
    return await use(picture);
  } finally {
    releasePicture(picture);
  }
}

async function features(task: Extract<Task, { task: "features" }>, warm: Warm): Promise<void> {
  const extractor = await warm.extractor(task.model);
  const { depth, native } = extractor.vit;
  const model = modelName(task.model);
  const recipe: Recipe = task.recipe;
  const layers = wantedLayers(task.layers, depth);
  refuse([layersProblem(layers, { model, depth })]);
  const features = await withPicture(
    task.picture,
    (picture) =>
      warm.withRuntime((runtime, memoryLimit) =>
        extractFeatures(runtime, {
          extractor,
          picture,
          layers,
          ...vitSize(recipe, native),
          resize: recipe.resize,
          memoryLimit,
        })
      ),
  );
  await writeSafetensors(task.out, features.tensors, { metadata: featureMetadata(features, model) });
}

type LookTask = Extract<Task, { task: "look" }>;

async function lookAt(task: LookTask, warm: Warm): Promise<void> {
  const { look, format, out } = task;
  const extractor = await warm.extractor(task.model);
  const { vit } = extractor;
  refuse(lookProblems(look, { model: modelName(task.model), ...vit }));
  await withPicture(task.picture, async (picture) => {
    refuse([tooMuch(look, { vit, picture, mostPatches: MOST_PATCHES })]);
    const { painted } = await warm.withRuntime((runtime, memoryLimit) =>
      paintLook(runtime, { look, extractor, picture, memoryLimit })
    );
    refuseLongWebp(painted, format);
    await writeWhole(out, await encodeImage(painted, format));
  });
}
