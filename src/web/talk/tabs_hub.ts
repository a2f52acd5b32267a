/**
 * The one event stream of all tabs of a browser, which has six connections a host for them together. Tabs ask for streams of jobs over ports; the hub follows all these jobs
 * over one connection (`/v1/events`) and hands each stream what is its own, as text/event-stream again. It knows neither DOM nor workers; what comes back after a break is for
 * each tab to ask, see `follow.ts`. Invariant: what a stream is given begins after the id it asked for, without gaps or repeats, however often the connection is renewed.
 */
import { createParser } from "eventsource-parser";

/** What a tab says. `stream` is a number of the tab's own. */
export type Wish =
  | {
    readonly what: "open";
    readonly stream: number;
    readonly job: string;
    readonly after: number;
    readonly key: string | null;
  }
  | { readonly what: "close"; readonly stream: number }
  /** The tab is still there, which no browser tells. */
  | { readonly what: "here" }
  | { readonly what: "leave" };

/** What a tab is told: the wish has come, how it is answered (an HTTP status; 0: nothing answers), what the stream says, and that it ends. */
export type Told =
  | { readonly stream: number; readonly what: "taken" | "end" }
  | { readonly stream: number; readonly what: "answer"; readonly status: number }
  | { readonly stream: number; readonly what: "text"; readonly text: string };

/** Tabs say that they are here every so many ms; who has not for much longer (browsers slow hidden tabs down) is gone. */
export const HERE_EVERY = 20_000;
const GONE_AFTER = 180_000;
/** Wishes of a moment, as when a browser opens all its tabs again, make one connection, in ms. */
const GATHER = 20;
/** A stream of which nothing came for so long is told that the server is there, in ms. */
const QUIET = 10_000;
/** The server's limit. */
const MOST_JOBS = 32;

interface Stream {
  readonly job: string;
  readonly tell: (what: "end" | { readonly status: number } | { readonly text: string }) => void;
  after: number;
  answered: boolean;
  /** When it was last told anything. */
  told: number;
}

/** The streams of one API key, and their connection. */
interface Line {
  readonly key: string | null;
  readonly streams: Set<Stream>;
  connection: AbortController;
  gathering: ReturnType<typeof setTimeout> | undefined;
}

export interface Port {
  hear(wish: Wish): void;
}

export interface Hub {
  /** A tab has come; it is told things by `tell`. */
  connect(tell: (told: Told) => void): Port;
}

export function openHub(ask: (url: string, init: RequestInit) => Promise<Response>): Hub {
  const lines = new Map<string | null, Line>();
  const ports = new Map<Port, { heard: number; readonly leave: () => void }>();

  function connect(tell: (told: Told) => void): Port {
    const streams = new Map<number, () => void>();
    const leave = () => {
      for (const close of streams.values()) close();
      streams.clear();
    };
    const port: Port = {
      hear(wish) {
        ports.set(port, { heard: Date.now(), leave });
        for (const [other, { heard, leave }] of ports) {
          if (Date.now() - heard < GONE_AFTER) continue;
          ports.delete(other);
          leave();
        }
        if (wish.what === "leave") {
          ports.delete(port);
          leave();
        } else if (wish.what === "close") {
          streams.get(wish.stream)?.();
          streams.delete(wish.stream);
        } else if (wish.what === "open") {
          const { stream } = wish;
          tell({ stream, what: "taken" });
          const close = add(wish, (what) => {
            if (what === "end") tell({ stream, what });
            else if ("status" in what) tell({ stream, what: "answer", status: what.status });
            else tell({ stream, what: "text", text: what.text });
          });
          streams.set(stream, close);
        }
      },
    };
    return port;
  }

  function add({ job, after, key }: Wish & { what: "open" }, tell: Stream["tell"]): () => void {
    const line = lines.get(key) ?? { key, streams: new Set(), connection: new AbortController(), gathering: undefined };
    lines.set(key, line);
    const stream: Stream = { job, after, tell, answered: false, told: Date.now() };
    line.streams.add(stream);
    line.gathering ??= setTimeout(() => {
      line.gathering = undefined;
      void follow(line);
    }, GATHER);
    return () => drop(line, stream);
  }

  function drop(line: Line, stream: Stream): void {
    if (!line.streams.delete(stream) || line.streams.size > 0) return;
    clearTimeout(line.gathering);
    line.connection.abort();
    if (lines.get(line.key) === line) lines.delete(line.key);
  }

  function answer(line: Line, stream: Stream, status: number): void {
    if (stream.answered) return;
    stream.answered = true;
    stream.tell({ status });
    if (status !== 200) drop(line, stream);
  }

  function end(line: Line, stream: Stream, status: number): void {
    if (stream.answered) stream.tell("end");
    answer(line, stream, status);
    drop(line, stream);
  }

  /** A connection for all that the line has now, in place of the one before; when it breaks, all its streams do. */
  async function follow(line: Line): Promise<void> {
    line.connection.abort();
    const { signal } = line.connection = new AbortController();
    const places = new Map<string, number>();
    for (const { job, after } of line.streams) places.set(job, Math.min(after, places.get(job) ?? Infinity));
    const wanted = [...places].slice(-MOST_JOBS);
    let status = 0;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (line.key !== null) headers.Authorization = `Bearer ${line.key}`;
      const jobs = wanted.map(([job, after]) => `${job}:${after}`).join();
      const response = await ask(`/v1/events?jobs=${jobs}`, { headers, cache: "no-store", signal });
      if (response.ok && response.body) await read(line, response.body, signal);
      else status = response.status === 401 ? 401 : 503;
    } catch {
      // It broke: the tabs come back.
    }
    if (signal.aborted) return; // another one has taken its place
    for (const stream of [...line.streams]) end(line, stream, status);
  }

  async function read(line: Line, body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<void> {
    let retry: string | null = null;
    const parser = createParser({
      onRetry: (milliseconds) => retry = `retry: ${milliseconds}\n\n`,
      onEvent: ({ event = "message", data }) => hand(line, event, JSON.parse(data)),
    });
    const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      if (signal.aborted) return;
      retry = null;
      parser.feed(piece.value);
      for (const stream of line.streams) {
        if (!stream.answered || retry === null && Date.now() - stream.told < QUIET) continue;
        say(stream, retry ?? ": here\n\n"); // whatever came, the server is there
      }
    }
  }

  function hand(
    line: Line,
    name: string,
    { job, id, data }: { readonly job: string; readonly id: number | null; readonly data: unknown },
  ): void {
    for (const stream of [...line.streams]) {
      if (stream.job !== job) continue;
      if (name === "open") answer(line, stream, 200);
      else if (name === "over") end(line, stream, 204);
      else if (name === "unknown") end(line, stream, 404);
      else if (name === "resync" || id === null || id > stream.after) {
        if (id !== null) stream.after = id;
        const text = `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
        say(stream, id === null ? text : `id: ${id}\n${text}`);
      }
    }
  }

  return { connect };
}

function say(stream: Stream, text: string): void {
  stream.told = Date.now();
  stream.tell({ text });
}
