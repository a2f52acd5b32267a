/** What `splice models pull` does: which address, what it says meanwhile, and what to do where no address gives the model to everyone. */
import { openDownloadVoice } from "../terminal/download_voice.ts";
import { type ExtractorFlags, extractorProblems, identifyOptions } from "../terminal/extractor_flags.ts";
import { type Common, EXIT, shellWord, UsageError } from "../terminal/usage.ts";
import { pullModel } from "../../weights/download/pull.ts";
import { isBundled, type ModelEntry, MODELS } from "../../weights/store/manifest.ts";
import { listModels, type StoreOptions } from "../../weights/store/store.ts";
import { copyText } from "./models_list.ts";
import { nameProblems, ownStore } from "./own_store.ts";
import { interruptible } from "./surroundings.ts";

export interface PullFlags extends Common, ExtractorFlags {
  readonly half?: boolean;
  readonly licence?: string;
  readonly from?: string;
  readonly source?: string;
}

/** `splice models pull`. Resolves to the exit code. */
export async function pullInto(name: string, options: PullFlags): Promise<number> {
  const entry = MODELS.find((model) => model.name === name);
  const store = ownStore(options.models);
  const { half, licence, network, heads, normalise } = options;
  const wanted = flagsText({ half, licence, network, heads, normalise });
  const chosen = options.from !== undefined || options.source !== undefined;
  const problems = [...nameProblems(name, chosen ? "pull anything as" : null), ...extractorProblems(options)];
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
  if (entry?.gated !== undefined && options.from === undefined) await refuseGated(entry, { wanted, store });

  if (sources.length === 0) {
    const path = (await listModels(store)).find((model) => model.name === name)?.path;
    if (!path) throw new Error(`Cannot pull ${name}: it comes with the program; restore models/ from the repository`);
    if (!options.quiet) {
      console.log(`${name} is here already${entry && isBundled(entry) ? ", it comes with the program" : ""}: ${path}`);
    }
    return EXIT.done;
  }
  const voice = openDownloadVoice(name, options);
  return await interruptible(async (signal) => {
    try {
      const { did, path, copy } = await pullModel(name, {
        ...store,
        sources,
        chosen,
        half: options.half ?? false,
        licence: options.licence ?? null,
        ...identifyOptions(options),
        wanted,
        signal,
        ...voice,
      });
      voice.end();
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

/** @throws Error that says how a model is come by whose address asks who one is; nothing where it is here already */
async function refuseGated(
  { name, licence, gated = [] }: ModelEntry,
  { wanted, store }: { wanted: string; store: StoreOptions },
): Promise<void> {
  if ((await listModels(store)).some((model) => model.name === name && model.path !== null)) return;
  throw new Error(
    `Cannot pull ${name}: it is under the ${licence}, and only those who have accepted it are given the file. Accept it at ${
      gated.join(" or at ")
    }, ` +
      `fetch the file there yourself, then: splice models import FILE --name ${name}${wanted}${store.named ?? ""}`,
  );
}

/** ` --half --licence 'CC0 1.0'`: options as they are typed, of those that were given. */
function flagsText(options: Readonly<Record<string, string | boolean | undefined>>): string {
  return Object.entries(options).map(([name, value]) =>
    value === undefined ? "" : value === true ? ` --${name}` : ` --${name} ${shellWord(String(value))}`
  ).join("");
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
