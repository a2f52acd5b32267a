/**
 * A job's feed as text/event-stream. Pulled, never pushed: nothing is fetched from the feed before the socket has room, so a client that reads nothing costs what the
 * socket's buffers hold and no more. Invariant: the feed is closed when the stream ends, whoever ends it.
 */
import type { Feed } from "../../jobs/model/service.ts";
import type { Ask, Shared } from "../middleware/environment.ts";

const usualBeatMs = 15_000;
/** After how long EventSource comes back, in milliseconds; longer where the server itself is about to start again. */
const retryMs = 2000;
const retryAfterStopMs = 3000;

/** What is put on the wire: any feed's events. */
interface Sent {
  readonly id: number | null;
  readonly name: string;
  readonly data: string;
}

/** Answers with the events of `feed`, which this takes over. */
export function answerEvents(c: Ask, feed: Feed<Sent>, { metrics, log, beatMs = usualBeatMs }: Shared): Response {
  c.header("Content-Type", "text/event-stream; charset=utf-8");
  c.header("Cache-Control", "no-cache, no-transform");
  c.header("X-Accel-Buffering", "no");
  if (c.req.raw.method === "HEAD") {
    feed.close();
    return c.body(null);
  }
  metrics.streams(1);
  return c.body(eventStream(feed, {
    beatMs,
    ended: () => metrics.streams(-1),
    failed: (error) => log({ what: "error", request: c.get("requestId"), error }),
  }));
}

export interface StreamOptions {
  /** A comment every so often keeps proxies from hanging up, in milliseconds. */
  readonly beatMs: number;
  /** Called once, at the end. */
  readonly ended: () => void;
  /** The feed threw: the stream ends, and its reader may come back. */
  readonly failed: (error: unknown) => void;
}

export function eventStream(feed: Feed<Sent>, { beatMs, ended, failed }: StreamOptions): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let begun = false;
  let over = false;
  const end = () => {
    if (over) return;
    over = true;
    feed.close();
    ended();
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const say = (text: string) => controller.enqueue(encoder.encode(text));
      if (!begun) {
        begun = true;
        return say(`retry: ${retryMs}\n\n`); // at once, so that headers go out before the first event
      }
      let events: readonly Sent[] | null = null;
      try {
        events = await feed.next(beatMs);
      } catch (error) {
        if (!over) failed(error);
      }
      if (over) return; // cancelled meanwhile
      if (events === null) {
        if (feed.interrupted()) say(`: the server is stopping; come back\nretry: ${retryAfterStopMs}\n\n`);
        controller.close();
        end();
      } else {
        say(events.length === 0 ? ": beat\n\n" : events.map(textOf).join(""));
      }
    },
    cancel: end,
  }, { highWaterMark: 0 });
}

function textOf({ id, name, data }: Sent): string {
  const lines = data.split("\n").map((line) => `data: ${line}\n`).join("");
  return `${id === null ? "" : `id: ${id}\n`}event: ${name}\n${lines}\n`;
}
