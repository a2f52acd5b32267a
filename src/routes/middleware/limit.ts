/**
 * How often one client may ask. Counted in windows of a minute, by API key or else by network address. Invariant: the memory it takes is bounded, whoever asks.
 * Hence a store of our own: that of hono-rate-limiter 0.5 keeps every client of two windows, however many they are.
 */
import { rateLimiter, type Store } from "hono-rate-limiter";
import { Fault } from "../../jobs/model/job.ts";
import type { AppOptions, Ask, Env } from "./environment.ts";

const minute = 60_000;
/** Requests a minute that create nothing: hundreds of readers behind one address may drop and come back. */
const readingLimit = 60_000;
/** Clients that are told apart; beyond these the longest known are forgotten. */
const mostClients = 20_000;

/** Limits under /v1: one for what creates work, a far larger one for the rest. */
export function limitRates({ rateLimit }: AppOptions) {
  const creates = (c: Ask) => c.req.method === "POST";
  return [
    limiter({ limit: rateLimit, noun: "creating requests", skip: (c) => rateLimit <= 0 || !creates(c) }),
    limiter({ limit: readingLimit, noun: "requests", skip: (c) => rateLimit <= 0 || creates(c) }),
  ] as const;
}

function limiter({ limit, noun, skip }: { limit: number; noun: string; skip: (c: Ask) => boolean }) {
  return rateLimiter<Env>({
    windowMs: minute,
    limit,
    skip,
    keyGenerator: clientOf,
    store: boundedStore(mostClients),
    handler: (c) => {
      const end = c.get("rateLimit")?.resetTime?.getTime() ?? Date.now() + minute;
      const retryAfter = Math.max(1, Math.ceil((end - Date.now()) / 1000));
      const detail = `Cannot take more than ${limit} ${noun} a minute from one client. Try again in ${retryAfter} s.`;
      throw new Fault("rate_limited", detail, { retryAfter });
    },
  });
}

/** A home network of IPv6 has 2^64 addresses: it counts as one client. */
function clientOf(c: Ask): string {
  const key = c.get("key");
  if (key !== null) return `key ${key}`;
  const address = c.get("address");
  return address.includes(":") && !address.includes(".") ? firstHalf(address) : address;
}

/** The first 64 bits of an IPv6 address. */
function firstHalf(address: string): string {
  const [left, right] = address.split("%")[0].split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === undefined || right === "" ? [] : right.split(":");
  const zeros = Array<string>(Math.max(0, 8 - head.length - tail.length)).fill("0");
  return [...head, ...zeros, ...tail].slice(0, 4).map((group) => group.replace(/^0+(?=.)/, "")).join(":");
}

/** Hits of at most `most` clients, without a timer. */
export function boundedStore(most: number): Store<Env> {
  const clients = new Map<string, { totalHits: number; resetTime: Date }>();
  const makeRoom = (now: number) => {
    if (clients.size < most) return;
    // In the order of their windows' beginning: those at the front end first.
    for (const [key, { resetTime }] of clients) {
      if (resetTime.getTime() > now && clients.size < most) break;
      clients.delete(key);
    }
  };
  return {
    increment(key) {
      const now = Date.now();
      const known = clients.get(key);
      if (known !== undefined && known.resetTime.getTime() > now) {
        known.totalHits++;
        return { ...known };
      }
      clients.delete(key);
      makeRoom(now);
      const fresh = { totalHits: 1, resetTime: new Date(now + minute) };
      clients.set(key, fresh);
      return { ...fresh };
    },
    decrement(key) {
      const known = clients.get(key);
      if (known !== undefined && known.totalHits > 0) known.totalHits--;
    },
    resetKey: (key) => void clients.delete(key),
  };
}
