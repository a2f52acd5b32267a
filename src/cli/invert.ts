/** `splice invert`: a new picture in which the extractor sees what it saw in a photograph. */
import { type Command, Option } from "commander";
import { inversionFlags, inversionOptionNames, parseInversion } from "../splice/inversion_options.ts";
import { checkWritable, clashes, formatProblem } from "./files.ts";
import {
  asFlag,
  type Common,
  givenRecipe,
  modelsFlag,
  type ModelsOption,
  quietFlag,
  UsageError,
  verboseFlag,
} from "./usage.ts";
import { openVoice } from "./voice.ts";

interface InvertOptions extends Common, ModelsOption {
  readonly image?: string;
  readonly out?: string;
  readonly metrics?: string;
  readonly checkpoint?: string;
  readonly resume?: boolean;
  readonly json?: boolean;
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
  command
    .option("--metrics <file>", "write the losses, one JSON object a step")
    .option("--checkpoint <file>", "save the state of the run every few seconds and at the end")
    .option("--resume", "go on from the checkpoint, if it is there")
    .option("--json", "print progress as JSON lines")
    .option(...modelsFlag)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText(
      "after",
      "\nExample:\n  splice invert --model dino-vitb8 --image cow.jpg --feature keys --out keys-of-cow.png",
    )
    .action(async (options: InvertOptions) => finish(await invert(options, command)));
}

async function invert(options: InvertOptions, command: Command): Promise<number> {
  const problems: string[] = [];
  for (const name of ["image", "out"] as const) {
    if (options[name] === undefined) problems.push(`Cannot invert: --${name} FILE is missing`);
  }
  if (options.out !== undefined) problems.push(...[formatProblem(options.out, "--out")].filter((why) => why !== null));
  if (options.resume && options.checkpoint === undefined) {
    problems.push("Cannot use --resume: it goes on from a checkpoint; name it with --checkpoint FILE");
  }
  problems.push(...clashes(
    { "--image": options.image },
    { "--out": options.out, "--metrics": options.metrics, "--checkpoint": options.checkpoint },
  ));
  const parsed = parseInversion(givenRecipe(command, inversionOptionNames));
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  const { image, out, metrics, checkpoint } = options as InvertOptions & { image: string; out: string };
  await checkWritable([
    { path: out, flag: "--out" },
    ...(metrics === undefined ? [] : [{ path: metrics, flag: "--metrics" }]),
    ...(checkpoint === undefined ? [] : [{ path: checkpoint, flag: "--checkpoint", plain: true }]),
  ]);
  const { runInversion } = await import("./inversion.ts");
  return await runInversion({ ...options, image, out, recipe: parsed.recipe }, openVoice(options));
}
