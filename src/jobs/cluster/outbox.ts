/**
 * Webhooks of the cluster's jobs. Every node reads along with all logs, by turns, and makes a delivery of each event that a webhook is to be told; every node takes deliveries that are due. A job's
 * deliveries go out in order, for one waits while an older one is there. What is being tried when its node dies goes to another after a while: a receiver may see it twice, known by its id, but
 * misses none.
 */
import { JetStreamApiError, type JsMsg } from "@nats-io/jetstream";
import { randomBytes } from "node:crypto";
import type { Due, Outbox } from "../model/ports.ts";
import { deliveryBody } from "../model/record.ts";
import type { Connection } from "./connection.ts";
import { insist, isOutdated, isTaken } from "./faults.ts";
import { HEADERS, type Log } from "./log.ts";
import { openPull } from "./pull.ts";
import { recordOfSnapshot } from "./snapshot.ts";
import { CONSUMERS, type Names } from "./streams.ts";
import { pause } from "../model/waiting.ts";

export interface OutboxOptions {
  readonly connection: Pick<Connection, "js" | "manager" | "hold">;
  readonly names: Names;
  readonly log: Log;
  /** Aborted when the node stops. */
  readonly closing: AbortSignal;
  complain(text: string): void;
}

/** As it lies in the stream. */
interface Delivery {
  readonly url: string;
  readonly body: string;
  readonly tries: number;
  /** ISO 8601, UTC: when it is to be tried. */
  readonly due: string;
}

const SECRET = "webhook-secret";
const RETRY = 1000;
/** Whoever waits for an older delivery looks after that again so soon, and at the latest, in ms. */
const SOONEST = 250;
const LATEST = 60_000;

/** Begins to read the logs. */
export function openOutbox({ connection, names, log, closing, complain }: OutboxOptions): Outbox {
  const { js, manager } = connection;
  const { hooks, jobs, keys } = names.streams;
  const deliveries = openPull({ connection, stream: hooks, consumer: CONSUMERS.deliver, complain });
  const patient = { patience: Infinity, signal: closing };

  async function readLogs(): Promise<void> {
    while (!closing.aborted) {
      try {
        const consumer = await js.consumers.get(jobs, CONSUMERS.outbox);
        const messages = await consumer.consume({ max_messages: 64, expires: 5000, idle_heartbeat: 1000 });
        const stop = () => messages.stop();
        closing.addEventListener("abort", stop, { once: true });
        for await (const message of messages) {
          if (message.headers?.get(HEADERS.hook) === "1") await makeDelivery(message);
          message.ack();
        }
        closing.removeEventListener("abort", stop);
      } catch (error) {
        if (!closing.aborted) complain(`Webhooks wait, for the jobs' logs cannot be read: ${reasonOf(error)}`);
      }
      await pause(RETRY, closing).catch(() => {});
    }
  }

  /** Where it is read twice, the second has the id of the first, and is not kept. */
  async function makeDelivery({ seq }: JsMsg): Promise<void> {
    const at = await log.next(seq, "*", patient);
    const record = at && recordOfSnapshot(at.snap, null);
    if (at?.seq !== seq || !record?.webhookUrl || at.snap.name === null) return; // the job was removed
    const { id, n, name } = at.snap;
    const delivery = `${id}.${n}`;
    const due = at.time.toISOString();
    const body = deliveryBody(record, { event: name, delivery, at: at.time });
    const content: Delivery = { url: record.webhookUrl, body, tries: 0, due };
    await insist(() => js.publish(names.hook(id, n), JSON.stringify(content), { msgID: delivery }), patient);
  }

  /** The numbers of the job's events that are to be delivered yet. */
  async function leftOf(id: string): Promise<number[]> {
    const filter = names.hook(id, "*");
    const { state } = await insist(() => manager.streams.info(hooks, { subjects_filter: filter }));
    return Object.keys(state.subjects ?? {}).map((subject) => Number(subject.slice(filter.length - 1)));
  }

  /** Milliseconds until the delivery may be tried; 0 for now. */
  async function waitOf(id: string, n: number, { due }: Delivery): Promise<number> {
    const until = Date.parse(due) - Date.now();
    if (until > 0) return until;
    const oldest = Math.min(n, ...await leftOf(id));
    if (oldest === n) return 0;
    const before = await insist(() => manager.streams.getMessage(hooks, { last_by_subj: names.hook(id, oldest) }));
    const left = before === null ? 0 : Date.parse(before.json<Delivery>().due) - Date.now();
    return Math.min(Math.max(SOONEST, left), LATEST);
  }

  async function drop(message: JsMsg): Promise<void> {
    try {
      // An acknowledgement alone may be forgotten, with a server that dies.
      await insist(() => manager.streams.deleteMessage(hooks, message.seq, true));
    } catch (error) {
      if (!(error instanceof JetStreamApiError)) throw error; // it is gone
    }
    message.ack();
  }

  async function delay(message: JsMsg, id: string, n: number, delivery: Delivery): Promise<void> {
    try {
      await insist(() =>
        js.publish(message.subject, JSON.stringify(delivery), {
          msgID: `${id}.${n}.${delivery.tries}`,
          expect: { lastSubjectSequence: message.seq },
        })
      );
    } catch (error) {
      if (!isOutdated(error)) throw error; // another took it after this node had fallen silent
    }
    message.ack();
  }

  void readLogs();
  return {
    async next(signal): Promise<Due | null> {
      const stop = AbortSignal.any([signal, closing]);
      while (!stop.aborted) {
        const message = await deliveries.next(stop);
        if (message === null) continue;
        const [id, number] = message.subject.slice(names.hook("", "").length - 1).split(".");
        const n = Number(number);
        const delivery = message.json<Delivery>();
        const wait = await waitOf(id, n, delivery);
        if (wait > 0) {
          message.nak(wait);
          continue;
        }
        const { url, body, tries } = delivery;
        return {
          job: id,
          url,
          body,
          tries,
          delivered: () => drop(message),
          later: (ms) =>
            delay(message, id, n, { ...delivery, tries: tries + 1, due: new Date(Date.now() + ms).toISOString() }),
          putBack() {
            message.nak();
            return Promise.resolve();
          },
        };
      }
      return null;
    },
    async secret() {
      const subject = names.key(SECRET);
      for (;;) {
        const kept = await insist(() => manager.streams.getMessage(keys, { last_by_subj: subject }));
        if (kept !== null) return kept.string();
        try {
          await insist(() => js.publish(subject, randomBytes(32).toString("hex")));
        } catch (error) {
          if (!isTaken(error)) throw error; // another made it
        }
      }
    },
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
