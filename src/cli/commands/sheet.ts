/** `splice sheet`: pairs by settings, each cell a run, as one labelled picture with numbers. Unattended: a cell that fails is said in its place. */
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { checkWritable, clashes, formatProblem, makeFolder, reasonOf } from "../files/files.ts";
import { programFolder } from "../launch.ts";
import { type Common, EXIT, quietFlag, UsageError, verboseFlag } from "../terminal/usage.ts";
import { type ExtractorFlags, extractorProblems, withExtractorFlags } from "../terminal/extractor_flags.ts";
import { lockFolder } from "../../jobs/machine/folder_lock.ts";
import type { Recipe } from "../../splice/transfer/recipe.ts";
import { exampleList, parseSheetList, type SheetList } from "../../splice/evaluation/sheet_list.ts";

interface SheetOptions extends Common, ExtractorFlags {
  readonly list?: string;
  readonly out?: string;
  readonly data?: string;
  readonly example?: boolean;
  readonly json?: boolean;
}

export function addSheet(program: Command, finish: (code: number) => void): void {
  const command = program.command("sheet")
    .summary("run pairs with several settings, into one labelled picture with numbers")
    .description(
      "Runs each pair of a list with each of its settings (a loss removed, another seed, another size, whatever `splice run` takes) and draws one picture: a row " +
        'for each pair, a column for each setting, the numbers of `splice evaluate` below. A setting with `"method": "colour"` is not trained: it gives a ' +
        "photograph the mean and covariance of the other's colours, to compare with. The numbers are also written beside it, as JSON. Called again, it " +
        "goes on where it was stopped.",
    )
    .option("--list <file>", "the pairs and settings, as JSON; paths in it are from the list's folder")
    .option("--out <file>", "the picture, .png, .jpg or .webp; drawn anew after every cell")
    .option("--data <folder>", "where cells are kept (default: beside the picture, as NAME.cells)")
    .option(
      "--example",
      "print a list to begin with: three bundled pairs, each loss removed in turn (half an hour on two cores)",
    )
    .option("--json", "print progress as JSON lines");
  withExtractorFlags(command)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText(
      "after",
      "\nExample:\n  splice sheet --example > list.json\n  splice sheet --list list.json --out sheet.png",
    )
    .action(async (options: SheetOptions) => finish(await sheet(options)));
}

async function sheet(options: SheetOptions): Promise<number> {
  if (options.example) {
    const pair = (name: string, structure: string, appearance: string) => {
      const [a, b] = [structure, appearance].map((file) => join(programFolder(), "examples", `${file}.jpg`));
      return { name, structure: a, appearance: b };
    };
    console.log(exampleList([
      pair("mountains at sunset", "picos-de-europa", "sunset"),
      pair("the mountains in autumn", "picos-de-europa", "aitzgorri"),
      pair("the autumn wood at sunset", "aitzgorri", "sunset"),
    ]));
    return EXIT.done;
  }
  const problems: string[] = [];
  for (const name of ["list", "out"] as const) {
    if (options[name] === undefined) problems.push(`Cannot make a sheet: --${name} FILE is missing`);
  }
  if (options.out !== undefined) problems.push(...[formatProblem(options.out, "--out")].filter((why) => why !== null));
  problems.push(...clashes({ "--list": options.list }, { "--out": options.out }));
  problems.push(...extractorProblems(options));
  const list = options.list === undefined ? null : await readList(options.list, problems);
  if (problems.length > 0 || list === null) throw new UsageError(problems);
  const { list: listPath, out } = options as Required<SheetOptions>;
  const data = options.data ?? out.replace(/\.[^.]*$/, ".cells");
  const numbers = out.replace(/\.[^.]*$/, ".json");
  const photographs = list.pairs.flatMap((pair) => [pair.structure, pair.appearance]);
  const taken = clashes(
    { "--list": listPath, ...Object.fromEntries(photographs.map((path) => [path, path])) },
    { "--out": out, "the numbers": numbers },
  );
  if (taken.length > 0) throw new UsageError(taken);
  await checkWritable([{ path: out, flag: "--out" }, { path: numbers, flag: "the numbers" }]);
  await makeFolder(data, "--data");
  const lock = lockOf(data);
  if (lock === null) {
    throw new Error(
      `Cannot use ${data}: another sheet is being made there; wait for it, or name another folder with --data`,
    );
  }
  try {
    const { makeSheet } = await import("../runs/sheet_run.ts");
    return await makeSheet(list, { ...options, out, numbers, data });
  } finally {
    lock.release();
  }
}

/** A file, and no name of the store. */
const isModelFile = (model: string | undefined): model is string =>
  model !== undefined && /[/\\]|\.(?:safetensors|pth|bin|index\.json)$/.test(model);

/** @throws UsageError where the folder cannot be written; null where another sheet has it */
function lockOf(data: string): ReturnType<typeof lockFolder> {
  try {
    return lockFolder(data);
  } catch (cause) {
    throw new UsageError([
      `Cannot use ${data}: ${join(data, "lock")} cannot be written (${
        reasonOf(cause)
      }); name another folder with --data`,
    ]);
  }
}

/** Reads and checks the list, and that its pictures are there. Their paths come back as seen from here. */
async function readList(path: string, problems: string[]): Promise<SheetList | null> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    const hint = cause instanceof Deno.errors.NotFound ? "; `splice sheet --example` prints one" : "";
    problems.push(`Cannot read --list ${path}: ${reasonOf(cause)}${hint}`);
    return null;
  }
  const read = parseSheetList(text);
  if (!read.ok) {
    problems.push(...read.errors.map((why) => `Cannot use --list ${path}: ${why}`));
    return null;
  }
  const from = (file: string) => resolve(dirname(path), file);
  const { recipe, settings } = read.list;
  const placed = ({ model, ...options }: Recipe): Recipe => ({
    ...options,
    model: isModelFile(model) ? from(model) : model,
  });
  const pairs = read.list.pairs.map((pair) => ({
    ...pair,
    structure: from(pair.structure),
    appearance: from(pair.appearance),
  }));
  for (const file of new Set(pairs.flatMap(({ structure, appearance }) => [structure, appearance]))) {
    if (!(await Deno.stat(file).then(({ isDirectory }) => !isDirectory, () => false))) {
      problems.push(`Cannot use --list ${path}: there is no picture ${file}`);
    }
  }
  return {
    ...read.list,
    pairs,
    recipe: placed(recipe),
    settings: settings.map((setting) => ({ ...setting, recipe: placed(setting.recipe) })),
  };
}
