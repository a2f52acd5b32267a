/**
 * The truth about jobs for those who ask, on any node: one job is read from its log, so that every node sees what any has written; pages, counts and places come from the node's roster.
 * The log is written first and the queue second: a job is there as soon as its first message is, and a node that dies in between leaves it to `housekeeping.ts`.
 */
import { Fault } from "../model/job.ts";
import { keyConflict, queueFull } from "../model/faults.ts";
import type { JobStore } from "../model/ports.ts";
import type { JobRecord, NewJob } from "../model/record.ts";
import type { Connection } from "./connection.ts";
import { insist, isFull, isTaken } from "./faults.ts";
import { type At, Fenced, type Log } from "./log.ts";
import type { Removal } from "./removal.ts";
import type { Replay } from "./replay.ts";
import type { Roster } from "./roster.ts";
import { type AdoptedFiles, canceled, created, isActive, removed } from "./snapshot.ts";
import { MESSAGES_KEPT, type Names } from "./streams.ts";

export interface StoreOptions {
  readonly connection: Pick<Connection, "js">;
  readonly names: Names;
  readonly log: Log;
  readonly roster: Roster;
  readonly replay: Replay;
  readonly removal: Removal;
  readonly now?: () => Date;
}

type Idempotency = NonNullable<NewJob["idempotency"]>;

/** A job that was just made is told so, though its message in the queue has to wait: others see to that. In ms. */
const QUEUE_PATIENCE = 4000;

/** A key whose job goes away while another is made for it is taken anew; that cannot go on for ever. */
const MOST_TRIES = 5;

export function openStore(options: StoreOptions): JobStore {
  const { connection: { js }, names, log, roster, replay, removal, now = () => new Date() } = options;

  /** The job as it is now; null where there is none, or it is removed. */
  async function look(id: string): Promise<At | null> {
    const at = await log.last(id);
    if (at !== null) roster.note(at);
    return at === null || at.snap.status === "removed" ? null : at;
  }

  const present = (at: At): JobRecord => roster.record(at)!;

  /** Whose the key is: a job's, or, where its maker died before it made that, an id's. @throws Fault idempotency_conflict */
  async function ofKey(token: string, { digest }: Idempotency): Promise<{ id: string; at: At | null } | null> {
    const entry = await removal.key(token);
    if (entry === null) return null;
    const at = await log.last(entry.id);
    if (at?.snap.status === "removed") {
      await removal.dropKey(entry);
      return null;
    }
    if (entry.digest !== digest) throw keyConflict(entry.id);
    return { id: entry.id, at };
  }

  /** Has the key stand for the job, or finds what it stands for already. */
  async function takeKey(token: string, id: string, idempotency: Idempotency): Promise<{ id: string; at: At | null }> {
    const { digest } = idempotency;
    for (;;) {
      try {
        await insist(() => js.publish(names.key(token), JSON.stringify({ id, digest })));
        return { id, at: null };
      } catch (error) {
        if (!isTaken(error)) throw error;
      }
      const taken = await ofKey(token, idempotency);
      if (taken !== null) return taken;
    }
  }

  function refuseOverfull(limit: number): void {
    if (roster.counts().queued >= limit) throw queueFull(limit, roster.shortestWait());
  }

  async function create(job: NewJob & { readonly adopted: AdoptedFiles }, limit: number): Promise<At> {
    const { idempotency } = job;
    const key = idempotency === null ? null : await tokenOf(idempotency.key);
    const known = key === null ? null : await ofKey(key, idempotency!);
    if (known?.at) return known.at;
    refuseOverfull(limit);
    for (let tries = 1;; tries++) {
      const { id, at } = key === null ? { id: job.id, at: null } : await takeKey(key, job.id, idempotency!);
      if (at !== null) return at;
      try {
        const place = roster.counts().queued + 1;
        return await log.append(null, created({ ...job, id }, { place, key, at: now() }));
      } catch (error) {
        // Of those who have the same key, one makes the job.
        if (!(error instanceof Fenced)) throw error;
        if (error.now !== null && error.now.snap.status !== "removed") return error.now;
        if (tries < MOST_TRIES) continue;
        throw new Fault("unavailable", "The job was removed while it was made; send it again", { retryAfter: 5 });
      }
    }
  }

  /** What stays because the cluster does not answer is swept up later. */
  const drop = ({ folder }: AdoptedFiles) => removal.dropFiles(folder).catch(leave);

  /** Where there is no room left even for the mark, the job's own files make some: half removed it can be removed again. */
  async function markRemoved(at: At): Promise<At> {
    const mark = () => log.append(at, removed(at.snap));
    try {
      return await mark();
    } catch (error) {
      if (!isFull(error)) throw error;
      await removal.dropFilesOf(at.snap);
      return await mark();
    }
  }

  async function enqueue(id: string): Promise<void> {
    try {
      await insist(() => js.publish(names.queue(id), ""), { patience: QUEUE_PATIENCE });
    } catch (error) {
      if (!isTaken(error)) leave(error);
    }
  }

  return {
    async create(job, { queue }) {
      const { adopted } = job;
      if (!isAdopted(adopted)) throw new Error(`Bug: the pictures of job ${job.id} were not adopted here`);
      let at: At;
      try {
        at = await create({ ...job, adopted }, queue);
      } catch (error) {
        // Where the cluster did not answer, the job may be there all the same: the sweep knows later.
        if (!(error instanceof Fault && error.code === "unavailable")) await drop(adopted);
        throw error;
      }
      roster.note(at);
      const replayed = at.snap.folder !== adopted.folder;
      if (replayed) await drop(adopted);
      // Whoever made it may have died before this.
      if (at.snap.status === "queued") await enqueue(at.snap.id);
      return { record: present(at), replayed };
    },
    async find({ key, digest }) {
      const known = await ofKey(await tokenOf(key), { key, digest });
      if (!known?.at) return null;
      roster.note(known.at);
      return present(known.at);
    },
    async get(id) {
      const at = await look(id);
      return at && roster.record(at);
    },
    list: (page) => Promise.resolve(roster.list(page)),
    async cancel(id) {
      let at = await look(id);
      while (at !== null && isActive(at.snap)) {
        try {
          roster.note(await log.append(at, canceled(at.snap, now())));
          return at.snap.status === "queued" ? "queued" : "running";
        } catch (error) {
          if (!(error instanceof Fenced)) throw error;
          at = error.now;
        }
      }
      return null;
    },
    async remove(id) {
      const at = await log.last(id);
      if (at === null || isActive(at.snap)) return false;
      let mark = at;
      let mine = false;
      if (at.snap.status !== "removed") {
        try {
          mark = await markRemoved(at);
          mine = true;
        } catch (error) {
          // What has ended can only be removed.
          if (!(error instanceof Fenced)) throw error;
          if (error.now === null) return false;
          mark = error.now;
        }
      }
      roster.note(mark);
      await removal.erase(mark).catch(leave);
      return mine;
    },
    expired: (limits) => Promise.resolve(roster.expired(limits)),
    async events(id, { after, limit }) {
      const at = await look(id);
      return at === null ? [] : await replay.read(at, { after, limit });
    },
    async sight(id) {
      const at = await look(id);
      if (at === null) return null;
      return { record: present(at), first: await firstKept(at), last: at.snap.n };
    },
    counts: roster.counts,
    onChange: roster.onChange,
    onCount: roster.onCount,
  };

  /** The oldest event of a job that its log still has. */
  async function firstKept({ snap: { id, v, number } }: At): Promise<number> {
    if (v <= MESSAGES_KEPT) return 1;
    const oldest = await log.next(number, id);
    return oldest === null ? 1 : oldest.snap.n + Number(oldest.snap.name === null || oldest.snap.name === "preview");
  }
}

/** What housekeeping does where the cluster did not answer. */
function leave(error: unknown): void {
  if (!(error instanceof Fault)) throw error;
}

function isAdopted(adopted: NewJob["adopted"]): adopted is AdoptedFiles {
  return "folder" in adopted && "inputs" in adopted;
}

/** Keys may hold anything; the names of subjects may not. */
async function tokenOf(key: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))).toHex();
}
