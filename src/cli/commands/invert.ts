/** `splice invert`: a new picture in which the extractor sees what it saw in a photograph. */
import { type Command, Option } from "commander";
import { inversionFlags, inversionOptionNames, parseInversion } from "../../splice/instruments/inversion_options.ts";
import { checkWritable, clashes } from "../files/files.ts";
import { trainingFiles, type TrainingFlags, trainingProblems, withTrainingFlags } from "../runs/training_flags.ts";
import { asFlag, givenRecipe, UsageError } from "../terminal/usage.ts";
import { openVoice } from "../terminal/voice.ts";

interface InvertOptions extends TrainingFlags {
  readonly image?: string;
}

export function addInvert(program: Command, finish: (code: number) => void): void {
  const command = program.command("invert")
    .summary("paint a picture that has a photograph's features")
    .description(
      "Trains a network to paint, out of noise, a picture in which the extractor sees what it sees in a photograph: what a feature knows, it keeps.",
    )
    .option("--image <file>", "the photograph")
    .option("--out <file>", "the new picture, .png, .jpg or .webp; previews of it are written there too");
  for (const { flag, description, default: usual } of inversionFlags()) {
    command.addOption(new Option(flag, `${description}${usual === undefined ? "" : ` (default: ${usual})`}`));
  }
  withTrainingFlags(command, {
    example: "splice invert --model dino-vitb8 --image cow.jpg --feature keys --out keys-of-cow.png",
  }).action(async (options: InvertOptions) => finish(await invert(options, command)));
}

async function invert(options: InvertOptions, command: Command): Promise<number> {
  const problems = trainingProblems(options, { action: "invert", needed: ["image", "out"] });
  problems.push(...clashes(
    { "--image": options.image },
    { "--out": options.out, "--metrics": options.metrics, "--checkpoint": options.checkpoint },
  ));
  const parsed = parseInversion(givenRecipe(command, inversionOptionNames));
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  const { image, out } = options as InvertOptions & { image: string; out: string };
  await checkWritable(trainingFiles(options));
  const { runInversion } = await import("../runs/inversion.ts");
  return await runInversion({ ...options, image, out, recipe: parsed.recipe }, openVoice(options));
}
