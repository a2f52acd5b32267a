/** `splice run`: trains on a pair of photographs and writes the picture. */
import { type Command, Option } from "commander";
import { optionFlags, parseRecipe, recipeNames } from "../../splice/transfer/recipe.ts";
import { checkWritable, clashes } from "../files/files.ts";
import { trainingFiles, type TrainingFlags, trainingProblems, withTrainingFlags } from "../runs/training_flags.ts";
import { asFlag, givenRecipe, UsageError } from "../terminal/usage.ts";
import { openVoice } from "../terminal/voice.ts";

interface RunOptions extends TrainingFlags {
  readonly structure?: string;
  readonly appearance?: string;
  readonly initGenerator?: string;
  readonly saveGenerator?: string;
}

export function addRun(program: Command, finish: (code: number) => void): void {
  const command = program.command("run")
    .summary("train on a pair of photographs and write the result")
    .description("Trains a generator on a pair of photographs: the structure of one, the appearance of the other.")
    .option("--structure <file>", "the photograph whose structure is kept")
    .option("--appearance <file>", "the photograph whose appearance is taken")
    .option("--out <file>", "the result, .png, .jpg or .webp; previews of it are written there too");
  for (const { flag, description, default: usual } of optionFlags()) {
    const shown = usual === undefined || typeof usual === "boolean" ? "" : ` (default: ${usual})`;
    command.addOption(new Option(flag, `${description}${shown}`));
  }
  command
    .option("--init-generator <file>", "begin with this generator instead of a fresh one")
    .option("--save-generator <file>", "write the trained generator, for `splice apply`");
  withTrainingFlags(command, {
    example: "splice run --structure house.jpg --appearance forest.jpg --out result.png --preset quick",
  }).action(async (options: RunOptions) => finish(await run(options, command)));
}

async function run(options: RunOptions, command: Command): Promise<number> {
  const problems = trainingProblems(options, { action: "run", needed: ["structure", "appearance", "out"] });
  problems.push(...clashes(
    { "--structure": options.structure, "--appearance": options.appearance, "--init-generator": options.initGenerator },
    {
      "--out": options.out,
      "--save-generator": options.saveGenerator,
      "--metrics": options.metrics,
      "--checkpoint": options.checkpoint,
    },
  ));
  const given = givenRecipe(command, recipeNames);
  const parsed = parseRecipe(given);
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  const { structure, appearance, out } = options as Required<RunOptions>;
  const { saveGenerator } = options;
  await checkWritable([
    ...trainingFiles(options),
    ...(saveGenerator === undefined ? [] : [{ path: saveGenerator, flag: "--save-generator", plain: true }]),
  ]);
  const { runTransfer } = await import("../runs/transfer.ts");
  const { recipe } = parsed;
  const anyPadding = given.padding === undefined;
  return await runTransfer({ ...options, structure, appearance, out, recipe, anyPadding }, openVoice(options));
}
