/** `splice models`: what is in the store of weights, and how more gets into it. */
import { type Command, Option } from "commander";
import type { PullFlags } from "../runs/model_pull.ts";
import {
  type ExtractorFlags,
  extractorProblems,
  identifyOptions,
  withExtractorFlags,
} from "../terminal/extractor_flags.ts";
import {
  type Common,
  EXIT,
  modelsFlag,
  type ModelsOption,
  quietFlag,
  shellWord,
  UsageError,
  verboseFlag,
} from "../terminal/usage.ts";

interface ImportOptions extends Common, ExtractorFlags {
  readonly half?: boolean;
  readonly licence?: string;
  readonly name?: string;
}

/** Endings of published weight files; a model's sources are told apart by them. */
const SOURCES = ["pth", "bin", "safetensors"];

const halfFlag = ["--half", "store as f16: half the size, features differ by less than 1e-3 (docs/models.md)"] as const;

export function addModels(program: Command, finish: (code: number) => void): void {
  const models = program.command("models")
    .summary("the store of weights: list, pull, import, verify, remove")
    .description(
      "Lists the extractors that are here and those that can be had, fetches, converts, checks and removes them.",
    )
    .addHelpText("after", "\nExample:\n  splice models pull dino-vitb8");

  models.command("list")
    .summary("what is here, and what can be had")
    .description("Lists the known models, best first, then what else is in the store.")
    .option("--json", "print it as JSON")
    .option(...modelsFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice models list")
    .action(async (options: Common & ModelsOption & { json?: boolean }) => {
      const { listText, surveyModels } = await import("../runs/models_list.ts");
      const survey = await surveyModels(options.models);
      console.log(options.json ? JSON.stringify(survey, null, 2) : listText(survey));
      finish(EXIT.done);
    });

  const pull = models.command("pull")
    .summary("fetch a published model")
    .description(
      "Fetches a model and keeps it as one safetensors file. A pull that was cut off goes on where it was. The file's SHA-256 is checked: against " +
        "the known one, or against what the same address gave the first time. Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
    )
    .argument("<name>", "dino-vitb8, ...: `splice models list` shows them")
    .option("--from <url>", "fetch it from this address instead: a .pth, .bin or .safetensors file")
    .addOption(new Option("--source <format>", "fetch the published file of this format").choices(SOURCES))
    .option(...halfFlag)
    .option("--licence <text>", "the licence, of a model that is not a known one");
  withExtractorFlags(pull)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice models pull dino-vitb8")
    .action(async (name: string, options: PullFlags) => {
      const { pullInto } = await import("../runs/model_pull.ts");
      finish(await pullInto(name, options));
    });

  const take = models.command("import")
    .summary("take a weight file into the store")
    .description(
      "Checks a vision transformer (DINO, DINOv2, DINOv3, or another ViT) in a .pth, .bin or .safetensors file, in a training program's checkpoint or in many files with an index, " +
        "says what it is, and keeps it as one safetensors file. What its tensors do not tell comes from the options, else from a config.json beside the file, else it is " +
        "assumed; the store remembers it.",
    )
    .argument("<file>", "the weight file, the index of many, or the folder they lie in")
    .option("--name <name>", "the name it gets; a file that is there under it is replaced")
    .option(...halfFlag)
    .option("--licence <text>", "its licence, if it is not a known model");
  withExtractorFlags(take)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice models import dino_vitbase8_pretrain.pth --name dino-vitb8")
    .action(async (file: string, options: ImportOptions) => finish(await importFile(file, options)));

  models.command("verify")
    .summary("check a model's file: its SHA-256, and that it loads")
    .description("Computes a model's SHA-256 anew, compares it, and loads the model. Exit code 1: do not use it.")
    .argument("<name>", "a name that `splice models list` shows")
    .option(...modelsFlag)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice models verify dino-vitb8")
    .action(async (name: string, options: Common & ModelsOption) => finish(await verify(name, options)));

  models.command("remove")
    .summary("take a model out of the store")
    .description(
      "Removes a model's file, what is remembered of it, and unfinished downloads of it. What was put there by hand is removed too, what comes with " +
        "the program is not.",
    )
    .argument("<name>", "a name that `splice models list` shows")
    .option(...modelsFlag)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice models remove dino-vitb8")
    .action(async (name: string, options: Common & ModelsOption) => finish(await remove(name, options)));
}

async function importFile(file: string, options: ImportOptions): Promise<number> {
  const { name } = options;
  if (name === undefined) {
    throw new UsageError([`Cannot import ${file}: --name NAME is missing, what it will be called`]);
  }
  const { nameProblems, ownStore, sayWaiting } = await import("../runs/own_store.ts");
  const store = ownStore(options.models);
  const problems = [...nameProblems(name, "import anything as"), ...extractorProblems(options)];
  if (problems.length > 0) throw new UsageError(problems);
  const { importModel } = await import("../../weights/store/keep.ts");
  const { sayUnless } = await import("../runs/extractor.ts");
  const { copyText } = await import("../runs/models_list.ts");
  const { normalisationText, vitText } = await import("../../weights/formats/vit_family.ts");
  const { interruptible } = await import("../runs/surroundings.ts");
  return await interruptible(async (signal) => {
    try {
      const { copy, vit, remarks } = await importModel(name, file, {
        ...identifyOptions(options),
        folder: store.own,
        half: options.half ?? false,
        licence: options.licence ?? null,
        named: store.named,
        signal,
        onWait: sayWaiting(name, options),
      });
      remarks.forEach(sayUnless(options.quiet));
      if (options.quiet) return EXIT.done;
      console.log(`${name} is here: ${store.own}/${copy.file}, ${copyText(copy)}`);
      console.log(`It is ${vitText(vit)}; normalisation ${normalisationText(vit)}`);
      return EXIT.done;
    } catch (error) {
      if (signal.aborted) return EXIT.interrupted;
      throw error;
    }
  });
}

async function verify(name: string, options: Common & ModelsOption): Promise<number> {
  const { modelStore } = await import("../runs/surroundings.ts");
  const { verifyModel } = await import("../../weights/store/verify.ts");
  const store = modelStore(options.models);
  const { path, sha256, known, vit } = await verifyModel(name, store);
  if (options.quiet) return EXIT.done;
  const sum = known
    ? `the SHA-256 is right (${sha256})`
    : `its SHA-256 is ${sha256}, and none was recorded to compare it with`;
  console.log(`${name}: ${sum}, and it loads: ${vit.depth} blocks, width ${vit.dim}, patches of ${vit.patch}. ${path}`);
  if (!known) console.log(`\`splice models import ${shellWord(path)} --name ${name}${store.named ?? ""}\` records it.`);
  return EXIT.done;
}

async function remove(name: string, options: Common & ModelsOption): Promise<number> {
  const { nameProblems, ownStore, sayWaiting } = await import("../runs/own_store.ts");
  const store = ownStore(options.models);
  const problems = nameProblems(name, "remove");
  if (problems.length > 0) throw new UsageError(problems);
  const { removeModel } = await import("../../weights/store/remove.ts");
  const { sizeText } = await import("../terminal/quantities.ts");
  const { interruptible } = await import("../runs/surroundings.ts");
  return await interruptible(async (signal) => {
    try {
      const removed = await removeModel(name, { ...store, signal, onWait: sayWaiting(name, options) });
      const bytes = removed.reduce((sum, file) => sum + file.bytes, 0);
      const paths = removed.map(({ path }) => path).join(", ");
      if (!options.quiet) console.log(`${name} is removed, ${sizeText(bytes)}: ${paths}`);
      return EXIT.done;
    } catch (error) {
      if (signal.aborted) return EXIT.interrupted;
      throw error;
    }
  });
}
