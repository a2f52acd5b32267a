/**
 * How long ended jobs are kept: by age, and by the bytes all jobs take. Removes whole jobs only, and never
 * touches one that waits or runs.
 */
import type { JobStore } from "./model/ports.ts";

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const UNIT_BYTES: Readonly<Record<string, number>> = { K: 1e3, M: 1e6, G: 1e9, T: 1e12 };

/** "7d", "12h", "30m", "90s": milliseconds; "forever": Infinity. @throws Error that says what is wanted */
export function parseAge(text: string): number {
  if (text === "forever") return Infinity;
  const [, number, unit] = /^(\d{1,9}(?:\.\d+)?)([smhd])$/.exec(text) ?? [];
  if (number !== undefined) return Number(number) * UNIT_MS[unit];
  throw new Error(
    `Cannot keep jobs for ${
      JSON.stringify(text)
    }: it must be a number with s, m, h or d after it (7d, 12h, 30m), or forever`,
  );
}

/** "20G", "500M": bytes; "none": Infinity. @throws Error that says what is wanted */
export function parseSize(text: string): number {
  if (text === "none") return Infinity;
  const [, number, unit] = /^(\d{1,9}(?:\.\d+)?)([KMGT])$/.exec(text) ?? [];
  if (number !== undefined) return Number(number) * UNIT_BYTES[unit];
  throw new Error(
    `Cannot keep ${
      JSON.stringify(text)
    } of jobs: it must be a number with K, M, G or T after it (500M, 20G; a G is 10^9 bytes), ` +
      "or none for no limit",
  );
}

export interface RetentionOptions {
  readonly store: Pick<JobStore, "expired" | "remove">;
  /** Milliseconds an ended job stays; Infinity for ever. */
  readonly keep: number;
  /** Bytes that all jobs together may take before ended ones go, oldest first. */
  readonly keepBytes: number;
  /** Milliseconds between two looks. */
  readonly every?: number;
  readonly log?: (message: string) => void;
  readonly now?: () => Date;
}

export interface Retention {
  /** Looks now. Resolves to the number of jobs removed; never rejects. */
  look(): Promise<number>;
  /** Resolves once nothing is being removed any more. */
  close(): Promise<void>;
}

/** Looks at once, and then again and again until closed. Its timer keeps no process alive. */
export function openRetention(options: RetentionOptions): Retention {
  const { store, keep, keepBytes, every = 5 * 60_000, log = () => {}, now = () => new Date() } = options;
  let closed = false;

  async function removeExpired(): Promise<number> {
    let removed = 0;
    const endedBefore = new Date(Math.max(0, now().getTime() - keep));
    for (const id of await store.expired({ endedBefore, mostBytes: keepBytes })) {
      if (closed) break;
      if (await store.remove(id)) removed++;
    }
    if (removed > 0) log(`Removed ${removed} ended ${removed === 1 ? "job" : "jobs"}`);
    return removed;
  }

  async function look(): Promise<number> {
    if (closed) return 0;
    try {
      return await removeExpired();
    } catch (error) {
      log(`Cannot remove old jobs: ${reasonOf(error)}`);
      return 0;
    }
  }

  // One look after the other: two at a time would count the same bytes twice.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = () => {
    const turn = last.then(look);
    last = turn;
    return turn;
  };
  const timer = setInterval(inTurn, every);
  // An object that the types call a number.
  Deno.unrefTimer(timer as unknown as number);
  inTurn();
  return {
    look: inTurn,
    async close() {
      closed = true;
      clearInterval(timer);
      await last;
    },
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
