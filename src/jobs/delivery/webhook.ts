/**
 * Sends what the store's outbox holds to where each job's owner wants it, again and again until it arrives or has been tried often enough. The outbox is the truth: what
 * is in flight when the server dies is sent again, so that a receiver may see a delivery twice, known by its id, but misses none. A job's deliveries arrive in order.
 */
import { post } from "./post.ts";
import { addressesOf, hostOf, type Resolve } from "./public_address.ts";
import type { Due, Outbox } from "../model/ports.ts";
import { unlessAborted } from "../model/waiting.ts";
import { sign } from "./signature.ts";
export { checkWebhookUrl } from "./public_address.ts";
export { verifySignature } from "./signature.ts";

export interface WebhookOptions {
  readonly outbox: Outbox;
  /** Signs what is sent; null for the outbox's own. */
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

/** What cannot be read or noted is tried again after this, in ms. */
const RETRY = 60 * SECOND;

/** Begins to send. Its timers keep no process alive. */
export function openWebhooks(options: WebhookOptions): Webhooks {
  const { outbox, delays = DELAYS, timeout = TIMEOUT, log = () => {}, now = () => new Date() } = options;
  const closing = new AbortController();
  const sending = Promise.all(Array.from({ length: MOST_AT_ONCE }, carry));

  /** One delivery after the other, until the end. */
  async function carry(): Promise<void> {
    while (!closing.signal.aborted) {
      try {
        const due = await outbox.next(closing.signal);
        if (due !== null) await attempt(due);
      } catch (error) {
        log(`Cannot send webhooks: ${reasonOf(error)}`);
        await pause(RETRY, closing.signal);
      }
    }
  }

  async function send({ url: text, body }: Due): Promise<void> {
    const secret = options.secret ?? await outbox.secret();
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

  async function attempt(due: Due): Promise<void> {
    try {
      await send(due);
    } catch (error) {
      if (closing.signal.aborted) return await noted(due, () => due.putBack());
      return await later(due, error);
    }
    await noted(due, () => due.delivered());
  }

  async function later(due: Due, error: unknown): Promise<void> {
    const delay = delays[due.tries];
    const failed = `Webhook of job ${due.job} to ${new URL(due.url).host} failed: ${reasonOf(error)}`;
    if (delay === undefined) {
      log(`${failed}; given up after ${due.tries + 1} ${due.tries === 0 ? "try" : "tries"}`);
      return await noted(due, () => due.delivered());
    }
    // Jitter, so that a receiver that comes back is not met by all at once.
    const wait = delay * (0.8 + 0.4 * Math.random());
    log(`${failed}; trying again in ${Math.ceil(wait / SECOND)} s`);
    await noted(due, () => due.later(wait));
  }

  /** What became of it must be noted, or it is sent again. */
  async function noted(due: Due, write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await write();
      } catch (error) {
        log(`Cannot note what became of a webhook of job ${due.job}: ${reasonOf(error)}`);
        await pause(RETRY, closing.signal);
        if (closing.signal.aborted) return;
      }
    }
  }

  return {
    async close() {
      closing.abort(new Error("the server stops"));
      await sending;
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

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
