/** `splice features`: what the extractor makes of a picture, as tensors in a file. */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { optionFlags, parseRecipe, type Recipe, type RecipeName, vitSize } from "../../splice/transfer/recipe.ts";
import { type ExtractorFlags, extractorProblems, withExtractorFlags } from "../terminal/extractor_flags.ts";
import { checkWritable, clashes, readPicture } from "../files/files.ts";
import { asFlag, type Common, EXIT, givenRecipe, quietFlag, UsageError, verboseFlag } from "../terminal/usage.ts";

interface FeaturesOptions extends Common, ExtractorFlags {
  readonly image?: string;
  readonly layers?: string;
  readonly out?: string;
}

const RECIPE_OPTIONS: readonly RecipeName[] = ["model", "vit_side", "vit_longest", "resize"];

export function addFeatures(program: Command, finish: (code: number) => void): void {
  const command = program.command("features")
    .summary("write the extractor's features of a picture")
    .description(
      "Writes tokens, queries, keys, values [t, d] and self-similarity [t, t] of the extractor's blocks: of [CLS], then of registers if the model has some, then of patches.",
    )
    .option("--image <file>", "the picture")
    .option("--out <file>", "the tensors, as safetensors")
    .option("--layers <list>", "blocks, from 0, as 0,11 (default: the last)");
  for (const { name, flag, description } of optionFlags()) {
    if (RECIPE_OPTIONS.includes(name)) command.addOption(new Option(flag, description));
  }
  withExtractorFlags(command)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText(
      "after",
      "\nExample:\n  splice features --model dino-vitb8 --image cow.jpg --layers 0,11 --out cow.safetensors",
    )
    .action(async (options: FeaturesOptions) => finish(await features(options, command)));
}

async function features(options: FeaturesOptions, command: Command): Promise<number> {
  const problems: string[] = [];
  for (const name of ["image", "out"] as const) {
    if (options[name] === undefined) problems.push(`Cannot extract features: --${name} FILE is missing`);
  }
  problems.push(...clashes({ "--image": options.image }, { "--out": options.out }));
  const parsed = parseRecipe(givenRecipe(command, RECIPE_OPTIONS));
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  if (options.layers !== undefined && !/^\d+(,\d+)*$/.test(options.layers)) {
    problems.push(`Cannot use --layers = ${JSON.stringify(options.layers)}: it must be block numbers from 0, as 0,11`);
  }
  problems.push(...extractorProblems(options));
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  const { image, out } = options as Required<FeaturesOptions>;
  await checkWritable([{ path: out, flag: "--out", plain: true }]);
  const layers = options.layers?.split(",").map(Number);
  await extract(parsed.recipe, { ...options, image, out, layers });
  return EXIT.done;
}

async function extract(
  recipe: Recipe,
  { image, out, layers, ...options }: Pick<FeaturesOptions, "quiet" | keyof ExtractorFlags> & {
    image: string;
    out: string;
    layers: number[] | undefined;
  },
): Promise<void> {
  const { withRuntime } = await import("../runs/surroundings.ts");
  const { openExtractor, sayUnless } = await import("../runs/extractor.ts");
  const { writeSafetensors } = await import("../../weights/formats/safetensors.ts");
  const { extractFeatures, featureMetadata, layersProblem, wantedLayers } = await import(
    "../../splice/instruments/features.ts"
  );
  const picture = await readPicture(image);
  const extractor = await openExtractor(recipe.model, options, sayUnless(options.quiet));
  const { name, vit: { depth, native, registers } } = extractor;
  const wanted = wantedLayers(layers ?? [], depth);
  const problem = layersProblem(wanted, { model: name, depth });
  if (problem) throw new UsageError([asFlag(problem.message)]);
  const features = await withRuntime((runtime, memoryLimit) =>
    extractFeatures(runtime, {
      extractor,
      picture,
      layers: wanted,
      ...vitSize(recipe, native),
      resize: recipe.resize,
      memoryLimit,
    })
  );
  await writeSafetensors(out, features.tensors, { metadata: featureMetadata(features, name) });
  if (!options.quiet) {
    const { grid, patch } = features;
    console.log(
      `${resolve(out)} is done: ${
        wanted.length === 1 ? "block" : "blocks"
      } ${wanted} of ${name}, ${grid.rows} x ${grid.cols} patches of ${patch} and [CLS]${
        registers > 0 ? ` and ${registers} registers` : ""
      }`,
    );
  }
}
