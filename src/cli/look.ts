/**
 * What `pca`, `attention` and `similarity` have in common: a photograph, a model and one of its blocks go in, a picture of the photograph's size comes out. What is
 * painted, each of them says itself.
 */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import type { Picture } from "../images/picture.ts";
import type { ExtractedFeatures } from "../splice/features.ts";
import { optionFlags, parseRecipe, type RecipeName, vitSize } from "../splice/recipe.ts";
import { checkWritable, clashes, formatProblem, readPicture, writePicture } from "./files.ts";
import {
  asFlag,
  type Common,
  EXIT,
  givenRecipe,
  modelsFlag,
  type ModelsOption,
  quietFlag,
  UsageError,
  verboseFlag,
} from "./usage.ts";

export interface LookOptions extends Common, ModelsOption {
  readonly image?: string;
  readonly layer?: string;
  readonly out?: string;
  readonly overlay?: boolean;
}

/** What there is to paint from. */
export interface Looked {
  readonly features: ExtractedFeatures;
  readonly layer: number;
  readonly picture: Picture;
}

export interface Look {
  /** Problems with the command's own options that need no picture. */
  readonly problems?: readonly string[];
  /** Problems that only the photograph or the model can tell, before the work. */
  check?(known: { readonly picture: Picture; readonly heads: number; readonly model: string }): readonly string[];
  paint(looked: Looked): Picture | Promise<Picture>;
}

const RECIPE_OPTIONS: readonly RecipeName[] = ["model", "vit_side", "vit_longest", "resize"];

/** Adds what these commands share to one of them. */
export function withLookOptions(command: Command, example: string): Command {
  command
    .option("--image <file>", "the photograph")
    .option("--out <file>", "the picture, .png, .jpg or .webp")
    .option("--layer <number>", "block of the extractor, from 0 (default: the last)");
  for (const { name, flag, description } of optionFlags()) {
    if (RECIPE_OPTIONS.includes(name)) command.addOption(new Option(flag, description));
  }
  return command
    .option(...modelsFlag)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", `\nExample:\n  ${example}`);
}

/** A whole number from 0 as an option gives it; null where it is none. */
export function wholeNumber(text: string): number | null {
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
}

/** Checks, extracts, paints, writes. Resolves to the exit code. */
export async function look(command: Command, options: LookOptions, what: Look): Promise<number> {
  const name = command.name();
  const problems: string[] = [];
  for (const needed of ["image", "out"] as const) {
    if (options[needed] === undefined) problems.push(`Cannot paint ${name}: --${needed} FILE is missing`);
  }
  if (options.out !== undefined) problems.push(...[formatProblem(options.out, "--out")].filter((why) => why !== null));
  problems.push(...clashes({ "--image": options.image }, { "--out": options.out }));
  const wanted = options.layer === undefined ? undefined : wholeNumber(options.layer);
  if (wanted === null) {
    problems.push(`Cannot use --layer = ${JSON.stringify(options.layer)}: it must be a block's number, from 0`);
  }
  const parsed = parseRecipe(givenRecipe(command, RECIPE_OPTIONS));
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  problems.push(...what.problems ?? []);
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  const { image, out } = options as Required<LookOptions>;
  await checkWritable([{ path: out, flag: "--out" }]);

  const { modelStore, withRuntime } = await import("./surroundings.ts");
  const { loadVit, modelName, resolveModel } = await import("../weights/store.ts");
  const { extractFeatures } = await import("../splice/features.ts");
  const modelPath = await resolveModel(parsed.recipe.model, modelStore(options.models));
  const picture = await readPicture(image);
  const extractor = await loadVit(modelPath);
  const { depth, heads, native } = extractor.vit;
  const model = modelName(modelPath);
  const layer = wanted ?? depth - 1;
  const later = [...what.check?.({ picture, heads, model }) ?? []];
  if (layer >= depth) later.push(`Cannot use --layer = ${layer}: ${model} has ${depth} blocks, 0 to ${depth - 1}`);
  if (later.length > 0) throw new UsageError(later);
  const features = await withRuntime((runtime, memoryLimit) =>
    extractFeatures(runtime, {
      extractor,
      picture,
      layers: [layer],
      ...vitSize(parsed.recipe, native),
      resize: parsed.recipe.resize,
      memoryLimit,
    })
  );
  await writePicture(out, await what.paint({ features, layer, picture }));
  if (!options.quiet) {
    const { rows, cols } = features.grid;
    console.log(`${resolve(out)} is done: block ${layer} of ${model}, ${rows} x ${cols} patches`);
  }
  return EXIT.done;
}
