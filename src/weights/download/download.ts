// One file fetched over HTTP into a part file, whatever happens on the way: it goes on after a cut, waits when it is asked to, and begins again
// when the file has changed. It knows nothing of models. Invariant: what it returns was checked against the expected size and SHA-256, and a
// part is only continued with bytes of the same file.

import { setTimeout as delay } from "node:timers/promises";
import { readAnswer, type Request } from "./answer.ts";
import { MOST_BYTES } from "../formats/tensor.ts";
import { appendPart, describePart, discardPart, openPart } from "./part.ts";
import { FetchError, reasonOf, Setback } from "./setback.ts";
import { sha256OfFile } from "../store/store.ts";
import { messageOf } from "../formats/tensor.ts";

/** How long to try: attempts in a row without progress, the first pause (it doubles), the longest, and how long a silence is borne; in ms. */
export type Patience = {
  readonly attempts: number;
  readonly firstPause: number;
  readonly longestPause: number;
  readonly silence: number;
};

const PATIENCE: Patience = { attempts: 6, firstPause: 1000, longestPause: 120_000, silence: 60_000 };
/** Of a machine that cannot be reached at all, few attempts tell as much as many. */
const UNREACHABLE = 2;

export type DownloadOptions = {
  /** The part's path. */
  readonly part: string;
  /** What the file has to be, as far as that is known. */
  readonly expected: Request["expected"];
  readonly signal: AbortSignal;
  /** Bytes so far, and in all where that is known. */
  onProgress(have: number, total: number | null): void;
  onNote(text: string): void;
  readonly patience?: Patience;
};

/**
 * Fetches `url` into `options.part`, going on with what is there of it. Resolves to the whole file's size and SHA-256.
 * @throws FetchError if the address gives no file or another than expected, WeightsError if the disk refuses, the signal's reason.
 */
export async function download(url: string, options: DownloadOptions): Promise<{ bytes: number; sha256: string }> {
  const { part, expected, onNote } = options;
  for (let again = false;; again = true) {
    const { bytes, resumed } = await fetchWhole(url, options);
    const sha256 = await sha256OfFile(part);
    const right = (expected.bytes ?? bytes) === bytes && (expected.sha256 ?? sha256) === sha256;
    if (right) return { bytes, sha256 };
    await discardPart(part);
    if (!resumed || again) {
      throw new FetchError(
        `${url} gave ${bytes} bytes with the SHA-256 ${sha256}, and ` +
          `${expected.bytes === undefined ? "" : `${expected.bytes} bytes with `}${
            expected.sha256 ?? "another"
          } is expected`,
        { elsewhere: false },
      );
    }
    onNote(`The parts of ${url} do not fit together: fetching it from the beginning`);
  }
}

async function fetchWhole(url: string, options: DownloadOptions): Promise<{ bytes: number; resumed: boolean }> {
  const { attempts, firstPause, longestPause } = options.patience ?? PATIENCE;
  const known = await openPart(options.part, url);
  const progress = { resumed: known !== null && known.have > 0, most: known?.have ?? 0 };
  for (let failures = 0;;) {
    const before = progress.most;
    try {
      const bytes = await attempt(url, options, progress);
      return { bytes, resumed: progress.resumed };
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof Setback)) throw error;
      // Progress is what is beyond everything so far: a server that always fails at the same byte is not tried for ever.
      failures = progress.most > before * 1.01 ? 1 : failures + 1;
      const pause = error.pause ?? Math.min(firstPause * 2 ** (failures - 1), longestPause);
      if (failures >= (error.unreachable ? UNREACHABLE : attempts)) {
        throw new FetchError(`${url} ${error.message}`, { cause: error });
      }
      if (pause > longestPause) {
        throw new FetchError(`${url} ${error.message}, and asks to wait ${Math.ceil(pause / 1000)} s: try again then`);
      }
      options.onNote(`${url} ${error.message}; trying again in ${Math.max(1, Math.round(pause / 1000))} s`);
      await delay(pause, undefined, { signal: options.signal });
    }
  }
}

/** One request. Resolves to the file's size. @throws Setback if another request may do better */
async function attempt(
  url: string,
  { part: path, expected, signal, onProgress, patience = PATIENCE }: DownloadOptions,
  progress: { resumed: boolean; most: number },
): Promise<number> {
  const part = await openPart(path, url);
  if (part !== null && part.have > 0 && part.have === part.facts.total) return part.have;
  const validator = part && (strongTag(part.facts.etag) ?? part.facts.modified);
  const from = part !== null && part.have > 0 && (validator || expected.sha256 !== undefined) ? part.have : 0;

  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), patience.silence);
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), patience.silence);
  };
  const setback = (error: unknown, { unreachable }: { unreachable: boolean }) => {
    if (silence.signal.aborted) return new Setback(`has said nothing for ${patience.silence / 1000} s`);
    return new Setback(`${unreachable ? "cannot be reached" : "was cut off"} (${reasonOf(error)})`, { unreachable });
  };
  try {
    const headers: Record<string, string> = { "accept-encoding": "identity" };
    if (from > 0) headers.range = `bytes=${from}-`;
    if (from > 0 && validator) headers["if-range"] = validator;
    const both = AbortSignal.any([signal, silence.signal]);
    const response = await fetch(url, { headers, signal: both }).catch((error) => {
      if (/redirect/i.test(messageOf(error))) throw new FetchError(`${url} leads nowhere (${reasonOf(error)})`);
      throw setback(error, { unreachable: true });
    });
    const { start, facts } = await readAnswer(response, { url, path, from, part, expected });
    const { total } = facts;
    progress.resumed = start > 0;
    onProgress(start, total);
    if (start > 0 && start === total) {
      await response.body?.cancel();
      return start;
    }
    const have = await appendPart(path, piecesOf(response, { heard, setback }), {
      from: start,
      facts,
      onSize(bytes) {
        if (bytes > (total ?? MOST_BYTES)) throw new FetchError(`${url} gives more than ${total ?? MOST_BYTES} bytes`);
        progress.most = Math.max(progress.most, bytes);
        onProgress(bytes, total);
      },
    });
    if (total !== null && have < total) throw new Setback(`ended after ${have} of ${total} bytes`);
    if (total === null) await describePart(path, { ...facts, total: have, safe: have });
    return have;
  } finally {
    clearTimeout(timer);
  }
}

/** The body as it comes; `heard` is told of each piece. @throws what `setback` makes of a cut */
async function* piecesOf(
  response: Response,
  { heard, setback }: { heard(): void; setback(error: unknown, why: { unreachable: boolean }): Error },
): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of response.body ?? []) {
      heard();
      yield piece;
    }
  } catch (error) {
    throw setback(error, { unreachable: false });
  }
}

/** A weak tag says that two files mean the same, not that their bytes are. */
const strongTag = (etag: string | null) => etag !== null && !etag.startsWith("W/") ? etag : null;
