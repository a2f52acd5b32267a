/**
 * The short tasks of a GPU worker, done between the steps of its job: rendering with a trained generator, features of a picture, pictures of what the extractor sees. From
 * files to a file, like a job, but without a memory of it.
 */
import { decodeImage } from "../images/decode.ts";
import { encodeImage } from "../images/encode.ts";
import { seenSize } from "../nets/vit.ts";
import { applyGenerator } from "../splice/apply.ts";
import { generatorSlab } from "../splice/checkpoint.ts";
import type { Size } from "../splice/augment.ts";
import { extractFeatures } from "../splice/features.ts";
import { paintLook } from "../splice/look.ts";
import { lookProblems, numbered } from "../splice/look_options.ts";
import { type Recipe, vitSize } from "../splice/recipe.ts";
import { writeSafetensors } from "../weights/safetensors.ts";
import { loadWeights, modelName } from "../weights/store.ts";
import { refuse } from "./blame.ts";
import { Fault, type FieldError } from "./job.ts";
import type { Task } from "./messages.ts";
import type { Warm } from "./warm.ts";
import { refuseLongWebp } from "./webp.ts";
import { writeWhole } from "./write_whole.ts";

/** Pixels of all pictures that attention paints side by side: as many as one picture may have. */
const MOST_PAINTED = 64e6;
/** Patches whose components are looked for: it takes seconds, and the worker's job waits. */
const MOST_PATCHES = 3200;

/** Does it; what it makes is on the disk when this resolves. @throws Fault, EngineError, ... */
export async function perform(task: Task, warm: Warm): Promise<void> {
  switch (task.task) {
    case "apply": {
      const slab = generatorSlab((await loadWeights(task.generator)).tensors, "the job's generator");
      const picture = await decodeImage(await Deno.readFile(task.picture), { label: "image" });
      refuseLongWebp(picture, task.format);
      const rendered = await warm.withRuntime((runtime, memoryLimit) =>
        applyGenerator(runtime, { slab, picture, memoryLimit })
      );
      await writeWhole(task.out, await encodeImage(rendered, task.format));
      return;
    }
    case "features":
      return await features(task, warm);
    case "look":
      return await lookAt(task, warm);
    default:
      throw new Error(`Bug: a GPU worker was asked to ${task.task}`);
  }
}

async function features(task: Extract<Task, { task: "features" }>, warm: Warm): Promise<void> {
  const extractor = await warm.extractor(task.model);
  const { depth, native, patch } = extractor.vit;
  const recipe: Recipe = task.recipe;
  const layers = task.layers.length > 0 ? task.layers : [depth - 1];
  if (layers.some((layer) => layer >= depth)) {
    const message = `Cannot use layers = ${layers}: ${modelName(task.model)} has ${numbered(depth, "block")}`;
    throw new Fault("invalid_options", message, { errors: [{ field: "layers", message }] });
  }
  const picture = await decodeImage(await Deno.readFile(task.picture), { label: "image" });
  const { tensors, grid, seen } = await warm.withRuntime((runtime, memoryLimit) =>
    extractFeatures(runtime, {
      extractor,
      picture,
      layers,
      ...vitSize(recipe, native),
      resize: recipe.resize,
      memoryLimit,
    })
  );
  await writeSafetensors(task.out, tensors, {
    metadata: {
      kind: "splice-features",
      model: modelName(task.model),
      grid: `${grid.rows}x${grid.cols}`,
      patch: String(patch),
      resized: `${seen.height}x${seen.width}`,
    },
  });
}

type LookTask = Extract<Task, { task: "look" }>;

async function lookAt(task: LookTask, warm: Warm): Promise<void> {
  const { look, format, out } = task;
  const extractor = await warm.extractor(task.model);
  const { vit } = extractor;
  refuse(lookProblems(look, { model: modelName(task.model), ...vit }));
  const picture = await decodeImage(await Deno.readFile(task.picture), { label: "image" });
  refuse([tooMuch(look, { ...vit, picture })]);
  const { painted } = await warm.withRuntime((runtime, memoryLimit) =>
    paintLook(runtime, { look, extractor, picture, memoryLimit })
  );
  refuseLongWebp(painted, format);
  await writeWhole(out, await encodeImage(painted, format));
}

/** What would keep the worker from its job for too long, or take all memory there is. */
function tooMuch(
  { look, options }: LookTask["look"],
  { heads, native, patch, picture }: { heads: number; native: number; patch: number; picture: Size },
): FieldError | null {
  const pixels = heads * picture.width * picture.height;
  if (look === "attention" && options.head === undefined && pixels > MOST_PAINTED) {
    const message = `Cannot paint all ${heads} heads of a photograph of ${picture.width} x ${picture.height}: ` +
      `together that is more than ${MOST_PAINTED / 1e6} megapixels; name one head, or scale the photograph down`;
    return { field: "head", message };
  }
  const { side, longest } = vitSize(options, native);
  const seen = seenSize(picture.height, picture.width, side, longest);
  const patches = Math.floor(seen.height / patch) * Math.floor(seen.width / patch);
  if (look !== "pca" || patches <= MOST_PATCHES) return null;
  const message = `Cannot use vit_side = ${side}: that is ${patches} patches, and ${MOST_PATCHES} are the most here`;
  return { field: "vit_side", message };
}
