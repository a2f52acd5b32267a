/**
 * Follows a job's events until the last one, over as many connections as it takes. It knows neither what events mean nor the page. The browser's EventSource would not
 * do: it can neither send an API key nor say after which event it goes on. Invariant: no event with an id is handed on twice, and none is left out, for each connection
 * asks for what comes after the last id that was handed on.
 */
import { createParser } from "eventsource-parser";

/** An event as it came; `id` is null for previews and for `resync`. */
export interface Followed {
  readonly id: number | null;
  readonly name: string;
  readonly data: string;
}

/** How it stands: `trying` also between two connections, `over` after the last event, `gone` when the server knows no such job. */
export type Connection = "trying" | "live" | "over" | "gone";

export interface FollowOptions {
  /** Sends a request; rejects when nothing answers. */
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Resolves after so many ms, or sooner when trying again has become promising. */
  readonly wait: (milliseconds: number) => Promise<void>;
  readonly onEvents: (events: readonly Followed[]) => void;
  readonly onConnection: (connection: Connection) => void;
  /** Ends it from outside. */
  readonly signal: AbortSignal;
  /** The last id known already; 0 for all events. */
  readonly after?: number;
  /** ms without a byte, heartbeats included, after which a connection counts as lost. */
  readonly patience?: number;
}

const lastEvents = ["succeeded", "failed", "canceled"];
const longestWait = 15_000;

/** Resolves when the events are over, the job is unknown, or `signal` has ended it. */
export async function follow(url: string, options: FollowOptions): Promise<void> {
  const { signal, onConnection } = options;
  let after = options.after ?? 0;
  let pause = 1000;
  let failures = 0;

  /** One connection; what it leaves: `trying` to come back, or an end. */
  async function connect(): Promise<Connection> {
    const watch = watchdog(options.patience ?? 45_000);
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (after > 0) headers["Last-Event-ID"] = String(after);
    try {
      const response = await options.fetch(url, {
        headers,
        cache: "no-store",
        signal: AbortSignal.any([signal, watch.signal]),
      });
      if (response.status === 204) return "over";
      if (response.status === 404) {
        await response.body?.cancel();
        return "gone";
      }
      if (!response.ok || !response.body) throw new TypeError(`the stream answered ${response.status}`);
      onConnection("live");
      failures = 0;
      return await read(response.body, watch.pat);
    } finally {
      watch.stop();
    }
  }

  async function read(body: ReadableStream<Uint8Array>, pat: () => void): Promise<Connection> {
    let events: Followed[] = [];
    let told = 0; // an event without an id has that of the one before it
    let fresh = false;
    const parser = createParser({
      onId(id) {
        told = Number(id);
        fresh = true;
      },
      onRetry: (milliseconds) => pause = Math.min(Math.max(milliseconds, 100), longestWait),
      onEvent({ event: name = "message", data }) {
        // A `queued` without one of its own tells only that the place is another.
        const counted = name !== "preview" && name !== "resync" && (name !== "queued" || fresh);
        fresh = false;
        if (counted && told <= after) return;
        if (told > after) after = told;
        events.push({ id: counted ? told : null, name, data });
      },
    });
    const reader = body.getReader();
    const decoder = new TextDecoder();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      pat();
      events = [];
      parser.feed(decoder.decode(piece.value, { stream: true }));
      if (events.length > 0) options.onEvents(events);
      if (events.some((event) => lastEvents.includes(event.name))) {
        await reader.cancel();
        return "over";
      }
    }
    return "trying";
  }

  onConnection("trying");
  while (!signal.aborted) {
    let left: Connection = "trying";
    try {
      left = await connect();
    } catch {
      failures++;
    }
    if (signal.aborted) return;
    onConnection(left);
    if (left !== "trying") return;
    // Spread out, so that many pages do not come back at the same moment.
    await options.wait(Math.min(pause * 2 ** Math.min(failures, 6), longestWait) * (0.75 + Math.random() / 2));
  }
}

/** Aborts its signal when `pat` has not been called for so many ms. */
function watchdog(patience: number): { signal: AbortSignal; pat: () => void; stop: () => void } {
  const controller = new AbortController();
  const bite = () => controller.abort(new TypeError("the connection fell silent"));
  let timer = setTimeout(bite, patience);
  return {
    signal: controller.signal,
    pat() {
      clearTimeout(timer);
      timer = setTimeout(bite, patience);
    },
    stop: () => clearTimeout(timer),
  };
}
