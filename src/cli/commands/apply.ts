/** `splice apply`: renders any picture, at its own size, with a trained generator. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { checkSize, checkWritable, clashes, formatProblem, readPicture, writePicture } from "../files/files.ts";
import { type Common, EXIT, quietFlag, UsageError, verboseFlag } from "../terminal/usage.ts";

interface ApplyOptions extends Common {
  readonly generator?: string;
  readonly image?: string;
  readonly out?: string;
}

export function addApply(program: Command, finish: (code: number) => void): void {
  program.command("apply")
    .summary("render any picture, at its own size, with a trained generator")
    .description(
      "Renders a picture, at its own size, with a generator that `splice run` has trained. What does not fit the GPU is refused, with the size that would.",
    )
    .option("--generator <file>", "what --save-generator or --checkpoint of `splice run` wrote")
    .option("--image <file>", "the picture to render")
    .option("--out <file>", "the result, .png, .jpg or .webp")
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText(
      "after",
      "\nExample:\n  splice apply --generator forest.safetensors --image street.jpg --out result.png",
    )
    .action(async (options: ApplyOptions) => finish(await apply(options)));
}

async function apply(options: ApplyOptions): Promise<number> {
  const problems: string[] = [];
  for (const name of ["generator", "image", "out"] as const) {
    if (options[name] === undefined) problems.push(`Cannot apply: --${name} FILE is missing`);
  }
  if (options.out !== undefined) problems.push(...[formatProblem(options.out, "--out")].filter((why) => why !== null));
  problems.push(...clashes({ "--image": options.image, "--generator": options.generator }, { "--out": options.out }));
  if (problems.length > 0) throw new UsageError(problems);
  const { generator, image, out } = options as Required<ApplyOptions>;
  await checkWritable([{ path: out, flag: "--out" }]);

  const { withRuntime } = await import("../runs/surroundings.ts");
  const { loadWeights } = await import("../../weights/store/store.ts");
  const { readGenerator } = await import("../../splice/transfer/checkpoint.ts");
  const { applyGenerator } = await import("../../splice/transfer/apply.ts");
  const trained = readGenerator(await loadWeights(generator), generator);
  const picture = await readPicture(image);
  checkSize({ path: out, flag: "--out" }, picture);
  const rendered = await withRuntime((runtime, memoryLimit) =>
    applyGenerator(runtime, { generator: trained, picture, memoryLimit })
  );
  await writePicture(out, rendered);
  if (!options.quiet) console.log(`${resolve(out)} is done, ${rendered.width} x ${rendered.height}`);
  return EXIT.done;
}
