/**
 * Messages over a pipe, as JSON text sequences (RFC 7464): a record separator, one line of JSON, a line feed. Whatever else a process or a driver prints into the pipe
 * is told from messages and passed on, and a half-written message of a dying process harms nothing but itself.
 */
import { setImmediate } from "node:timers";
import type { z } from "zod";

const SEPARATOR = "\x1e";
/** Messages are small; what grows beyond this, in characters, is none. */
const LONGEST = 1 << 20;
/** How long lines may keep the event loop to themselves, in ms. */
const LONGEST_BREATH = 5;

/** One message, ready for the pipe. */
export function frame(message: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${SEPARATOR}${JSON.stringify(message)}\n`);
}

/** The messages that come out of a pipe, in order, until it ends. `onStray` gets every other line. */
export async function* messagesOf<Schema extends z.ZodType>(
  pipe: ReadableStream<Uint8Array<ArrayBuffer>>,
  { schema, onStray }: { schema: Schema; onStray(line: string): void },
): AsyncGenerator<z.output<Schema>> {
  for await (const line of linesOf(pipe)) {
    const start = line.lastIndexOf(SEPARATOR); // a driver's text may lack its line feed
    if (start > 0) onStray(line.slice(0, start));
    if (start < 0) {
      if (line.trim() !== "") onStray(line);
      continue;
    }
    const parsed = schema.safeParse(parseJson(line.slice(start + 1)));
    if (parsed.success) yield parsed.data;
    else onStray(line.slice(start + 1));
  }
}

/** The lines of a pipe without their line feeds; overlong ones are cut. However many there are, the event loop has its turn. */
export async function* linesOf(pipe: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  let turned = performance.now();
  for await (const text of pipe.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!.slice(0, LONGEST);
    for (const line of lines) {
      yield line;
      if (performance.now() - turned < LONGEST_BREATH) continue;
      await new Promise((resolve) => setImmediate(resolve));
      turned = performance.now();
    }
  }
  if (rest !== "") yield rest;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
