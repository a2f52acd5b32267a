/** `splice models`: what is in the store of weights, and how more gets into it. */
import { type Command, Option } from "commander";
import type { ModelEntry } from "../../weights/store/store.ts";
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

interface KeepOptions extends Common, ModelsOption {
  readonly half?: boolean;
  readonly licence?: string;
}

interface PullOptions extends KeepOptions {
  readonly from?: string;
  readonly source?: string;
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

  models.command("pull")
    .summary("fetch a published model")
    .description(
      "Fetches a model and keeps it as one safetensors file. A pull that was cut off goes on where it was. The file's SHA-256 is checked: against " +
        "the known one, or against what the same address gave the first time. Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
    )
    .argument("<name>", "dino-vitb8, ...: `splice models list` shows them")
    .option("--from <url>", "fetch it from this address instead: a .pth, .bin or .safetensors file")
    .addOption(new Option("--source <format>", "fetch the published file of this format").choices(SOURCES))
    .option(...halfFlag)
    .option("--licence <text>", "the licence, of a model that is not a known one")
    .option(...modelsFlag)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice models pull dino-vitb8")
    .action(async (name: string, options: PullOptions) => finish(await pull(name, options)));

  models.command("import")
    .summary("take a weight file into the store")
    .description("Checks a DINO-ViT in a .pth, .bin or .safetensors file and keeps it as one safetensors file.")
    .argument("<file>", "the weight file, under the published names or Hugging Face's")
    .option("--name <name>", "the name it gets; a file that is there under it is replaced")
    .option(...halfFlag)
    .option("--licence <text>", "its licence, if it is not a known model")
    .option(...modelsFlag)
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice models import dino_vitbase8_pretrain.pth --name dino-vitb8")
    .action(async (file: string, options: KeepOptions & { name?: string }) => finish(await take(file, options)));

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

async function pull(name: string, options: PullOptions): Promise<number> {
  const { listModels, MODELS } = await import("../../weights/store/store.ts");
  const entry = MODELS.find((model) => model.name === name);
  const store = await ownStore(options.models);
  const chosen = options.from !== undefined || options.source !== undefined;
  const problems = await problemsOf(name, chosen ? "pull anything as" : null);
  const sources = options.from === undefined ? publishedSources(entry, options.source) : [{ url: options.from }];
  if (options.from !== undefined) {
    if (options.source !== undefined) problems.push("Cannot use --source with --from: each names the file; choose one");
    problems.push(...addressProblems(options.from));
  } else if (entry === undefined && problems.length === 0) {
    const known = MODELS.filter((model) => model.sources.length > 0).map((model) => model.name);
    problems.push(
      `Cannot pull ${JSON.stringify(name)}: published are ${known.join(", ")}; name another's address with --from`,
    );
  } else if (entry !== undefined && entry.sources.length > 0 && sources.length === 0) {
    const formats = new Set(entry.sources.map(({ url }) => endingOf(url)));
    problems.push(`Cannot use --source ${options.source}: ${name} is published as ${[...formats].join(" and ")}`);
  }
  if (problems.length > 0) throw new UsageError(problems);

  if (sources.length === 0) {
    const path = (await listModels(store)).find((model) => model.name === name)?.path;
    if (!path) throw new Error(`Cannot pull ${name}: it comes with the program; restore models/ from the repository`);
    if (!options.quiet) console.log(`${name} is here already, it comes with the program: ${path}`);
    return EXIT.done;
  }
  const { pullModel } = await import("../../weights/download/pull.ts");
  const { openDownloadVoice } = await import("../terminal/download_voice.ts");
  const { interruptible } = await import("../runs/surroundings.ts");
  const voice = openDownloadVoice(name, options);
  const wanted = flagsText({ half: options.half, licence: options.licence });
  return await interruptible(async (signal) => {
    try {
      const { did, path, copy } = await pullModel(name, {
        ...store,
        sources,
        chosen,
        half: options.half ?? false,
        licence: options.licence ?? null,
        wanted,
        signal,
        ...voice,
      });
      voice.end();
      const { copyText } = await import("../runs/models_list.ts");
      const how = {
        fetched: "is here",
        found: "is here already",
        halved: "is now f16, made from the f32 that was here",
      };
      const what = copy
        ? copyText(copy)
        : `put there by hand; \`splice models import ${shellWord(path)} --name ${name}${
          store.named ?? ""
        }\` takes it into the store`;
      if (!options.quiet) console.log(`${name} ${how[did]}: ${path}, ${what}`);
      return EXIT.done;
    } catch (error) {
      voice.end();
      if (!signal.aborted) throw error;
      if (!options.quiet) {
        const from = flagsText({ from: options.from, source: options.source });
        console.error(
          `Stopped. The next \`splice models pull ${name}${from}${wanted}${store.named ?? ""}\` goes on from here.`,
        );
      }
      return EXIT.interrupted;
    }
  });
}

async function take(file: string, options: KeepOptions & { name?: string }): Promise<number> {
  const { name } = options;
  if (name === undefined) {
    throw new UsageError([`Cannot import ${file}: --name NAME is missing, what it will be called`]);
  }
  const store = await ownStore(options.models);
  const problems = await problemsOf(name, "import anything as");
  if (problems.length > 0) throw new UsageError(problems);
  const { importModel } = await import("../../weights/store/keep.ts");
  const { copyText } = await import("../runs/models_list.ts");
  const { interruptible } = await import("../runs/surroundings.ts");
  return await interruptible(async (signal) => {
    try {
      const { copy } = await importModel(name, file, {
        folder: store.own,
        half: options.half ?? false,
        licence: options.licence ?? null,
        named: store.named,
        signal,
        onWait: sayWaiting(name, options),
      });
      if (!options.quiet) console.log(`${name} is here: ${store.own}/${copy.file}, ${copyText(copy)}`);
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
  const store = await ownStore(options.models);
  const problems = await problemsOf(name, "remove");
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

/** The store with a folder of the user's own. @throws UsageError where there is none */
async function ownStore(given: string | undefined) {
  const { modelStore } = await import("../runs/surroundings.ts");
  const { own, ...store } = modelStore(given);
  if (own === null) throw new UsageError(["Cannot keep models: there is no home folder; name a folder with --models"]);
  return { ...store, own };
}

const sayWaiting = (name: string, { quiet }: Common) => () => {
  if (!quiet) console.error(`Another process is busy with ${name}: waiting for it`);
};

/** ` --half --licence 'CC0 1.0'`: options as they are typed, of those that were given. */
function flagsText(options: Readonly<Record<string, string | boolean | undefined>>): string {
  return Object.entries(options).map(([name, value]) =>
    value === undefined ? "" : value === true ? ` --${name}` : ` --${name} ${shellWord(String(value))}`
  ).join("");
}

/** `verb`: what is not done to a model that comes with the program; null where nothing is. */
async function problemsOf(name: string, verb: string | null): Promise<string[]> {
  const { nameProblem } = await import("../../weights/store/keep.ts");
  const { MODELS } = await import("../../weights/store/store.ts");
  const problem = nameProblem(name);
  if (problem !== null) return [problem];
  const bundled = verb !== null && MODELS.some((model) => model.name === name && model.sources.length === 0);
  return bundled ? [`Cannot ${verb} ${name}: the model of that name comes with the program; choose another`] : [];
}

const endingOf = (url: string) => new URL(url).pathname.split(".").at(-1) ?? "";

function publishedSources(entry: ModelEntry | undefined, format: string | undefined) {
  return (entry?.sources ?? []).filter(({ url }) => format === undefined || endingOf(url) === format);
}

function addressProblems(text: string): string[] {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    return [
      `Cannot use --from ${text}: it must be an address, as https://example.org/model.pth; a file is taken by \`splice models import\``,
    ];
  }
  return url.username || url.password
    ? ["Cannot use --from: an address with a password in it would be kept; leave it out"]
    : [];
}
