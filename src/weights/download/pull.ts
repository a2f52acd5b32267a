// A published model from its address into the store: which address, what it has to give, and what becomes of it. Bytes travel in download.ts, weights
// are converted in keep.ts. Invariant: a checksum once known, from the manifest or from the first time an address was used, is asked for ever after.

import { dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { type Copy, copyAt, readRecord } from "../store/record.ts";
import { download, type Patience } from "./download.ts";
import type { IdentifiedVit, IdentifyOptions } from "../store/identify.ts";
import { checkedVit, keepVit, sha256Of } from "../store/keep.ts";
import { withModelLock, workFolder } from "../store/lock.ts";
import type { Told } from "../formats/vit_family.ts";
import { discardPart } from "./part.ts";
import { sweepLeftovers } from "../store/remove.ts";
import { FetchError } from "./setback.ts";
import { listModels, loadVit, type ModelEntry, sha256OfFile, type StoreOptions } from "../store/store.ts";
import { openBytes } from "../formats/opening.ts";
import { messageOf, readWholeFile, WeightsError } from "../formats/tensor.ts";

/** An address to fetch from, and what it is known to give. */
export type PullSource = Pick<ModelEntry["sources"][number], "url" | "revision" | "bytes" | "sha256">;

export type PullOptions = StoreOptions & IdentifyOptions & {
  /** Where it is kept. */
  readonly own: string;
  /** Best first. */
  readonly sources: readonly PullSource[];
  /** Whether the user has named the address, so that a copy from another one will not do. */
  readonly chosen: boolean;
  readonly half: boolean;
  readonly licence: string | null;
  /** How the command line says what is wanted of the copy: ` --half`, ... */
  readonly wanted?: string;
  readonly signal: AbortSignal;
  onProgress(have: number, total: number | null): void;
  onNote(text: string): void;
  readonly patience?: Patience;
};

/** `copy` is null for a file that somebody has put there by hand. */
export type Pulled = {
  readonly did: "fetched" | "found" | "halved";
  readonly path: string;
  readonly copy: Copy | null;
};

/**
 * Sees to it that the model is in the store, and fetches it if it is not.
 * @throws WeightsError that says what to do: no network, another file than expected, no room, ...; the signal's reason.
 */
export async function pullModel(name: string, options: PullOptions): Promise<Pulled> {
  const { own, signal, onNote } = options;
  const onWait = () => onNote(`Another process is busy with ${name}: waiting for it`);
  return await withModelLock(name, async () => {
    const present = await findPresent(name, options);
    if (present !== null) return present;
    let last: FetchError | null = null;
    for (const [i, source] of options.sources.entries()) {
      try {
        const copy = await fetchInto(name, source, options);
        return { did: "fetched", path: join(own, copy.file), copy };
      } catch (error) {
        if (!(error instanceof FetchError)) throw error;
        last = error;
        if (!error.elsewhere) break;
        if (i + 1 < options.sources.length) onNote(`${error.message}; trying ${options.sources[i + 1].url}`);
      }
    }
    // By hand the same would come from an address that leads to no weights; in front of a published one stands perhaps only a page to log in.
    const useless = !last?.elsewhere || (options.chosen && last.cause instanceof WeightsError);
    const remedy = useless ? "Nothing was kept of it" : byHand(name, options);
    throw new WeightsError(`Cannot fetch ${name}: ${messageOf(last).replace(/\.$/, "")}. ${remedy}`, { cause: last });
  }, { folder: own, signal, onWait });
}

/** What is there already and will do, null if something has to be fetched. */
async function findPresent(name: string, options: PullOptions): Promise<Pulled | null> {
  const { own, chosen, half, network, told, sources, onNote, named = "" } = options;
  const path = (await listModels(options)).find((model) => model.name === name)?.path ?? null;
  if (path === null) return null;
  const sha256 = await sha256OfFile(path);
  const ours = resolve(dirname(path)) === resolve(own);
  const copy = ours ? await copyAt(path, sha256, { named }) : null;
  if (copy === null && chosen) {
    const away = ours ? `, or take it away with \`splice models remove ${name}${named}\`` : "";
    throw new WeightsError(
      `Cannot pull ${name} from ${
        sources[0].url
      }: ${path} has that name and was put there by hand. Use another name${away}.`,
    );
  }
  if (copy === null) return { did: "found", path, copy };
  if (chosen && sources.every(({ url }) => url !== copy.source.from)) return null;
  if (sha256 !== copy.sha256) {
    onNote(`${path} is not what was stored: fetching it anew`);
    return null;
  }
  if (network !== undefined && !isCalled(copy.source.network, network)) return null;
  if (told !== undefined && !agrees(copy.network, told)) return null;
  if ((copy.dtype === "f16") === half) return { did: "found", path, copy };
  if (!half) return null;
  const vit = await loadVit(path);
  vit.remarks.forEach((remark) => onNote(remark));
  const kept = await keepVit(name, vit, {
    folder: own,
    half,
    licence: copy.licence,
    source: copy.source,
    sight: null,
    named,
  });
  return { did: "halved", path, copy: kept };
}

async function fetchInto(name: string, source: PullSource, options: PullOptions): Promise<Copy> {
  const { url } = source;
  const { own, half, licence, named = "" } = options;
  const part = join(workFolder(own), `${name}-${sha256Of(new TextEncoder().encode(url)).slice(0, 8)}.part`);
  const first = (await readRecord(own, name, { named }))?.first_seen.find((sight) => sight.url === url);
  let fetched: { bytes: number; sha256: string };
  try {
    fetched = await download(url, {
      ...options,
      part,
      expected: { bytes: source.bytes ?? first?.bytes, sha256: source.sha256 ?? first?.sha256 },
    });
  } catch (error) {
    if (!(error instanceof FetchError) || error.elsewhere) throw error;
    if (source.bytes === undefined && source.sha256 === undefined && first === undefined) throw error;
    if (source.sha256 !== undefined || first === undefined) {
      throw new FetchError(`${error.message}: another --source or a newer version of Splice may have the right one`, {
        elsewhere: false,
        cause: error,
      });
    }
    throw new FetchError(
      `${error.message}, as on ${first.when.slice(0, 10)}: the file there has changed since. ` +
        `If it is meant to have, \`splice models remove ${name}${named}\` forgets the one before; then pull again`,
      { elsewhere: false, cause: error },
    );
  }
  let vit: IdentifiedVit;
  try {
    vit = await checkedVit(openBytes(await readWholeFile(part), url), url, {
      name,
      network: options.network,
      told: options.told,
    });
    vit.remarks.forEach((remark) => options.onNote(remark));
  } catch (error) {
    await discardPart(part); // there is nothing to go on with
    throw error instanceof WeightsError ? new FetchError(error.message, { cause: error }) : error;
  }
  const copy = await keepVit(name, vit, {
    folder: own,
    half,
    licence,
    source: { from: url, revision: source.revision ?? null, ...fetched, network: vit.network },
    sight: { url, ...fetched, when: new Date().toISOString() },
    named,
  });
  await sweepLeftovers(own, name); // this part, and those of addresses that were begun and left
  return copy;
}

/** Whether a network of a file may be meant by that word. */
const isCalled = (network: string | null, word: string) =>
  network === word || (network?.split(/[._]/).includes(word) ?? false);

/** Whether what is told of a network is what was written down of it. */
function agrees(written: Copy["network"], { heads = written?.heads, normalisation = written?.normalisation }: Told) {
  return heads === written?.heads && isDeepStrictEqual(normalisation, written?.normalisation);
}

/** What to do where there is no network. */
function byHand(
  name: string,
  { sources, wanted = "", named = "" }: Pick<PullOptions, "sources" | "wanted" | "named">,
): string {
  const [{ url }] = sources;
  const last = new URL(url).pathname.split("/").at(-1) ?? "";
  const file = /^\w[\w.%+=@-]*$/.test(last) ? last : "FILE"; // it is to be pasted into a shell
  const others = sources.slice(1).map((source) => ` or ${source.url}`).join("");
  return `Without a network here, fetch ${url}${others} on another machine, bring the file and run: ` +
    `splice models import ${file} --name ${name}${wanted}${named}`;
}
