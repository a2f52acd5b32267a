/** `splice demo`: a real transfer on two bundled photographs. */
import { join } from "node:path";
import type { Command } from "commander";
import { parseRecipe } from "../../splice/transfer/recipe.ts";
import { checkWritable, formatProblem } from "../files/files.ts";
import { programFolder } from "../launch.ts";
import {
  asFlag,
  type Common,
  givenRecipe,
  modelsFlag,
  type ModelsOption,
  quietFlag,
  UsageError,
  verboseFlag,
} from "../terminal/usage.ts";
import { openVoice } from "../terminal/voice.ts";

const STRUCTURE = "picos-de-europa.jpg";
const APPEARANCE = "sunset.jpg";

interface DemoOptions extends Common, ModelsOption {
  readonly out: string;
  readonly json?: boolean;
}

export function addDemo(program: Command, finish: (code: number) => void): void {
  const command = program.command("demo")
    .summary("a real transfer on two bundled photographs, into demo.png")
    .description(
      "Gives one bundled photograph the appearance of another: preset quick, two or three minutes without a graphics card.",
    )
    .option("--out <file>", "the result, .png, .jpg or .webp", "demo.png")
    .option("--steps <number>", "training steps (default: the preset's)")
    .option("--seed <number>", "another seed, another picture (default: 0)")
    .option("--json", "print progress as JSON lines")
    .option(...modelsFlag)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice demo")
    .action(async (options: DemoOptions) => finish(await demo(options, command)));
}

async function demo(options: DemoOptions, command: Command): Promise<number> {
  const problems = [formatProblem(options.out, "--out")].filter((why) => why !== null);
  const parsed = parseRecipe({ preset: "quick", ...givenRecipe(command, ["steps", "seed"]) });
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  await checkWritable([{ path: options.out, flag: "--out" }]);
  const examples = join(programFolder(), "examples");
  const { runTransfer } = await import("../runs/transfer.ts");
  const voice = openVoice(options);
  voice.note(`The structure of ${STRUCTURE} and the appearance of ${APPEARANCE}, ${parsed.recipe.steps} steps`);
  return await runTransfer({
    structure: join(examples, STRUCTURE),
    appearance: join(examples, APPEARANCE),
    out: options.out,
    recipe: parsed.recipe,
    models: options.models,
  }, voice);
}
