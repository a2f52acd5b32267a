/**
 * What `pca`, `attention` and `similarity` have in common: a photograph, a model and one of its blocks go in, a picture comes out. Their options come from the schemas of
 * look_options.ts; what is painted, look.ts of the method says.
 */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import type { Picture } from "../../images/picture.ts";
import {
  lookFlags,
  type LookName,
  lookOptionNames,
  lookProblems,
  parseLook,
} from "../../splice/instruments/look_options.ts";
import { type ExtractorFlags, extractorProblems, withExtractorFlags } from "../terminal/extractor_flags.ts";
import { checkWritable, clashes, formatProblem, readPicture, writePicture } from "../files/files.ts";
import { asFlag, type Common, EXIT, givenRecipe, quietFlag, UsageError, verboseFlag } from "../terminal/usage.ts";

export interface LookFlags extends Common, ExtractorFlags {
  readonly image?: string;
  readonly out?: string;
}

/** An option of the command's own, which stands for options that depend on the photograph. */
export interface OwnOption {
  /** What is wrong with it, photograph or no photograph. */
  readonly problems: readonly string[];
  /** @throws UsageError where it does not go with the photograph */
  place(picture: Picture): Readonly<Record<string, number>>;
}

/** Whoever waits at a terminal may wait longer than a server's other clients. */
const MOST_PATCHES = 10_000;

/** Options that this command has another one for. */
const PLACE: readonly string[] = ["x", "y"];

/** Adds what these commands share to one of them. */
export function withLookOptions(
  command: Command,
  { look, example }: { readonly look: LookName; readonly example: string },
): Command {
  command
    .option("--image <file>", "the photograph")
    .option("--out <file>", "the picture, .png, .jpg or .webp");
  for (const { name, flag, description } of lookFlags(look)) {
    if (!PLACE.includes(name)) command.addOption(new Option(flag, description));
  }
  return withExtractorFlags(command)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", `\nExample:\n  ${example}`);
}

/** Checks, looks, writes. Resolves to the exit code. */
export async function look(command: Command, name: LookName, options: LookFlags, own?: OwnOption): Promise<number> {
  const problems: string[] = [];
  for (const needed of ["image", "out"] as const) {
    if (options[needed] === undefined) problems.push(`Cannot paint ${name}: --${needed} FILE is missing`);
  }
  if (options.out !== undefined) problems.push(...[formatProblem(options.out, "--out")].filter((why) => why !== null));
  problems.push(...clashes({ "--image": options.image }, { "--out": options.out }));
  const parsed = parseLook(name, givenRecipe(command, lookOptionNames(name)));
  if (!parsed.ok) problems.push(...parsed.errors.map(({ message }) => asFlag(message)));
  problems.push(...own?.problems ?? [], ...extractorProblems(options));
  if (problems.length > 0 || !parsed.ok) throw new UsageError(problems);
  const { image, out } = options as Required<LookFlags>;
  await checkWritable([{ path: out, flag: "--out" }]);

  const { withRuntime } = await import("./surroundings.ts");
  const { openExtractor, sayUnless } = await import("./extractor.ts");
  const { paintLook, tooMuch } = await import("../../splice/instruments/look.ts");
  const picture = await readPicture(image);
  const placed = { ...parsed.look, options: { ...parsed.look.options, ...own?.place(picture) } } as typeof parsed.look;
  const extractor = await openExtractor(parsed.look.options.model, options, sayUnless(options.quiet));
  const { name: model } = extractor;
  const later = [
    ...lookProblems(placed, { model, ...extractor.vit }),
    tooMuch(placed, { ...extractor, picture, mostPatches: MOST_PATCHES }),
  ].filter((problem) => problem !== null);
  if (later.length > 0) throw new UsageError(later.map(({ message }) => asFlag(message)));
  const { painted, layer, grid } = await withRuntime((runtime, memoryLimit) =>
    paintLook(runtime, { look: placed, extractor, picture, memoryLimit })
  );
  await writePicture(out, painted);
  if (!options.quiet) {
    console.log(`${resolve(out)} is done: block ${layer} of ${model}, ${grid.rows} x ${grid.cols} patches`);
  }
  return EXIT.done;
}
