/**
 * The server's log, on stderr: lines for people on a terminal, a JSON object a line elsewhere. What routes and jobs have to say comes here; nothing else decides
 * where it goes. Invariant: nobody waits for the log. Where its reader has stopped reading, lines are lost, and counted.
 */
import {
  configure,
  getAnsiColorFormatter,
  getJsonLinesFormatter,
  getLogger,
  type LogRecord as Line,
} from "@logtape/logtape";
import type { LogRecord } from "../../routes/middleware/environment.ts";

export interface ServerLog {
  /** A remark of the jobs' side. */
  text(text: string): void;
  /** What happened to a request. */
  record(record: LogRecord): void;
  /** Resolves when everything is written, or after a moment if nobody reads it. */
  flush(): Promise<void>;
}

/** So much is held for a reader that lags, in bytes. */
const MOST_HELD = 1 << 20;
/** How long the last lines are waited for, in ms. */
const LAST_WORDS = 500;

export async function openLog(): Promise<ServerLog> {
  const format = Deno.stderr.isTerminal()
    ? getAnsiColorFormatter({ timestamp: "time", category: () => "" })
    : getJsonLinesFormatter({ properties: "flatten" });
  const out = writeBehind(Deno.stderr);
  await configure({
    sinks: { stderr: (line: Line) => out.write(format(line)) },
    loggers: [
      { category: "splice", sinks: ["stderr"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: ["stderr"], lowestLevel: "warning" },
    ],
    reset: true,
  });
  const jobs = getLogger(["splice", "jobs"]);
  const http = getLogger(["splice", "http"]);
  return {
    text: (text) => jobs.info(literal(text)),
    record(record) {
      if (record.what === "error") {
        const { request, error } = record;
        const stack = error instanceof Error ? error.stack ?? error.message : String(error);
        http.error(literal(`request ${request} failed inside: ${stack}`), { request });
      } else {
        const { what: _, ...properties } = record;
        const { method, path, status, ms } = record;
        const write = status >= 500 ? http.warn.bind(http) : http.info.bind(http);
        write(literal(`${method} ${path} ${status} in ${ms} ms`), properties);
      }
    },
    flush: () => out.flush(),
  };
}

/** Text that may hold braces, as the logger's templates want it. */
const literal = (text: string) => text.replaceAll("{", "{{").replaceAll("}", "}}");

/**
 * Writes in order and in the background: a pipe that nobody reads is full after 64 KiB, and would hold up whoever writes to it, which is the whole server. Errors are
 * ignored, for a log that cannot be written must not stop anything.
 */
export function writeBehind(
  out: { write(bytes: Uint8Array): Promise<number> },
  mostHeld = MOST_HELD,
): { write(text: string): void; flush(): Promise<void> } {
  const encoder = new TextEncoder();
  let held = "";
  let lost = 0;
  let writing: Promise<void> | null = null;

  async function writeAll(): Promise<void> {
    while (held !== "" || lost > 0) {
      const bytes = encoder.encode(lost > 0 ? `${held}splice: ${lost} lines of this log were lost\n` : held);
      [held, lost] = ["", 0];
      for (let at = 0; at < bytes.length;) at += await out.write(bytes.subarray(at));
    }
  }
  function begin(): void {
    writing ??= writeAll().catch(() => {}).finally(() => {
      writing = null;
      if (held !== "" || lost > 0) begin();
    });
  }
  return {
    write(text) {
      if (held.length + text.length > mostHeld) lost++;
      else held += text;
      begin();
    },
    async flush() {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<void>((resolve) => timer = setTimeout(resolve, LAST_WORDS));
      await Promise.race([writing, late]);
      clearTimeout(timer);
    },
  };
}
