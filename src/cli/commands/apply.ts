/** `splice apply`: renders any picture with a trained generator, at its own size. */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { applyFlags, applyOptionNames, parseApply } from "../../splice/transfer/apply_options.ts";
import { checkSize, checkWritable, clashes, formatProblem, openPhotograph, writePicture } from "../files/files.ts";
import { asFlag, type Common, EXIT, givenRecipe, quietFlag, UsageError, verboseFlag } from "../terminal/usage.ts";

interface ApplyFlags extends Common {
  readonly generator?: string;
  readonly image?: string;
  readonly out?: string;
}

export function addApply(program: Command, finish: (code: number) => void): void {
  const command = program.command("apply")
    .summary("render any picture, at its own size, with a trained generator")
    .description(
      "Renders a picture with a generator that `splice run` has trained: as large as that was trained, and from there brought to the picture's own size. What does not fit the GPU is refused, with the size that would.",
    )
    .option("--generator <file>", "what --save-generator or --checkpoint of `splice run` wrote")
    .option("--image <file>", "the picture to render")
    .option("--out <file>", "the result, .png, .jpg or .webp");
  for (const { flag, description, default: usual } of applyFlags()) {
    command.addOption(new Option(flag, usual === undefined ? description : `${description} (default: ${usual})`));
  }
  command
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText(
      "after",
      "\nExample:\n  splice apply --generator forest.safetensors --image street.jpg --out result.png",
    )
    .action(async (options: ApplyFlags) => finish(await apply(options, command)));
}

async function apply(flags: ApplyFlags, command: Command): Promise<number> {
  const problems: string[] = [];
  for (const name of ["generator", "image", "out"] as const) {
    if (flags[name] === undefined) problems.push(`Cannot apply: --${name} FILE is missing`);
  }
  if (flags.out !== undefined) problems.push(...[formatProblem(flags.out, "--out")].filter((why) => why !== null));
  problems.push(...clashes({ "--image": flags.image, "--generator": flags.generator }, { "--out": flags.out }));
  const parsed = parseApply(givenRecipe(command, applyOptionNames));
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  const { generator, image, out } = flags as Required<ApplyFlags>;
  await checkWritable([{ path: out, flag: "--out" }]);

  const { withRuntime } = await import("../runs/surroundings.ts");
  const { loadWeights } = await import("../../weights/store/store.ts");
  const { renderPhotograph } = await import("../../splice/transfer/enlarge.ts");
  const { readGenerator } = await import("../../splice/transfer/checkpoint.ts");
  const trained = readGenerator(await loadWeights(generator), generator);
  const { detail, size = trained.size } = parsed.options;
  const file = await openPhotograph(image, size);
  const result = detail === "none" ? file.picture : file.size;
  checkSize({ path: out, flag: "--out" }, result);
  await withRuntime((runtime, memoryLimit) =>
    renderPhotograph(
      runtime,
      { generator: trained, file, detail, memoryLimit },
      (rendered) => writePicture(out, rendered),
    )
  );
  if (!flags.quiet) console.log(`${resolve(out)} is done, ${result.width} x ${result.height}`);
  return EXIT.done;
}
