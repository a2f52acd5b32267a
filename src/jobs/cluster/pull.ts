/**
 * Messages of a durable consumer that hands out work, one at a time to whoever asks. It comes back by itself whatever becomes of the servers; a request that is under way cannot be taken back, so
 * what still comes to somebody who has left goes to others at once. A process that went before its last request is over could take a message with it, for as long as the consumer waits.
 */
import type { Consumer, JsMsg } from "@nats-io/jetstream";
import type { Connection } from "./connection.ts";
import { pause, unlessAborted } from "../model/waiting.ts";

export interface Pull {
  /** The next message. Null where there is none for a while, or the signal is aborted: ask again, or leave. */
  next(stop: AbortSignal): Promise<JsMsg | null>;
}

export interface PullOptions {
  readonly connection: Pick<Connection, "js" | "hold">;
  readonly stream: string;
  readonly consumer: string;
  complain(text: string): void;
}

/** Servers are asked so long at a time; one that says nothing at all for two heartbeats is gone. In ms. */
const REQUEST = { expires: 3000, idle_heartbeat: 1000 };
const RETRY = 500;

export function openPull({ connection, stream, consumer: name, complain }: PullOptions): Pull {
  let consumer: Promise<Consumer> | null = null;
  let failing = false;

  async function pull(): Promise<JsMsg | null> {
    consumer ??= connection.js.consumers.get(stream, name);
    return await (await consumer).next(REQUEST);
  }

  return {
    async next(stop) {
      if (stop.aborted) return null;
      const pulling = pull();
      try {
        const message = await unlessAborted(pulling, stop);
        failing = false;
        return message;
      } catch (error) {
        if (stop.aborted) {
          connection.hold(pulling.then((message) => message?.nak(), () => {}));
          return null;
        }
        consumer = null;
        // An election or a server that went away is soon over, and the connection tells of what lasts.
        if (failing) complain(`${stream} cannot be asked for work: ${error instanceof Error ? error.message : error}`);
        failing = !failing;
        await pause(RETRY, stop).catch(() => {});
        return null;
      }
    },
  };
}
