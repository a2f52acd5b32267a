/**
 * A contact sheet from its list to its picture: the cells one after another, row by row, and the picture and its numbers written anew after each, so that there is
 * something to look at from the first one on.
 */
import { join, resolve } from "node:path";
import type { Progress } from "../../splice/transfer/conduct.ts";
import { COMPARABLE, type Evaluation, summarise } from "../../splice/evaluation/evaluation.ts";
import { type Recipe, recipeSchema, vitSize } from "../../splice/transfer/recipe.ts";
import type { SheetList, SheetPair, SheetSetting } from "../../splice/evaluation/sheet_list.ts";
import {
  drawSheet,
  type SheetCell,
  type SheetContent,
  sheetSize,
  thumbnail,
} from "../../splice/evaluation/sheet_picture.ts";
import { openStepCache } from "../../splice/transfer/step_cache.ts";
import { checkSize, writePicture, writeText } from "../files/files.ts";
import { type CellTask, type FinishedCell, judgeOf, keptCell, measureCell, runCell } from "./sheet_cells.ts";
import { examinePhotographs, openPhotographReader, type Photograph } from "../files/sheet_photographs.ts";
import { type CellName, openSheetVoice, type SheetVoice } from "../terminal/sheet_voice.ts";
import type { ExtractorFlags } from "../terminal/extractor_flags.ts";
import { type NamedExtractor, openExtractor, sayUnless } from "./extractor.ts";
import { interruptible } from "./surroundings.ts";
import { EXIT } from "../terminal/usage.ts";
import { durationText } from "../terminal/quantities.ts";
import type { VoiceOptions } from "../terminal/voice.ts";

export interface SheetFiles extends VoiceOptions, ExtractorFlags {
  readonly out: string;
  readonly numbers: string;
  /** A folder for each cell. */
  readonly data: string;
}

interface Row {
  readonly pair: SheetPair;
  readonly structure: Photograph | { readonly error: string };
  readonly appearance: Photograph | { readonly error: string };
  readonly cells: SheetCell[];
  readonly seconds: (number | null)[];
}

interface Making {
  readonly list: SheetList;
  readonly files: SheetFiles;
  readonly voice: SheetVoice;
  /** Models by what recipes call them. */
  readonly extractors: ReadonlyMap<Recipe["model"], NamedExtractor>;
  readonly rows: readonly Row[];
}

/** Resolves to the exit code: 1 where a cell failed. */
export async function makeSheet(list: SheetList, files: SheetFiles): Promise<number> {
  const voice = openSheetVoice(files);
  const extractors = new Map<Recipe["model"], NamedExtractor>();
  for (const { model } of [list.recipe, ...list.settings.map(({ recipe }) => recipe)]) {
    if (extractors.has(model)) continue;
    extractors.set(model, await openExtractor(model, files, sayUnless(files.quiet)));
  }
  const photographs = await examinePhotographs(
    list.pairs.flatMap(({ structure, appearance }) => [structure, appearance]),
  );
  const rows = list.pairs.map((pair): Row => {
    const cells = list.settings.map((): SheetCell => ({ kind: "waiting" }));
    const [structure, appearance] = [photographs.get(pair.structure)!, photographs.get(pair.appearance)!];
    return { pair, structure, appearance, cells, seconds: cells.map(() => null) };
  });
  const making = { list, files, voice, extractors, rows };
  checkSize({ path: files.out, flag: "--out" }, sheetSize(contentOf(making)));
  return await interruptible((signal) => make(making, signal));
}

async function make(making: Making, signal: AbortSignal): Promise<number> {
  const { list, files, voice, rows } = making;
  const began = performance.now();
  const cells = list.pairs.length * list.settings.length;
  const tasks = rows.flatMap((row) => list.settings.map((setting, column) => ({ row, setting, column })));
  const waiting: typeof tasks = [];
  const unmeasured: { one: (typeof tasks)[number]; task: CellTask; seconds: number }[] = [];
  // Cells of an earlier run come first, so that the time left is that of what is to be done.
  for (const one of tasks) {
    const task = taskOf(making, one);
    const kept = task && await keptCell(task);
    if (!kept) waiting.push(one);
    else if (kept.current) settle(one, kept, voice, { name: nameOf(one), kept: true });
    else unmeasured.push({ one, task, seconds: kept.seconds });
  }
  for (const { one, task, seconds } of unmeasured) {
    if (signal.aborted) break;
    try {
      settle(one, await measureCell(task, { seconds }), voice, { name: nameOf(one), kept: true });
    } catch (error) {
      fail(one, error);
    }
  }
  const cache = openStepCache();
  const photographs = openPhotographReader();
  const took: number[] = [];
  for (const [i, one] of waiting.entries()) {
    if (signal.aborted) break;
    const name = nameOf(one);
    const cellBegan = performance.now();
    try {
      const task = taskOf(making, one);
      if (task === null) throw new Error(unreadable(one.row));
      const finished = await runCell(task, {
        signal,
        cache,
        photographs,
        onProgress: (progress) => voice.progress(name, progress, leftOver(progress, cellBegan, i)),
      });
      if (finished === null) break;
      settle(one, finished, voice, { name, kept: false });
    } catch (error) {
      fail(one, error);
    }
    took.push((performance.now() - cellBegan) / 1000);
    await write(making);
  }
  if (waiting.length === 0) await write(making);
  return conclude();

  function fail(one: (typeof tasks)[number], error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    one.row.cells[one.column] = { kind: "failed", error: message };
    voice.failed(nameOf(one), message);
  }

  function nameOf({ row, setting, column }: { row: Row; setting: SheetSetting; column: number }): CellName {
    const cell = rows.indexOf(row) * list.settings.length + column + 1;
    return { cell, cells, pair: row.pair.name, setting: setting.name };
  }

  /** Seconds for this cell and all that wait behind it, which are taken to be like those so far. */
  function leftOver({ eta_seconds, step, steps }: Progress, cellBegan: number, i: number): number | null {
    const own = step === steps ? 0 : eta_seconds;
    if (own === null) return null;
    const whole = (performance.now() - cellBegan) / 1000 + own;
    const usual = [...took, whole].reduce((sum, value) => sum + value, 0) / (took.length + 1);
    return own + (waiting.length - i - 1) * usual;
  }

  function conclude(): number {
    const count = (kind: SheetCell["kind"]) =>
      rows.reduce((sum, row) => sum + row.cells.filter((cell) => cell.kind === kind).length, 0);
    const [done, failed, left] = [count("done"), count("failed"), count("waiting")];
    if (left > 0) {
      const text = `Stopped after ${done + failed} of ${cells} cells; the same command goes on from there`;
      voice.ended("canceled", { done, failed, cells }, text);
      return EXIT.interrupted;
    }
    const time = durationText((performance.now() - began) / 1000);
    const but = failed === 0 ? "" : `; ${failed} of ${cells} cells failed: the same command tries them again`;
    const text = `${resolve(files.out)} is done, in ${time}, its numbers are in ${resolve(files.numbers)}${but}`;
    voice.ended("succeeded", { result: files.out, numbers: files.numbers, done, failed, cells }, text);
    return failed === 0 ? EXIT.done : EXIT.failed;
  }
}

function settle(
  { row, column }: { row: Row; column: number },
  { picture, numbers, seconds }: FinishedCell,
  voice: SheetVoice,
  { name, kept }: { name: CellName; kept: boolean },
): void {
  row.cells[column] = { kind: "done", picture: thumbnail(picture), numbers };
  row.seconds[column] = seconds;
  voice.finished(name, { numbers, seconds, kept });
}

/** Null where a photograph cannot be read. */
function taskOf(making: Making, { row, setting }: { row: Row; setting: SheetSetting }): CellTask | null {
  const { list, files, extractors } = making;
  if ("error" in row.structure || "error" in row.appearance) return null;
  return {
    folder: join(files.data, `${row.pair.slug}--${setting.slug}`),
    structure: row.structure,
    appearance: row.appearance,
    method: setting.method,
    recipe: setting.recipe,
    extractor: extractors.get(setting.recipe.model)!,
    judge: judgeOf(list.recipe, extractors.get(list.recipe.model)!),
  };
}

function unreadable({ structure, appearance }: Row): string {
  return [structure, appearance].flatMap((one) => "error" in one ? [one.error] : []).join("; ");
}

/** What the picture shows now, but for the means. */
function contentOf({ list, extractors, rows }: Making): Omit<SheetContent, "summaries"> {
  const { name: model, vit } = extractors.get(list.recipe.model)!;
  const shown = (one: Row["structure"]) => "error" in one ? null : one.thumbnail;
  return {
    title: list.title,
    settings: list.settings.map(({ name }) => name),
    rows: rows.map(({ pair, structure, appearance, cells }) => ({
      name: pair.name,
      structure: shown(structure),
      appearance: shown(appearance),
      cells,
    })),
    notes: [
      `${model}, ${runText(list.recipe)}, unless a column says otherwise. Measured by ${model} at ${
        vitSize(list.recipe, vit.native).side
      } px: distance from the structure (self-similarity of keys) and from the appearance ([CLS]), mean squared differences, smaller is nearer; layout: intersection ` +
      "over union of foreground masks, 1 is the same.",
    ],
  };
}

/** The picture and the numbers, as far as they are there. */
async function write(making: Making): Promise<void> {
  const { list, files, extractors, rows } = making;
  const { name: model, vit } = extractors.get(list.recipe.model)!;
  const seen = vitSize(list.recipe, vit.native);
  const summaries = list.settings.map((_, column) => {
    const numbers = rows.flatMap(({ cells }) => numbersOf(cells[column]) ?? []);
    return numbers.length < rows.length || numbers.length < 2 ? null : summarise(numbers);
  });
  await writePicture(files.out, drawSheet({ ...contentOf(making), summaries }));
  const content = {
    title: list.title,
    measured_by: { model, vit_side: seen.side, vit_longest: seen.longest },
    settings: list.settings.map(({ name, method, recipe }, column) => ({
      name,
      method,
      ...(method === "colour" ? {} : { options: recipe }),
      ...(summaries[column] ?? {}),
    })),
    pairs: rows.map(({ pair, cells, seconds }) => ({
      name: pair.name,
      structure: pair.structure,
      appearance: pair.appearance,
      cells: cells.map((cell, column) => ({
        setting: list.settings[column].name,
        status: cell.kind,
        ...(numbersOf(cell) ?? {}),
        ...(seconds[column] === null ? {} : { seconds: seconds[column] }),
        ...(cell.kind === "failed" ? { error: cell.error } : {}),
      })),
    })),
    comparable: COMPARABLE,
  };
  await writeText(files.numbers, `${JSON.stringify(content, null, 2)}\n`);
}

/** Steps, size, and what else was chosen: `300 steps, longest side 170 px, weight_ssim 10`. */
function runText(recipe: Recipe): string {
  const { steps, size } = recipe;
  const usual = recipeSchema.parse({});
  const chosen = CHOSEN.filter((name) => recipe[name] !== usual[name]).map((name) => `${name} ${recipe[name]}`);
  return [`${steps} steps`, ...(size === undefined ? [] : [`longest side ${size} px`]), ...chosen].join(", ");
}

const CHOSEN = [
  "seed",
  "augment",
  "weight_cls",
  "weight_ssim",
  "weight_id",
  "weight_entire_cls",
  "weight_entire_ssim",
  "entire_every",
  "learning_rate",
  "detail",
  "padding",
  "blur_probability",
] as const satisfies readonly (keyof Recipe)[];

const numbersOf = (cell: SheetCell): Evaluation | null => cell.kind === "done" ? cell.numbers : null;
