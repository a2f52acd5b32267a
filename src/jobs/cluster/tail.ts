/**
 * Keeps a node's roster true: all jobs read once at the start, then every message of every log in order, each a single read that the leader answers. No consumer stands behind it,
 * so that it costs the servers nothing, and goes on as soon as there is a leader, wherever. What is published meanwhile on the subjects only wakes it: it shows refused messages too.
 */
import type { Connection } from "./connection.ts";
import { insist } from "./faults.ts";
import type { At, Log } from "./log.ts";
import type { Roster } from "./roster.ts";
import type { Names } from "./streams.ts";

export interface TailOptions {
  readonly connection: Pick<Connection, "nats" | "manager">;
  readonly names: Names;
  readonly log: Log;
  readonly roster: Roster;
  /** Is told of every message that comes after the start, once. */
  onMessage(at: At): void;
  complain(message: string): void;
}

export interface Tail {
  /** Compares the roster with what is there: a node that was away may have missed that a job was purged. */
  takeStock(): Promise<void>;
  close(): Promise<void>;
}

/** Logs that are read at a time. */
const READS_AT_ONCE = 16;
/** A woken tail that finds nothing looks again soon, for what woke it may still be on its way to the disks; then less and less often, in ms. */
const FIRST_PAUSE = 1;
const LAST_PAUSE = 1000;

/** Resolves once all jobs are read. @throws Fault unavailable */
export async function openTail(options: TailOptions): Promise<Tail> {
  const { connection: { nats, manager }, names, log, roster, complain } = options;
  const closing = new AbortController();
  const { signal } = closing;
  const prefix = names.job("");
  /** The last message of any log that has been taken in. */
  let position: number | null = null;
  let hinted = () => {};
  let pause = FIRST_PAUSE;
  const subscription = nats.subscribe(names.job("*"), {
    callback() {
      pause = FIRST_PAUSE;
      hinted();
    },
  });

  async function takeStock(): Promise<void> {
    const { state } = await insist(
      () => manager.streams.info(names.streams.jobs, { subjects_filter: names.job("*") }),
      { signal },
    );
    if (position !== null && state.last_seq < position) {
      complain("The cluster's log is another than before: it is read anew");
      for (const { snap } of roster.all()) roster.forget(snap.id);
      position = null;
    }
    // What is read below may be newer; the tail then meets it again, and knows it already.
    position ??= state.last_seq;
    const there = new Set(Object.keys(state.subjects ?? {}).map((subject) => subject.slice(prefix.length)));
    for (const { seq, snap: { id } } of roster.all()) if (seq <= state.last_seq && !there.has(id)) roster.forget(id);
    const unknown = [...there].filter((id) => roster.known(id) === null).values();
    await Promise.all(Array.from({ length: READS_AT_ONCE }, async () => {
      for (const id of unknown) {
        const at = await log.peek(id, { signal });
        if (at !== null) roster.note(at);
      }
    }));
  }

  /** Until something is published, or it is time to look. */
  function wait(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, pause);
      hinted = done;
      signal.addEventListener("abort", done);
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        hinted = () => {};
        resolve();
      }
      pause = Math.min(LAST_PAUSE, 2 * pause);
    });
  }

  async function follow(): Promise<void> {
    let unread: string | null = null; // why the log could not be read the last time
    while (!signal.aborted) {
      try {
        const from: number = position! + 1;
        const at = await log.next(from, "*", { signal });
        unread = null;
        // The stock may have been taken anew meanwhile.
        if (from !== position! + 1) continue;
        if (at === null) {
          await wait();
          continue;
        }
        position = at.seq;
        roster.note(at);
        roster.count(at);
        options.onMessage(at);
      } catch (error) {
        if (signal.aborted) return;
        const reason = error instanceof Error ? error.message : String(error);
        if (reason !== unread) complain(`The cluster's log cannot be read for now: ${reason}`);
        unread = reason;
        await wait();
      }
    }
  }

  try {
    await takeStock();
  } catch (error) {
    subscription.unsubscribe();
    throw error;
  }
  const following = follow();
  void (async () => {
    // Where servers lost power, the log may have lost its end, and grow another.
    for await (const { type } of nats.status()) {
      if (type === "reconnect" && !signal.aborted) await takeStock().catch(() => {});
    }
  })();
  return {
    takeStock,
    async close() {
      closing.abort();
      if (!nats.isClosed()) subscription.unsubscribe();
      await following;
    },
  };
}
