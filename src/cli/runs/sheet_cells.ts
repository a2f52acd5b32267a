/**
 * The cells of a contact sheet on the disk: a folder each, with structure.png, appearance.png and result.png (as `splice evaluate --folder` reads them) and cell.json,
 * the numbers. Invariant: cell.json is written last, and names what the cell was made of, and what it was measured by; so a cell is either finished and of this very list,
 * or only its numbers are of another extractor or size, and it is measured again, or it is run, from its checkpoint where that is of the same run.
 */
import { join } from "node:path";
import { z } from "zod";
import type { Runtime } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import type { Rows } from "../../images/scale.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../splice/transfer/checkpoint.ts";
import { conduct, type Progress } from "../../splice/transfer/conduct.ts";
import { transferColours } from "../../splice/evaluation/colour_transfer.ts";
import { type Evaluation, MEASURES, openEvaluator, type Triple } from "../../splice/evaluation/evaluation.ts";
import type { SheetMethod } from "../../splice/evaluation/sheet_list.ts";
import { openEnlarging } from "../../splice/transfer/enlarge.ts";
import type { Extractor } from "../../splice/transfer/extractor.ts";
import { fingerprintOf, modelText } from "../../splice/transfer/fingerprint.ts";
import { keptCheckpoint } from "../../splice/transfer/kept_checkpoint.ts";
import { type Recipe, vitSize } from "../../splice/transfer/recipe.ts";
import type { StepCache } from "../../splice/transfer/step_cache.ts";
import { openTrainer } from "../../splice/transfer/trainer.ts";
import { writeSafetensors } from "../../weights/formats/safetensors.ts";
import { makeFolder, openPhotograph, readPicture, writePicture, writeText } from "../files/files.ts";
import { type Photograph, type PhotographReader, sizedText } from "../files/sheet_photographs.ts";
import { withRuntime } from "./surroundings.ts";

/** One pair with one setting. */
export interface CellTask {
  readonly folder: string;
  readonly structure: Photograph;
  readonly appearance: Photograph;
  readonly method: SheetMethod;
  /** Of a cell that is not trained, the size alone counts. */
  readonly recipe: Recipe;
  readonly extractor: Extractor;
  /** What measures the result: the same for all cells of a sheet. */
  readonly judge: Judge;
}

export interface Judge {
  readonly extractor: Extractor;
  /** Short side of what it sees, limit of its long side, and how pictures are resized to it. */
  readonly side: number;
  readonly longest: number;
  readonly resize: Recipe["resize"];
}

/** How the shared options of a list have its cells measured. */
export function judgeOf(recipe: Recipe, extractor: Extractor): Judge {
  return { extractor, ...vitSize(recipe, extractor.vit.native), resize: recipe.resize };
}

export interface FinishedCell {
  readonly picture: Picture;
  readonly numbers: Evaluation;
  /** What the picture took, in seconds, all runs of its training together. */
  readonly seconds: number;
}

const cellSchema = z.object({
  made_of: z.object({
    run: z.string(),
    steps: z.number(),
    detail: z.string().default("none"), // there was no choice once
  }),
  measured_by: z.string(),
  seconds: z.number(),
  numbers: z.object(
    Object.fromEntries(MEASURES.map((name) => [name, z.number()])) as Record<keyof Evaluation, z.ZodNumber>,
  ),
});

export interface RunCellOptions {
  readonly signal: AbortSignal;
  readonly cache: StepCache;
  readonly photographs: PhotographReader;
  onProgress(progress: Progress): void;
}

/** A cell of an earlier run, if it is finished and made of the same. `current`: its numbers are this sheet's; if not, it is to be measured. */
export async function keptCell(task: CellTask): Promise<FinishedCell & { readonly current: boolean } | null> {
  try {
    const { made_of, measured_by, numbers, seconds } = cellSchema.parse(
      JSON.parse(await Deno.readTextFile(join(task.folder, "cell.json"))),
    );
    const { run, steps, detail } = made_of;
    if (run !== runText(task) || steps !== stepsOf(task) || detail !== detailOf(task)) return null;
    const current = measured_by === judgeText(task.judge);
    if (!current) await readTriple(task.folder); // it can be measured
    return { picture: await readPicture(join(task.folder, "result.png")), numbers, seconds, current };
  } catch {
    return null; // not there, or not whole: it is made anew
  }
}

/** Measures a finished cell anew. */
export async function measureCell(task: CellTask, { seconds }: { readonly seconds: number }): Promise<FinishedCell> {
  return await withRuntime((runtime, memoryLimit) => finish(task, { runtime, memoryLimit, seconds }));
}

/** Makes the picture, measures and keeps it. Null where the signal came first; the checkpoint of a training then waits for the next run. */
export async function runCell(task: CellTask, options: RunCellOptions): Promise<FinishedCell | null> {
  return task.method === "colour" ? await transferCell(task, options) : await trainCell(task, options);
}

async function transferCell(task: CellTask, { photographs }: RunCellOptions): Promise<FinishedCell> {
  const { width, height } = task.structure;
  // Pixels alone need no smaller picture to learn from: as large as it is to be.
  const size = detailOf(task) === "none" ? task.recipe.size : Math.max(width, height);
  const [structure, appearance] = await photographs.read([task.structure, task.appearance], size);
  const began = performance.now();
  const result = transferColours(structure, appearance);
  const seconds = Number(((performance.now() - began) / 1000).toFixed(1));
  await makeFolder(task.folder, "--data");
  await keepPictures(task.folder, { structure, appearance, result });
  return await measureCell(task, { seconds });
}

async function trainCell(task: CellTask, options: RunCellOptions): Promise<FinishedCell | null> {
  const { folder, recipe, extractor } = task;
  const file = (name: string) => join(folder, name);
  const [structure, appearance] = await options.photographs.read([task.structure, task.appearance], recipe.size);
  const enlarged = detailOf(task) !== "none";
  const whole = enlarged ? await openPhotograph(task.structure.path, recipe.size) : null;
  await makeFolder(folder, "--data");
  const fingerprint = runText(task);
  const wanted = { decode: decodeCheckpoint, fingerprint, steps: recipe.steps };
  const checkpoint = await keptCheckpoint(file("checkpoint.safetensors"), wanted);
  const before = Number(checkpoint?.metadata.seconds) || 0;
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
    const seconds = () => before + (performance.now() - began) / 1000;
    await conduct(trainer, {
      recipe: { steps: recipe.steps, preview_every: 0 },
      signal: options.signal,
      onSteps: (_, progress) => options.onProgress(progress),
      onPreview: () => {},
      async save(state) {
        const { tensors, metadata } = encodeCheckpoint(state, recipe.padding);
        await writeSafetensors(file("checkpoint.safetensors"), tensors, {
          metadata: { ...metadata, seconds: seconds().toFixed(1) },
        });
      },
    });
    if (trainer.step() < recipe.steps) return null;
    const painted = await trainer.render();
    const enlarging = whole && openEnlarging({
      detail: recipe.detail,
      file: whole,
      runtime,
      generator: async () => ({ slab: await trainer.slab(), size: undefined, padding: recipe.padding }),
      memoryLimit,
    });
    if (enlarging === null) await keepPictures(folder, { structure, appearance, result: painted });
    else {
      const { width, height } = enlarging.size;
      const looks = await readPicture(task.appearance.path, Math.max(width, height));
      await whole!.withRows((rows) => keepPictures(folder, { structure: rows }));
      await keepPictures(folder, { appearance: looks });
      await enlarging.enlarge(painted, {}, (rows) => keepPictures(folder, { result: rows }));
    }
    runtime.release(); // what measures has buffers of its own
    const cell = await finish(task, { runtime, memoryLimit, seconds: Number(seconds().toFixed(1)) });
    await Deno.remove(file("checkpoint.safetensors")).catch(() => {}); // it has served
    return cell;
  });
}

async function keepPictures(folder: string, pictures: Partial<Record<keyof Triple, Picture | Rows>>): Promise<void> {
  await Deno.remove(join(folder, "cell.json")).catch(() => {}); // of another run, whose pictures go now
  for (const [name, picture] of Object.entries(pictures)) await writePicture(join(folder, `${name}.png`), picture);
}

/** Measures the pictures of a cell's folder, and writes its cell.json. */
async function finish(
  task: CellTask,
  { runtime, memoryLimit, seconds }: { runtime: Runtime; memoryLimit: number | undefined; seconds: number },
): Promise<FinishedCell> {
  const { folder, method, recipe, judge } = task;
  const triple = await readTriple(folder); // what is measured is what can be seen: 8 bits
  const evaluator = openEvaluator(runtime.gpu, { ...judge, memoryLimit });
  const { numbers } = await evaluator.evaluate(triple);
  evaluator.release();
  const made_of = { run: runText(task), steps: stepsOf(task), detail: detailOf(task) };
  const cell = { made_of, measured_by: judgeText(judge), seconds, numbers, method, recipe };
  await writeText(join(folder, "cell.json"), `${JSON.stringify(cell, null, 2)}\n`);
  return { picture: triple.result, numbers, seconds };
}

async function readTriple(folder: string): Promise<Triple> {
  const read = (name: string) => readPicture(join(folder, `${name}.png`));
  return {
    structure: await read("structure"),
    appearance: await read("appearance"),
    result: await read("result"),
  };
}

/** What is done with its picture: nothing, where it is trained at the photograph's own size. */
function detailOf({ structure: { width, height }, recipe: { size, detail } }: CellTask): Recipe["detail"] {
  return size === undefined || size >= Math.max(width, height) ? "none" : detail;
}

const stepsOf = ({ method, recipe }: CellTask) => method === "colour" ? 0 : recipe.steps;

/** Everything that its picture depends on, but for the steps and the detail. */
function runText({ method, extractor, recipe, ...photographs }: CellTask): string {
  const structure = sizedText(photographs.structure, recipe.size);
  const appearance = sizedText(photographs.appearance, recipe.size);
  if (method === "colour") return JSON.stringify({ method, structure, appearance });
  return fingerprintOf({ structure, appearance, extractor, recipe });
}

/** Everything else that its numbers depend on. */
function judgeText({ extractor, side, longest, resize }: Judge): string {
  return JSON.stringify({ model: modelText(extractor), vit_side: side, vit_longest: longest, resize });
}
