/**
 * What nobody is there to do any more, because whoever should have died in between: queueing what waits, finishing removals, sweeping up files and keys that no job names. Every node
 * looks after everything, and several at once do no harm; no clock has to agree with another.
 */
import type { Connection } from "./connection.ts";
import { insist, isTaken } from "./faults.ts";
import type { Log } from "./log.ts";
import type { Removal } from "./removal.ts";
import type { Roster } from "./roster.ts";
import { filesOf, isActive } from "./snapshot.ts";
import type { Names, StreamName } from "./streams.ts";
import type { Tail } from "./tail.ts";

export interface HousekeepingOptions {
  readonly connection: Pick<Connection, "js" | "manager">;
  readonly names: Names;
  readonly log: Log;
  readonly roster: Roster;
  readonly removal: Removal;
  readonly tail: Pick<Tail, "takeStock">;
  /** Milliseconds that the mark of a removed job stays: longer than a log remembers ids of messages, so that nothing late brings it back. */
  readonly mourning?: number;
  /** Milliseconds that a file may be without a job, or a key: some are about to get one. */
  readonly patience?: number;
  complain(message: string): void;
}

export interface Housekeeping {
  /** Queues what is not queued, forgets what is gone, and buries what was removed. Never rejects. */
  look(): Promise<void>;
  /** Sweeps up files and keys that no job names. Never rejects. */
  sweep(): Promise<void>;
  /** What is under way ends with the connection. */
  close(): void;
}

const LOOK_EVERY = 30_000;
const SWEEP_EVERY = 3_600_000;
const MOURNING = 150_000;
/** Logs are long, and erased message by message: what is left of them has to wait for the next look, in ms. */
const BURYING = 20_000;
const PATIENCE = 3_600_000;

/** Looks and sweeps again and again until closed. Its timers keep no process alive. */
export function openHousekeeping(options: HousekeepingOptions): Housekeeping {
  const { connection: { js, manager }, names, log, roster, removal, tail, complain } = options;
  const { mourning = MOURNING, patience = PATIENCE } = options;
  /** Jobs that somebody works on, without a message in the queue as it was last looked at; with their last message then. */
  let suspect = new Map<string, number>();
  /** When this node first saw the mark of a removed job. */
  const marked = new Map<string, number>();

  async function subjects(stream: StreamName, filter: string): Promise<string[]> {
    const { state } = await insist(() => manager.streams.info(names.streams[stream], { subjects_filter: filter }));
    return Object.keys(state.subjects ?? {});
  }

  async function queueAgain(): Promise<void> {
    const queued = new Set(await subjects("queue", names.queue("*")));
    const before = suspect;
    suspect = new Map();
    for (const { seq, snap: { id, status, ...snap } } of roster.all()) {
      if (!isActive({ ...snap, id, status }) || queued.has(names.queue(id))) continue;
      // Whoever works on it may well be alive: only one who has written nothing since the last look is taken for dead.
      if (status === "running" && before.get(id) !== seq) suspect.set(id, seq);
      else await enqueue(id, seq);
    }
  }

  async function enqueue(id: string, seq: number): Promise<void> {
    const now = await log.peek(id);
    if (now === null || now.seq !== seq) return;
    try {
      await insist(() => js.publish(names.queue(id), ""));
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
  }

  async function buryRemoved(): Promise<void> {
    const marks = roster.all().filter(({ snap }) => snap.status === "removed");
    const there = new Set(marks.map(({ snap }) => snap.id));
    for (const id of marked.keys()) if (!there.has(id)) marked.delete(id);
    const begun = performance.now();
    // Several nodes at it begin anywhere, so as not to do the same.
    const first = Math.floor(Math.random() * marks.length);
    for (const at of [...marks.slice(first), ...marks.slice(0, first)]) {
      const { id } = at.snap;
      const since = marked.get(id) ?? performance.now();
      marked.set(id, since);
      if (performance.now() - since < mourning || performance.now() - begun > BURYING) continue;
      await removal.erase(at);
      await removal.bury(at);
      roster.forget(id);
    }
  }

  const isOld = (time: Date) => Date.now() - time.getTime() > patience;

  /** Whether a log is there that this version cannot read, or has not read yet: its files are named where nobody here sees it. */
  async function isBlind(): Promise<boolean> {
    const prefix = names.job("");
    return (await subjects("jobs", names.job("*"))).some((subject) =>
      roster.known(subject.slice(prefix.length)) === null
    );
  }

  async function sweepFiles(): Promise<void> {
    if (await isBlind()) return;
    const named = new Set(
      roster.all().flatMap(({ snap }) => snap.status === "removed" ? [] : filesOf(snap)).map(({ subject }) => subject),
    );
    for (const subject of await subjects("files", names.file("*", "*"))) {
      if (named.has(subject)) continue;
      const last = await insist(() => manager.streams.getMessage(names.streams.files, { last_by_subj: subject }));
      if (last === null || !isOld(last.time)) continue;
      await removal.dropFile(subject);
    }
  }

  async function sweepKeys(): Promise<void> {
    const named = new Set(roster.all().flatMap(({ snap: { key } }) => key === null ? [] : [names.key(key)]));
    const prefix = names.key("");
    for (const subject of await subjects("keys", names.key("*"))) {
      const token = subject.slice(prefix.length);
      if (named.has(subject) || !/^[0-9a-f]{64}$/.test(token)) continue;
      const entry = await removal.key(token);
      if (entry !== null && isOld(entry.time) && await log.peek(entry.id) === null) await removal.dropKey(entry);
    }
  }

  let closed = false;
  /** Why it could not be tidied up the last time. */
  let untidy: string | null = null;
  // One thing after the other: what one does, the next need not.
  let last: Promise<void> = Promise.resolve();
  function inTurn(...works: (() => Promise<void>)[]): Promise<void> {
    return last = last.then(async () => {
      for (const work of works) {
        try {
          if (closed) return;
          await work();
          untidy = null;
        } catch (error) {
          if (closed) return;
          const reason = error instanceof Error ? error.message : String(error);
          if (reason !== untidy) complain(`Cannot tidy up in the cluster: ${reason}`);
          untidy = reason;
        }
      }
    });
  }
  const look = () => inTurn(tail.takeStock, queueAgain, buryRemoved);
  const sweep = () => inTurn(tail.takeStock, sweepFiles, sweepKeys);
  const timers = [setInterval(look, LOOK_EVERY), setInterval(sweep, SWEEP_EVERY)];
  // Objects that the types call numbers.
  for (const timer of timers) Deno.unrefTimer(timer as unknown as number);
  return {
    look,
    sweep,
    close() {
      closed = true;
      timers.forEach(clearInterval);
    },
  };
}
