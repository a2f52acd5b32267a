/**
 * The parts of a multipart/form-data body, one after the other as they arrive, within limits of size and patience. Knows neither fields nor pictures. A part is held in
 * memory while it arrives and no longer than its reader holds it; whatever a client sends, the outcome is parts or a Fault, and the event loop goes on in between.
 * @remix-run/multipart-parser finds the parts; here is what it leaves to its caller: patience, turns for the event loop, and which field it was that is too large.
 */
import { setImmediate } from "node:timers";
import {
  getMultipartBoundary,
  MaxFileSizeExceededError,
  MaxHeaderSizeExceededError,
  MaxPartsExceededError,
  MaxTotalSizeExceededError,
  MultipartParseError,
  MultipartParser,
  type MultipartPart,
} from "@remix-run/multipart-parser";
import { Fault } from "../../jobs/model/job.ts";

export interface Part {
  readonly name: string;
  /** Null for a plain field. */
  readonly filename: string | null;
  readonly bytes: Uint8Array;
}

export interface PartLimits {
  /** Of one part, in bytes. */
  readonly partBytes: number;
  /** Of the whole body, in bytes. */
  readonly totalBytes: number;
  readonly parts: number;
  /** How long nothing may arrive, and how long the whole may take. */
  readonly idleMs: number;
  readonly totalMs: number;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
}

/** Larger than what one read gives, so that a part never consists of very many pieces, and small enough to be searched in a few milliseconds. */
const blockBytes = 65_536;
/** How long uploads may keep the event loop to themselves, in milliseconds. */
const longestBreath = 4;
/** Longer than the parser takes, in bytes. */
const longestHeader = 16_384;
/** RFC 2046 allows no longer boundary. */
const longestBoundary = 70;

/** @throws Fault unsupported_body, bad_request, payload_too_large, too_slow, unavailable */
export async function* readParts(request: Request, limits: PartLimits): AsyncGenerator<Part> {
  const boundary = boundaryOf(request);
  const announced = Number(request.headers.get("content-length") ?? 0);
  if (announced > limits.totalBytes) throw bodyTooLarge(limits.totalBytes);
  if (request.body === null) throw malformed("it is empty");
  const parser = new MultipartParser(boundary, {
    maxFileSize: limits.partBytes,
    maxTotalSize: limits.totalBytes,
    maxParts: limits.parts,
  });
  const sight = headerSight(boundary);
  let arrived = 0;
  let ended = false;
  for await (const block of blocks(request.body, limits)) {
    arrived += block.length;
    if (arrived > limits.totalBytes) throw bodyTooLarge(limits.totalBytes);
    if (ended) continue; // what follows the last part says nothing
    try {
      sight.see(block);
      for (const part of parser.write(block)) {
        const names = sight.names();
        sight.passed(part.size);
        yield read(part, names);
      }
    } catch (error) {
      if (error instanceof MultipartParseError && /after end of stream/.test(error.message)) ended = true;
      else throw asFault(error, { limits, name: sight.names().name?.slice(0, 40) ?? null });
    }
  }
  if (ended) return;
  try {
    parser.finish();
  } catch {
    throw malformed("it ends before its closing boundary. Send it again, whole");
  }
}

function boundaryOf(request: Request): string {
  const type = request.headers.get("content-type") ?? "";
  if (!/^multipart\/form-data\s*(;|$)/i.test(type.trim())) {
    const given = type === "" ? "has no Content-Type" : `is ${type.slice(0, 60)}`;
    throw new Fault(
      "unsupported_body",
      `Cannot read the body: it ${given}, and must be multipart/form-data. With curl: -F structure=@photo.jpg.`,
    );
  }
  const boundary = getMultipartBoundary(type)?.trim();
  if (boundary === undefined || boundary === "" || boundary.length > longestBoundary) {
    throw malformed(
      `its Content-Type has no boundary of 1 to ${longestBoundary} characters. Let the HTTP client set that header`,
    );
  }
  return boundary;
}

/** The body in blocks of 64 KiB, however small the pieces are that it arrives in. */
async function* blocks(body: ReadableStream<Uint8Array>, limits: PartLimits): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  const patience = watch(limits);
  try {
    let block = new Uint8Array(blockBytes);
    let filled = 0;
    while (true) {
      const { done, value } = await patience.during(reader.read());
      for (let from = 0; value !== undefined && from < value.length;) {
        const piece = value.subarray(from, from + blockBytes - filled);
        block.set(piece, filled);
        filled += piece.length;
        from += piece.length;
        if (filled < blockBytes) break;
        await breathe();
        yield block;
        block = new Uint8Array(blockBytes); // the parser keeps views of the last one
        filled = 0;
      }
      if (done) break;
    }
    if (filled > 0) yield block.subarray(0, filled);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw malformed("the connection broke before its end. Send it again", error);
  } finally {
    patience.end();
    reader.cancel().catch(() => {}); // nothing more is wanted, and a broken connection says so elsewhere
  }
}

/** When the event loop last had its turn, as far as uploads know. */
let turned = 0;

/** A fast upload's reads never have to wait, and would keep everyone else waiting until its end: lets the event loop have its turn every few milliseconds. */
async function breathe(): Promise<void> {
  if (performance.now() - turned < longestBreath) return;
  await new Promise((resolve) => setImmediate(resolve));
  turned = performance.now();
}

/** Waits for reads, but not for ever. */
function watch({ idleMs, totalMs, stopping }: PartLimits) {
  const { promise: givenUp, reject } = Promise.withResolvers<never>();
  givenUp.catch(() => {}); // it may come when nobody reads
  const stop = () =>
    reject(
      new Fault("unavailable", "Cannot take the upload: the server is stopping. Send it again.", { retryAfter: 5 }),
    );
  const slow = (why: string) => () =>
    reject(
      new Fault(
        "too_slow",
        `Cannot wait for the rest of the upload: ${why}. Send it again over a better connection, or smaller pictures.`,
      ),
    );
  stopping.addEventListener("abort", stop);
  if (stopping.aborted) stop();
  const total = setTimeout(slow(`it has taken more than ${totalMs / 1000} s`), totalMs);
  const idleReason = slow(`nothing has arrived for ${idleMs / 1000} s`);
  return {
    async during<T>(read: Promise<T>): Promise<T> {
      const idle = setTimeout(idleReason, idleMs);
      try {
        return await Promise.race([read, givenUp]);
      } finally {
        clearTimeout(idle);
      }
    },
    end() {
      clearTimeout(total);
      stopping.removeEventListener("abort", stop);
    },
  };
}

/**
 * Remembers just enough to see the header of the part that arrives, as it was sent: the parser keeps it for itself, tells nothing of a part that is too large, and knows
 * only UTF-8 and names in lower case. Headers are far shorter than a block, so two blocks hold one.
 */
function headerSight(boundary: string) {
  let recent: Uint8Array[] = [];
  let latest = new Uint8Array();
  let arrived = 0;
  /** Where in the body the first of `recent` begins, and the header of the part that arrives. */
  let from = 0;
  let header = `--${boundary}\r\n`.length;
  /** A character a byte. */
  const text = () => {
    const joined = new Uint8Array(recent.reduce((sum, { length }) => sum + length, 0));
    recent.reduce((at, block) => (joined.set(block, at), at + block.length), 0);
    const rest = String.fromCharCode(...joined.subarray(header - from).subarray(0, longestHeader));
    const end = rest.indexOf("\r\n\r\n");
    return end < 0 ? rest : rest.slice(0, end);
  };
  return {
    see(block: Uint8Array<ArrayBuffer>) {
      latest = block;
      arrived += block.length;
      if (recent.length < 2) recent.push(block);
    },
    /** What the header says of the part's names. */
    names: () => namesIn(text()),
    /** The part has arrived, with so many bytes of content. */
    passed(size: number) {
      header += text().length + "\r\n\r\n".length + size + `\r\n--${boundary}\r\n`.length;
      recent = [latest];
      from = arrived - latest.length;
    },
  };
}

/** The name of a part and of its file, null where there is none. Parameters are named in any case (RFC 2183); their values are UTF-8, or else Latin-1. */
function namesIn(header: string): { name: string | null; filename: string | null } {
  const disposition = /^content-disposition[ \t]*:(.*)$/im.exec(header)?.[1] ?? "";
  const found = new Map<string, string>();
  for (const [, name, quoted, plain] of disposition.matchAll(/;\s*([^=;\s]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;]*))/g)) {
    found.set(name.toLowerCase(), asSent(quoted?.replaceAll(/\\(["\\])/g, "$1") ?? plain.trim()));
  }
  return { name: found.get("name") ?? null, filename: found.get("filename") ?? found.get("filename*") ?? null };
}

/** Bytes, one a character, as the text that they are. */
function asSent(bytes: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
  } catch {
    return bytes;
  }
}

function read(part: MultipartPart, { name, filename }: { name: string | null; filename: string | null }): Part {
  if (name === null) throw malformed("one of its parts has no name");
  return { name, filename, bytes: part.bytes };
}

function asFault(error: unknown, { limits, name }: { limits: PartLimits; name: string | null }): unknown {
  if (error instanceof MaxFileSizeExceededError) {
    const field = name ?? "a part of the upload";
    const detail = `Cannot take ${field}: it has more than ${
      megabytes(limits.partBytes)
    }. Scale the picture down, or save it with a lower quality.`;
    return new Fault("payload_too_large", detail, name === null ? {} : { errors: [{ field, message: detail }] });
  }
  if (error instanceof MaxTotalSizeExceededError) return bodyTooLarge(limits.totalBytes);
  if (error instanceof MaxPartsExceededError) return malformed(`it has more than ${limits.parts} parts`);
  if (error instanceof MaxHeaderSizeExceededError) return malformed("the header of one of its parts is too long");
  if (error instanceof MultipartParseError) return malformed("it does not begin with the boundary of its Content-Type");
  return error;
}

const bodyTooLarge = (limit: number) =>
  new Fault(
    "payload_too_large",
    `Cannot take the upload: all of it must be at most ${
      megabytes(limit)
    }. Scale the pictures down, or save them with a lower quality.`,
  );

const malformed = (why: string, cause?: unknown) =>
  new Fault("bad_request", `Cannot read the body as a form: ${why}.`, { cause });

const megabytes = (bytes: number) => `${+(bytes / 1e6).toFixed(3)} MB`;
