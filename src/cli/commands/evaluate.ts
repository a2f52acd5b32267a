/** `splice evaluate`: how well results did what was asked, as a table or as JSON; and, where asked for, the masks that the layout was judged by. */
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import type { Evaluated } from "../../splice/evaluation/evaluation.ts";
import { optionFlags, parseRecipe, type Recipe, type RecipeName, vitSize } from "../../splice/transfer/recipe.ts";
import type { EvaluationRow } from "../terminal/evaluation_text.ts";
import { type ExtractorFlags, extractorProblems, withExtractorFlags } from "../terminal/extractor_flags.ts";
import { checkWritable, makeFolder, readPicture, writePicture } from "../files/files.ts";
import { findTriples, type TripleFiles } from "../files/triples.ts";
import { asFlag, type Common, EXIT, givenRecipe, UsageError, verboseFlag } from "../terminal/usage.ts";

interface EvaluateOptions extends Common, ExtractorFlags {
  readonly structure?: string;
  readonly appearance?: string;
  readonly result?: string;
  readonly folder?: string;
  readonly masks?: string;
  readonly json?: boolean;
}

const RECIPE_OPTIONS: readonly RecipeName[] = ["model", "vit_side", "vit_longest", "resize"];

export function addEvaluate(program: Command, finish: (code: number) => void): void {
  const command = program.command("evaluate")
    .summary("measure how well results keep the structure and take the appearance")
    .description(
      "Measures results by the extractor: distance from the structure picture (keys' self-similarity), distance from the appearance picture ([CLS]), and how far " +
        "the foregrounds of structure picture and result cover each other (intersection over union of masks that a normalised cut of the keys gives).",
    )
    .option("--structure <file>", "the photograph whose structure was kept")
    .option("--appearance <file>", "the photograph whose appearance was taken")
    .option("--result <file>", "what came out")
    .option(
      "--folder <folder>",
      "many instead of one: each sub-folder holds structure.*, appearance.* and result.* (pictures of any kind that is read); those that cannot be measured are named, and the others measured",
    )
    .option("--masks <folder>", "write the foreground masks there, over the pictures");
  for (const { name, flag, description } of optionFlags()) {
    if (RECIPE_OPTIONS.includes(name)) command.addOption(new Option(flag, description));
  }
  withExtractorFlags(command)
    .option("--json", "print the numbers as JSON")
    .option(...verboseFlag)
    .addHelpText(
      "after",
      "\nExample:\n  splice evaluate --structure house.jpg --appearance forest.jpg --result result.png" +
        "\n  splice evaluate --folder results --json",
    )
    .action(async (options: EvaluateOptions) => finish(await evaluate(options, command)));
}

async function evaluate(options: EvaluateOptions, command: Command): Promise<number> {
  const problems: string[] = [];
  for (const name of ["structure", "appearance", "result"] as const) {
    if (options.folder === undefined && options[name] === undefined) {
      problems.push(`Cannot evaluate: --${name} FILE is missing (or --folder FOLDER, for many)`);
    } else if (options.folder !== undefined && options[name] !== undefined) {
      problems.push(`Cannot use --${name} beside --folder, which names all pictures; leave one of them out`);
    }
  }
  const parsed = parseRecipe(givenRecipe(command, RECIPE_OPTIONS));
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  problems.push(...extractorProblems(options));
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  const { structure, appearance, result } = options as Required<EvaluateOptions>;
  const triples = options.folder === undefined
    ? [{ name: "result", structure, appearance, result }]
    : await findTriples(options.folder);
  if (options.masks !== undefined) {
    await makeFolder(options.masks, "--masks");
    await checkWritable([{ path: maskPath(options.masks, triples[0].name, "structure"), flag: "--masks" }]);
  }
  return await measure(triples, { recipe: parsed.recipe, options });
}

/** Resolves to the exit code. Of many triples those that cannot be measured are named, and the others measured. */
async function measure(
  triples: readonly TripleFiles[],
  { recipe, options }: { recipe: Recipe; options: EvaluateOptions },
): Promise<number> {
  const { withRuntime } = await import("../runs/surroundings.ts");
  const { openExtractor, sayUnless } = await import("../runs/extractor.ts");
  const { COMPARABLE, openEvaluator, summarise } = await import("../../splice/evaluation/evaluation.ts");
  const { evaluationText } = await import("../terminal/evaluation_text.ts");
  const extractor = await openExtractor(recipe.model, options, sayUnless(false));
  const seen = vitSize(recipe, extractor.vit.native);
  const rows: EvaluationRow[] = [];
  await withRuntime(async ({ gpu }, memoryLimit) => {
    const evaluator = openEvaluator(gpu, { extractor, ...seen, resize: recipe.resize, memoryLimit });
    for (const files of triples) {
      try {
        const { numbers, masks } = await evaluator.evaluate({
          structure: await readPicture(files.structure),
          appearance: await readPicture(files.appearance),
          result: await readPicture(files.result),
        });
        if (options.masks !== undefined) await writeMasks(options.masks, { files, masks });
        rows.push({ name: files.name, ...numbers, masks_by: `${masks.structure.by}, ${masks.result.by}` });
      } catch (error) {
        if (options.folder === undefined) throw error;
        rows.push({ name: files.name, error: error instanceof Error ? error.message : String(error) });
      }
    }
    evaluator.release();
  });
  const measured = rows.flatMap((row) => "error" in row ? [] : [row]);
  const failed = rows.length - measured.length;
  const summary = measured.length > 1 ? summarise(measured) : null;
  const about = { model: extractor.name, vit_side: seen.side, vit_longest: seen.longest };
  if (options.json) {
    const content = { ...about, results: rows, failed, ...(summary ?? {}), comparable: COMPARABLE };
    console.log(JSON.stringify(content, null, 2));
  } else {
    console.log(evaluationText(rows, { summary, about }));
    if (options.masks !== undefined) console.log(`The masks are in ${resolve(options.masks)}`);
  }
  if (failed === 0) return EXIT.done;
  console.error(`splice: Cannot measure ${failed} of ${rows.length} results; why stands beside their names`);
  return EXIT.failed;
}

const maskPath = (folder: string, name: string, part: "structure" | "result") => join(folder, `${name}-${part}.png`);

async function writeMasks(
  folder: string,
  { files, masks }: { files: TripleFiles; masks: Evaluated["masks"] },
): Promise<void> {
  const { veil } = await import("../../images/veil.ts");
  for (const part of ["structure", "result"] as const) {
    await writePicture(maskPath(folder, files.name, part), veil(await readPicture(files[part]), masks[part]));
  }
}
