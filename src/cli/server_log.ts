/**
 * The server's log, on stderr: lines for people on a terminal, a JSON object a line elsewhere. What routes and jobs have to say comes here; nothing else decides
 * where it goes.
 */
import {
  configure,
  getAnsiColorFormatter,
  getJsonLinesFormatter,
  getLogger,
  type LogRecord as Line,
} from "@logtape/logtape";
import type { LogRecord } from "../routes/environment.ts";

export interface ServerLog {
  /** A remark of the jobs' side. */
  text(text: string): void;
  /** What happened to a request. */
  record(record: LogRecord): void;
}

export async function openLog(): Promise<ServerLog> {
  const format = Deno.stderr.isTerminal()
    ? getAnsiColorFormatter({ timestamp: "time", category: () => "" })
    : getJsonLinesFormatter({ properties: "flatten" });
  const encoder = new TextEncoder();
  function write(line: Line): void {
    const bytes = encoder.encode(format(line));
    try {
      for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
    } catch {
      // A log that cannot be written must not stop the server.
    }
  }
  await configure({
    sinks: { stderr: write },
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
  };
}

/** Text that may hold braces, as the logger's templates want it. */
const literal = (text: string) => text.replaceAll("{", "{{").replaceAll("}", "}}");
