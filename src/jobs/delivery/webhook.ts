/**
 * Sends what the store's outbox holds to where each job's owner wants it, again and again until it arrives or has been tried often enough. The outbox is the truth: what
 * is in flight when the server dies is sent again, so that a receiver may see a delivery twice, known by its id, but misses none. A job's deliveries arrive in order.
 */
import type { DataFiles } from "../local/files.ts";
import { post } from "./post.ts";
import { addressesOf, hostOf, type Resolve } from "./public_address.ts";
import type { Delivery } from "../model/record.ts";
import { keptSecret, sign } from "./signature.ts";
import type { JobStore } from "../local/store.ts";
export { checkWebhookUrl } from "./public_address.ts";
export { verifySignature } from "./signature.ts";

export interface WebhookOptions {
  readonly store: JobStore;
  readonly files: DataFiles;
  /** Signs what is sent; null for one that is made once and kept in the data folder. */
  readonly secret: string | null;
  /** Whether addresses that are not of the public internet may be called. */
  readonly allowPrivate: boolean;
  readonly version: string;
  readonly log?: (message: string) => void;
  /** Milliseconds between one try and the next. */
  readonly delays?: readonly number[];
  /** Milliseconds that a try may take. */
  readonly timeout?: number;
  readonly now?: () => Date;
  /** How names become addresses. */
  readonly resolve?: Resolve;
}

export interface Webhooks {
  /** Ends what is in flight; the next start sends it again. */
  close(): Promise<void>;
}

const SECOND = 1000;
const DELAYS = [5, 30, 120, 600, 3600, 6 * 3600].map((seconds) => seconds * SECOND);
const TIMEOUT = 10 * SECOND;
const MOST_AT_ONCE = 4;
/** The longest that a timer can wait, in ms. */
const LONGEST = 2 ** 31 - 1;

/** Begins to send. Its timer keeps no process alive. */
export function openWebhooks(options: WebhookOptions): Webhooks {
  const { store, delays = DELAYS, timeout = TIMEOUT, log = () => {}, now = () => new Date() } = options;
  const secret = options.secret ?? keptSecret(options.files.folder);
  const inFlight = new Map<number, Promise<void>>();
  const closing = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function send({ url: text, body }: Delivery): Promise<void> {
    const { event, delivered_id } = JSON.parse(body);
    const url = new URL(text);
    const expiry = new AbortController();
    const expired = () => expiry.abort(new Error(`no answer within ${timeout / SECOND} seconds`));
    const late = setTimeout(expired, timeout);
    try {
      const signal = AbortSignal.any([expiry.signal, closing.signal]);
      const addresses = await unlessAborted(addressesOf(hostOf(url), options), signal);
      const headers = {
        "Content-Type": "application/json",
        "User-Agent": `splice/${options.version}`,
        "X-Splice-Event": event,
        "X-Splice-Delivery": delivered_id,
        "X-Splice-Signature": sign(secret, { body, at: Math.floor(now().getTime() / SECOND) }),
      };
      const status = await post(url, { body, headers, addresses, signal });
      if (status >= 300 && status < 400) throw new Error(`it answered ${status}, and redirects are not followed`);
      if (status < 200 || status >= 400) throw new Error(`it answered ${status}`);
    } finally {
      clearTimeout(late);
    }
  }

  async function attempt(delivery: Delivery): Promise<void> {
    try {
      await send(delivery);
      store.delivered(delivery.id);
    } catch (error) {
      if (closing.signal.aborted) return;
      const delay = delays[delivery.tries];
      const failed = `Webhook of job ${delivery.job} to ${new URL(delivery.url).host} failed: ${reasonOf(error)}`;
      if (delay === undefined) {
        log(`${failed}; given up after ${delivery.tries + 1} ${delivery.tries === 0 ? "try" : "tries"}`);
        store.delivered(delivery.id);
      } else {
        // Jitter, so that a receiver that comes back is not met by all at once.
        const wait = delay * (0.8 + 0.4 * Math.random());
        log(`${failed}; trying again in ${Math.ceil(wait / SECOND)} s`);
        store.deliverLater(delivery.id, new Date(now().getTime() + wait));
      }
    }
  }

  function begin(delivery: Delivery): void {
    const done = attempt(delivery)
      .catch((error) => {
        log(`Cannot note what became of a webhook of job ${delivery.job}: ${reasonOf(error)}`);
        // It is due still; sent again at once and again, it would be a storm.
        return pause(60 * SECOND, closing.signal);
      })
      .then(() => {
        inFlight.delete(delivery.id);
        pump();
      });
    inFlight.set(delivery.id, done);
  }

  /** Sends what is due, and sets the timer for what falls due later. What is due but must wait is looked at when something in flight is done. */
  function pump(): void {
    if (closing.signal.aborted) return;
    clearTimeout(timer);
    try {
      const at = now();
      const due = store.deliveriesDue(at, MOST_AT_ONCE + inFlight.size).filter(({ id }) => !inFlight.has(id));
      for (const delivery of due.slice(0, MOST_AT_ONCE - inFlight.size)) begin(delivery);
      const next = store.nextDelivery(at);
      if (next === null) return;
      timer = backgroundTimer(pump, Math.min(next.getTime() - at.getTime(), LONGEST));
    } catch (error) {
      log(`Cannot read which webhooks are due: ${reasonOf(error)}`);
    }
  }

  const forget = store.onChange(pump);
  pump();
  return {
    async close() {
      forget();
      closing.abort(new Error("the server stops"));
      clearTimeout(timer);
      await Promise.all(inFlight.values());
    },
  };
}

/** Keeps no process alive. */
function backgroundTimer(act: () => void, ms: number): ReturnType<typeof setTimeout> {
  const timer = setTimeout(act, ms);
  Deno.unrefTimer(timer as unknown as number); // an object that the types call a number
  return timer;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = backgroundTimer(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}

/** What is waited for cannot always be ended; the waiting can. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
