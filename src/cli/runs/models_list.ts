/** What `splice models list` shows: every known model and every file in the store, with what is remembered of it, as a table or as data. */
import { basename } from "node:path";
import { copyAt } from "../../weights/store/record.ts";
import type { Copy } from "../../weights/store/record.ts";
import { isBundled } from "../../weights/store/manifest.ts";
import { listModels } from "../../weights/store/store.ts";
import { sizeText } from "../terminal/quantities.ts";
import { modelStore } from "./surroundings.ts";

export interface ModelSurvey {
  readonly name: string;
  readonly present: boolean;
  readonly path: string | null;
  readonly bytes: number | null;
  /** What is remembered of the file; null for files that were put there by hand, and for those that come with the program. */
  readonly copy: Copy | null;
  readonly bundled: boolean;
  readonly licence: string | null;
  readonly about: string | null;
  /** What a model that is not here will take, in MB. */
  readonly megabytes: number | null;
  readonly sources: readonly string[];
  /** Where those who have accepted its licence fetch it by hand; null where everybody is given it. */
  readonly gated: readonly string[] | null;
  /** Why nothing is known of it though it is here. */
  readonly problem: string | null;
}

export interface Survey {
  readonly folders: readonly string[];
  readonly models: readonly ModelSurvey[];
  readonly named: string;
}

export async function surveyModels(given: string | undefined): Promise<Survey> {
  const { folders, named = "" } = modelStore(given);
  const models: ModelSurvey[] = [];
  for (const { name, path, entry } of await listModels({ folders })) {
    let copy: Copy | null = null;
    let problem: string | null = null;
    try {
      copy = path === null ? null : await copyAt(path, undefined, { named });
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    models.push({
      name,
      present: path !== null,
      path,
      bytes: path === null ? null : await Deno.stat(path).then(({ size }) => size, () => null),
      copy,
      bundled: entry !== null && isBundled(entry),
      licence: entry?.licence ?? copy?.licence ?? null,
      about: entry?.about ?? null,
      megabytes: entry?.megabytes ?? null,
      sources: entry?.sources.map(({ url }) => url) ?? [],
      gated: entry?.gated ?? null,
      problem,
    });
  }
  return { folders, models, named };
}

export function listText({ folders, models, named }: Survey): string {
  const rows = models.map((model) => [
    model.name,
    model.present ? "yes" : "no",
    model.bytes === null ? `(${model.megabytes ?? "?"} MB)` : sizeText(model.bytes),
    fromText(model),
    model.licence ?? "-",
    model.about ?? "-",
  ]);
  const table = [["name", "here", "size", "from", "licence", "about"], ...rows];
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  const lines = table.map((row) => row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd());
  const problems = models.flatMap(({ problem }) => problem ?? []);
  const absent = models.some(({ present }) => !present) ? `; \`splice models pull NAME${named}\` fetches one` : "";
  const byHand = models.some(({ present, gated }) => !present && gated)
    ? [
      `Those "by hand" are given to who accepts their licence: \`splice models pull NAME\` says where, \`splice models import FILE --name NAME\` takes the file.`,
    ]
    : [];
  return [...lines, ...problems, `Kept in ${folders.at(-1)}${absent}.`, ...byHand].join("\n");
}

function fromText({ present, bundled, copy, sources, gated }: ModelSurvey): string {
  if (bundled) return "comes with Splice";
  if (present) {
    return copy ? `${placeOf(copy.source.from)}${copy.dtype === "f16" ? ", as f16" : ""}` : "put there by hand";
  }
  if (gated) return `${hostsOf(gated)}, by hand`;
  return hostsOf(sources);
}

const hostsOf = (addresses: readonly string[]) => addresses.map((url) => new URL(url).hostname).join(", ");

/** The host of an address, the name of a file. */
const placeOf = (from: string) => URL.parse(from)?.hostname || basename(from);

/** `343 MB as f32, from ADDRESS (SHA-256 ..., remembered)` */
export function copyText({ bytes, dtype, source, licence }: Copy): string {
  const revision = source.revision === null ? "" : `, revision ${source.revision}`;
  return `${sizeText(bytes)} as ${dtype}, from ${source.from}${revision} (SHA-256 ${source.sha256}), licence ${
    licence ?? "unknown"
  }`;
}
