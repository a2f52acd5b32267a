/**
 * The cells of a contact sheet on the disk: a folder each, with structure.png, appearance.png and result.png (as `splice evaluate --folder` reads them) and cell.json,
 * the numbers. Invariant: cell.json is written last, and names what the cell was made of; so a cell is either finished and of this very list, or it is run, from its
 * checkpoint where that is of the same run.
 */
import { join } from "node:path";
import { z } from "zod";
import { fitPicture, type Picture } from "../images/picture.ts";
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from "../splice/checkpoint.ts";
import { conduct, type Progress } from "../splice/conduct.ts";
import { type Evaluation, MEASURES, openEvaluator } from "../splice/evaluation.ts";
import type { Extractor } from "../splice/extractor.ts";
import { fingerprintChanges, fingerprintOf } from "../splice/fingerprint.ts";
import { type Recipe, vitSize } from "../splice/recipe.ts";
import type { StepCache } from "../splice/step_cache.ts";
import { openTrainer } from "../splice/trainer.ts";
import { writeSafetensors } from "../weights/safetensors.ts";
import { loadWeights } from "../weights/store.ts";
import { readPicture, writePicture, writeText } from "./files.ts";
import { withRuntime } from "./surroundings.ts";

/** One pair with one setting. */
export interface CellTask {
  readonly folder: string;
  readonly structure: Picture;
  readonly appearance: Picture;
  readonly recipe: Recipe;
  readonly extractor: Extractor;
  /** What measures the result: the same for all cells of a sheet. */
  readonly judge: { readonly recipe: Recipe; readonly extractor: Extractor };
}

export interface FinishedCell {
  readonly picture: Picture;
  readonly numbers: Evaluation;
  /** What the training took, in seconds, all its runs together. */
  readonly seconds: number;
}

const cellSchema = z.object({
  made_of: z.string(),
  seconds: z.number(),
  numbers: z.object(
    Object.fromEntries(MEASURES.map((name) => [name, z.number()])) as Record<keyof Evaluation, z.ZodNumber>,
  ),
});

export interface RunCellOptions {
  readonly signal: AbortSignal;
  readonly cache: StepCache;
  onProgress(progress: Progress): void;
}

/** A cell of an earlier run, if it is finished and made of the same. */
export async function keptCell(task: CellTask): Promise<FinishedCell | null> {
  try {
    const text = await Deno.readTextFile(join(task.folder, "cell.json"));
    const { made_of, numbers, seconds } = cellSchema.parse(JSON.parse(text));
    if (made_of !== madeOf(task)) return null;
    return { picture: await readPicture(join(task.folder, "result.png")), numbers, seconds };
  } catch {
    return null; // not there, or not whole: it is made anew
  }
}

/** Trains, renders, measures and keeps. Null where the signal came first; its checkpoint then waits for the next run. */
export async function runCell(task: CellTask, options: RunCellOptions): Promise<FinishedCell | null> {
  const { folder, recipe, extractor } = task;
  const file = (name: string) => join(folder, name);
  await Deno.mkdir(folder, { recursive: true });
  const [structure, appearance] = sized(task);
  const fingerprint = fingerprintOf({ structure, appearance, extractor, recipe });
  const checkpoint = await readCheckpoint(file("checkpoint.safetensors"), { fingerprint, steps: recipe.steps });
  const began = performance.now();
  return await withRuntime(async (runtime, memoryLimit) => {
    const trainer = await openTrainer({
      runtime,
      extractor,
      recipe,
      structure,
      appearance,
      checkpoint: checkpoint?.state,
      fingerprint,
      memoryLimit,
      cache: options.cache,
    });
    const seconds = () => (checkpoint?.seconds ?? 0) + (performance.now() - began) / 1000;
    await conduct(trainer, {
      recipe: { steps: recipe.steps, preview_every: 0 },
      signal: options.signal,
      onSteps: (_, progress) => options.onProgress(progress),
      onPreview: () => {},
      async save(state) {
        const { tensors, metadata } = encodeCheckpoint(state);
        await writeSafetensors(file("checkpoint.safetensors"), tensors, {
          metadata: { ...metadata, seconds: seconds().toFixed(1) },
        });
      },
    });
    if (trainer.step() < recipe.steps) return null;
    // What is measured is what can be seen afterwards: 8 bits.
    const kept = async (name: string, picture: Picture) => {
      await writePicture(file(name), picture);
      return await readPicture(file(name));
    };
    const triple = {
      structure: await kept("structure.png", structure),
      appearance: await kept("appearance.png", appearance),
      result: await kept("result.png", await trainer.render()),
    };
    const { judge } = task;
    const evaluator = openEvaluator(runtime, {
      extractor: judge.extractor,
      ...vitSize(judge.recipe, judge.extractor.vit.native),
      resize: judge.recipe.resize,
      memoryLimit,
    });
    const { numbers } = await evaluator.evaluate(triple);
    const cell = { made_of: madeOf(task), seconds: Number(seconds().toFixed(1)), numbers, recipe };
    await writeText(file("cell.json"), `${JSON.stringify(cell, null, 2)}\n`);
    await Deno.remove(file("checkpoint.safetensors")).catch(() => {}); // it has served
    return { picture: triple.result, numbers, seconds: cell.seconds };
  });
}

function sized({ structure, appearance, recipe }: CellTask): [Picture, Picture] {
  const { size } = recipe;
  return size === undefined ? [structure, appearance] : [fitPicture(structure, size), fitPicture(appearance, size)];
}

/** Everything that its picture and its numbers depend on, as text. */
function madeOf(task: CellTask): string {
  const [structure, appearance] = sized(task);
  const { extractor, recipe, judge } = task;
  return JSON.stringify({
    run: fingerprintOf({ structure, appearance, extractor, recipe }),
    steps: recipe.steps,
    judge: fingerprintOf({ structure, appearance, extractor: judge.extractor, recipe: judge.recipe }),
  });
}

/** Null where there is none that this run could go on from. */
async function readCheckpoint(
  path: string,
  { fingerprint, steps }: { fingerprint: string; steps: number },
): Promise<{ state: Checkpoint; seconds: number } | null> {
  try {
    const { tensors, metadata } = await loadWeights(path);
    const state = decodeCheckpoint(tensors, metadata);
    if (!state || state.step > steps || fingerprintChanges(state.fingerprint, fingerprint).length > 0) return null;
    return { state, seconds: Number(metadata.seconds) || 0 };
  } catch {
    return null;
  }
}
