/**
 * The log of every job, a subject each: reading what a job is, and the one way to write it. A writer names the message that it goes on from; where that is not the last any more,
 * somebody else has written, and the write is refused. So a writer that slept or was cut off can change nothing, whatever it does when it wakes.
 */
import type { MsgRequest, StoredMsg } from "@nats-io/jetstream";
import { errors, headers, nuid } from "@nats-io/nats-core";
import { Fault } from "../model/job.ts";
import type { Connection } from "./connection.ts";
import { insist, type Insistence, isOutdated } from "./faults.ts";
import { parseSnapshot, type Snapshot } from "./snapshot.ts";
import type { Names } from "./streams.ts";

/** A message of a log: the job as it was then. */
export interface At {
  readonly seq: number;
  readonly time: Date;
  readonly snap: Snapshot;
}

/** Others have written since: nothing was kept. */
export class Fenced extends Error {
  override readonly name = "Fenced";
  /** The last message now; null where nothing is left. */
  readonly now: At | null;

  constructor(now: At | null) {
    super("the job has been changed by another");
    this.now = now;
  }
}

export interface Log {
  /** Writes what follows `at`, the last message that the writer knows; null for a new job. Durable when it resolves. @throws Fenced; Fault unavailable: then nobody knows */
  append(at: At | null, snap: Snapshot, how?: Insistence): Promise<At>;
  /** The job as it is now, by whomever. Null where there is none. */
  last(id: string, how?: Insistence): Promise<At | null>;
  /** The same, but null too for what a newer version wrote. */
  peek(id: string, how?: Insistence): Promise<At | null>;
  /** The first message of sequence `seq` or after, of one job or of any. Null where there is none yet. */
  next(seq: number, id?: string, how?: Insistence): Promise<At | null>;
}

/** What the outbox sees of a message, which reads headers alone. */
export const HEADERS = { event: "Splice-Event", n: "Splice-N", hook: "Splice-Hook" } as const;

/** What is none is no part of a subject: it could hold wildcards. */
const JOB_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function openLog({ js, manager }: Pick<Connection, "js" | "manager">, names: Names): Log {
  const stream = names.streams.jobs;

  // The types of the library know `next_by_subj` only of direct reads, which followers answer.
  const read = (query: Record<string, string | number>, how?: Insistence) =>
    insist(() => manager.streams.getMessage(stream, query as unknown as MsgRequest), how);

  const readLast = async (id: string, how?: Insistence) =>
    JOB_ID.test(id) ? await read({ last_by_subj: names.job(id) }, how) : null;

  async function last(id: string, how?: Insistence): Promise<At | null> {
    const message = await readLast(id, how);
    if (message === null) return null;
    const at = atOf(message);
    if (at !== null) return at;
    const detail = `Job ${id} was written by a newer version of splice; update this server`;
    throw new Fault("unavailable", detail, { retryAfter: 600 });
  }

  /**
   * The expected sequence guards against everything that is stored, the message id against writers that are on their way at once, which servers before 2.10 let pass:
   * all who go on from one message have the same. The nonce then tells whose message it is that was kept.
   */
  async function publish(at: At | null, snap: Snapshot): Promise<At | null> {
    const head = headers();
    head.set(HEADERS.n, String(snap.n));
    head.set(HEADERS.event, snap.name ?? "-");
    if (snap.hook) head.set(HEADERS.hook, "1");
    const ack = await js.publish(names.job(snap.id), JSON.stringify(snap), {
      msgID: `${snap.id}.${snap.v}`,
      expect: { lastSubjectSequence: at?.seq ?? 0 },
      headers: head,
    });
    if (!ack.duplicate) return { seq: ack.seq, time: new Date(), snap: numbered(snap, ack.seq) };
    // One that is not stored yet has no sequence; it may be the try before this.
    if (ack.seq === 0) throw new errors.RequestError("a message of the same id is on its way");
    const kept = await manager.streams.getMessage(stream, { seq: ack.seq });
    return kept && atOf(kept);
  }

  return {
    last,
    async peek(id, how) {
      const message = await readLast(id, how);
      return message && atOf(message);
    },
    async append(at, change, how) {
      const snap = { ...change, v: (at?.snap.v ?? 0) + 1, nonce: nuid.next() };
      let kept: At | null;
      try {
        kept = await insist(() => publish(at, snap), how);
      } catch (error) {
        if (!isOutdated(error)) throw error;
        kept = null;
      }
      if (kept?.snap.nonce === snap.nonce) return kept;
      const now = await last(snap.id, how);
      // Ours, though its answer was lost.
      if (now?.snap.nonce === snap.nonce) return now;
      throw new Fenced(now);
    },
    async next(seq, id = "*", how) {
      for (let from = seq;;) {
        const message = await read({ seq: from, next_by_subj: names.job(id) }, how);
        if (message === null) return null;
        const at = atOf(message);
        if (at !== null) return at;
        from = message.seq + 1;
      }
    },
  };
}

function atOf(message: StoredMsg): At | null {
  const snap = parseSnapshot(message.string(), message.seq);
  return snap && { seq: message.seq, time: message.time, snap };
}

/** The first message of a job is written before it is known where it lies. */
function numbered(snap: Snapshot, seq: number): Snapshot {
  return snap.number === 0 ? { ...snap, number: seq } : snap;
}
