// What the head of an HTTP answer says of the file: where the bytes that follow begin, and how many the file has; or why they are of no use.
// It reads no body. Invariant: bytes are added to a part only where nothing that the server says speaks against their being of the same file.

import { beginPart, discardPart, type Facts, type Part } from "./part.ts";
import { FetchError, Setback } from "./setback.ts";
import { MOST_BYTES } from "../formats/tensor.ts";

/** `from`: the byte that was asked for; 0 is the whole file. `part` is what there is of it at `path`. */
export type Request = {
  readonly url: string;
  readonly path: string;
  readonly from: number;
  readonly part: Part | null;
  /** What the file has to be, as far as that is known. */
  readonly expected: { readonly bytes?: number | undefined; readonly sha256?: string | undefined };
};

/** The bytes that follow begin at `start`; none follow where that is the file's size. */
export type Begun = { readonly start: number; readonly facts: Facts };

/**
 * Reads the head. What it says is remembered with the part; a part that cannot be gone on with is thrown away, the body of an answer that is of no use cancelled.
 * @throws Setback if it may go better the next time, FetchError if not, WeightsError if the disk refuses.
 */
export async function readAnswer(response: Response, request: Request): Promise<Begun> {
  try {
    return await judge(response, request);
  } catch (error) {
    await response.body?.cancel().catch(() => {});
    throw error;
  }
}

async function judge(response: Response, { url, path, from, part, expected }: Request): Promise<Begun> {
  const { status, headers } = response;
  if (url.startsWith("https:") && response.url.startsWith("http:")) {
    throw new FetchError(`${url} redirects to an address that is not encrypted, ${response.url}`);
  }
  if (part !== null && from > 0 && (status === 206 || status === 416)) {
    const range = contentRange(headers);
    if (status === 206) checkSize(range?.total ?? null, { url, expected });
    const facts = { ...part.facts, total: part.facts.total ?? range?.total ?? null };
    const against = status === 206
      ? objection(headers, { range, from, facts })
      : dispute(headers, { range, from, facts });
    if (against === null) return { start: from, facts };
    await discardPart(path); // the next request is for the whole file
    throw new Setback(against);
  }
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    throw new Setback(`answered ${statusText(response)}`, { pause: retryAfter(headers) });
  }
  if (status !== 200) throw new FetchError(`${url} answered ${statusText(response)}`);
  const encoding = encodingOf(headers);
  if (encoding !== null) {
    throw new FetchError(`${url} gives the file only compressed (${encoding}), though it was asked for as it is`);
  }
  const announced = headers.get("content-length");
  const total = announced === null ? null : Number(announced);
  checkSize(total, { url, expected });
  const facts = { url, etag: headers.get("etag"), modified: headers.get("last-modified"), total, safe: 0 };
  await beginPart(path, facts);
  return { start: 0, facts };
}

type Claim = { readonly range: ReturnType<typeof contentRange>; readonly from: number; readonly facts: Facts };

/** Why the bytes of a 206 do not belong behind those of the part, null if they do. */
function objection(
  headers: Headers,
  { range, from, facts }: Claim,
): string | null {
  const encoding = encodingOf(headers);
  if (encoding !== null) return `goes on with compressed bytes (${encoding})`;
  if (range?.start !== from) {
    return `was asked for the bytes from ${from} on and answered ${
      headers.get("content-range") ?? "without saying what"
    }`;
  }
  const same = (range.total ?? facts.total) === facts.total && sameFile(headers, facts);
  return same ? null : "has another file now than the one that was begun";
}

/** Why a 416 does not mean that the part is the whole file, null if it does: the size was not known before. */
function dispute(headers: Headers, { range, from, facts }: Claim): string | null {
  const now = range?.total ?? null;
  if (now !== null && now !== facts.total) return `gave the file's size as ${facts.total} bytes, and now as ${now}`;
  if (now !== from) return `says that there are no bytes from ${from} on`;
  return sameFile(headers, facts) ? null : "has another file now than the one that was begun";
}

/** @throws FetchError before the bytes of another file have travelled. */
function checkSize(total: number | null, { url, expected }: Pick<Request, "url" | "expected">): void {
  if (total === null) return;
  if (total > MOST_BYTES) {
    throw new FetchError(
      `${url} is a file of ${total} bytes, more than the 6 GiB this program reads: use a smaller model`,
      {
        elsewhere: false,
      },
    );
  }
  if ((expected.bytes ?? total) !== total) {
    throw new FetchError(`${url} is a file of ${total} bytes, and ${expected.bytes} are expected`, {
      elsewhere: false,
    });
  }
}

/** The byte it begins at (none in a 416) and the file's size (a server may not know it); null if the header says nothing of the kind. */
function contentRange(headers: Headers): { start: number | null; total: number | null } | null {
  const found = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(headers.get("content-range") ?? "");
  if (found === null) return null;
  const [, start, total] = found;
  return { start: start === undefined ? null : Number(start), total: total === "*" ? null : Number(total) };
}

/** Nothing said contradicts nothing. */
function sameFile(headers: Headers, { etag, modified }: Facts): boolean {
  const same = (now: string | null, before: string | null) => now === null || !before || now === before;
  return same(headers.get("etag"), etag) && same(headers.get("last-modified"), modified);
}

/** How the bytes are packed, null if they are as they should be. */
function encodingOf(headers: Headers): string | null {
  const encoding = headers.get("content-encoding")?.trim().toLowerCase() ?? "";
  return encoding === "" || encoding === "identity" ? null : encoding;
}

/** `404 Not Found` */
const statusText = ({ status, statusText }: Response) => `${status} ${statusText}`.trim();

/** Seconds or a date, as ms from now; null where it says nothing. */
function retryAfter(headers: Headers): number | null {
  const text = headers.get("retry-after") ?? "";
  if (/^\d+$/.test(text)) return 1000 * Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}
