/** Webhooks that the ledger has written down with the events they tell of. What is being tried when the server dies is due still. */
import type { Due, Outbox } from "../model/ports.ts";
import type { Ledger } from "./ledger.ts";
import type { Delivery } from "./statements.ts";
import { keptSecret } from "./kept_secret.ts";
import { onDisk } from "../machine/storage_fault.ts";

/** The longest that a timer can wait, in ms. */
const LONGEST = 2 ** 31 - 1;

export function openOutbox({ ledger, folder, now = () => new Date() }: {
  readonly ledger: Ledger;
  /** Where the secret is kept. */
  readonly folder: string;
  readonly now?: () => Date;
}): Outbox {
  const taken = new Set<number>();
  const settled = new Set<() => void>();

  function due(delivery: Delivery): Due {
    const { id, job, url, body, tries } = delivery;
    taken.add(id);
    async function settle(write: () => void): Promise<void> {
      await onDisk(write); // where this fails it stays taken, or it would be sent at once and again
      taken.delete(id);
      settled.forEach((tell) => tell());
    }
    return {
      job,
      url,
      body,
      tries,
      delivered: () => settle(() => ledger.delivered(id)),
      later: (ms) => settle(() => ledger.deliverLater(id, new Date(now().getTime() + ms))),
      putBack: () => settle(() => {}),
    };
  }

  /** Resolves when there may be something to do. Its timer keeps no process alive. */
  function news(signal: AbortSignal, patience: number): Promise<void> {
    return new Promise((resolve) => {
      const forget = ledger.onChange(done);
      const timer = setTimeout(done, patience);
      Deno.unrefTimer(timer as unknown as number); // an object that the types call a number
      signal.addEventListener("abort", done);
      settled.add(done);
      function done(): void {
        forget();
        clearTimeout(timer);
        settled.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      }
      if (signal.aborted) done();
    });
  }

  return {
    async next(signal) {
      while (!signal.aborted) {
        const at = now();
        const delivery = ledger.deliveriesDue(at, taken.size + 1).find(({ id }) => !taken.has(id));
        if (delivery !== undefined) return due(delivery);
        const next = ledger.nextDelivery(at);
        await news(signal, next === null ? LONGEST : Math.min(next.getTime() - at.getTime(), LONGEST));
      }
      return null;
    },
    secret: () => Promise.resolve().then(() => keptSecret(folder)),
  };
}
