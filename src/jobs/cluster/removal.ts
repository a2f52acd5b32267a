/**
 * Takes away what a job left behind, all over the streams. A removed job is first marked so in its log, then erased everywhere else, and its log stays until every node has heard of it;
 * whoever finds a mark may go on, so that no removal stays half done, and several at once do no harm.
 *
 * Messages go one by one. A purge of a subject would be one request, but on servers of 2.9 it makes every consumer of the stream pass over all that it has not handed out yet:
 * other jobs would wait for ever, and other webhooks never be sent.
 */
import type { MsgRequest } from "@nats-io/jetstream";
import { openChunks } from "./chunks.ts";
import type { Connection } from "./connection.ts";
import { insist, isGone } from "./faults.ts";
import type { At } from "./log.ts";
import { filesOf, type Snapshot } from "./snapshot.ts";
import type { Names, StreamName } from "./streams.ts";

/** What a key stands for. */
export interface KeyEntry {
  readonly seq: number;
  readonly time: Date;
  readonly id: string;
  /** SHA-256 of all that was asked for. */
  readonly digest: string;
}

export interface Removal {
  /** All files of a folder. */
  dropFiles(folder: string): Promise<void>;
  /** What there is of one file, by its subject. */
  dropFile(subject: string): Promise<void>;
  /** All files of a job. */
  dropFilesOf(snap: Snapshot): Promise<void>;
  /** Everything of a job that is marked as removed, but its log. */
  erase(mark: At): Promise<void>;
  /** Its log, the mark last. */
  bury(mark: At): Promise<void>;
  key(token: string): Promise<KeyEntry | null>;
  /** Takes away one entry, not what came to stand in its place. */
  dropKey(entry: KeyEntry): Promise<void>;
}

/** So many walk over parts of a log at a time: it can have thousands of messages, and each takes the way to the leader twice. */
const WALKERS = 16;

export function openRemoval(connection: Pick<Connection, "nats" | "js" | "manager">, names: Names): Removal {
  const { manager } = connection;
  const chunks = openChunks(connection, names);

  async function eraseOne(stream: StreamName, seq: number): Promise<void> {
    try {
      // Written over: what is only forgotten can come back with a server that dies.
      await insist(() => manager.streams.deleteMessage(names.streams[stream], seq));
    } catch (error) {
      if (!isGone(error)) throw error; // another was quicker, or this one before its answer was lost
    }
  }

  /** The messages of a subject with sequences from `from` to below `end`. */
  async function eraseUnder(stream: StreamName, subject: string, from = 0, end = Infinity): Promise<void> {
    for (let seq = from;;) {
      const query = { seq, next_by_subj: subject } as unknown as MsgRequest; // typed for direct reads alone
      const found = await insist(() => manager.streams.getMessage(names.streams[stream], query));
      if (found === null || found.seq >= end) return;
      await eraseOne(stream, found.seq);
      seq = found.seq + 1;
    }
  }

  async function key(token: string): Promise<KeyEntry | null> {
    const subject = names.key(token);
    const message = await insist(() => manager.streams.getMessage(names.streams.keys, { last_by_subj: subject }));
    return message && { seq: message.seq, time: message.time, ...message.json<{ id: string; digest: string }>() };
  }

  async function dropFilesOf(snap: Snapshot): Promise<void> {
    for (const file of filesOf(snap)) await chunks.remove(file);
    await chunks.removeAll(snap.folder);
  }

  return {
    dropFiles: chunks.removeAll,
    dropFilesOf,
    dropFile: chunks.removeUnder,
    key,
    dropKey: ({ seq }) => eraseOne("keys", seq),
    async erase({ snap }) {
      const entry = snap.key === null ? null : await key(snap.key);
      if (entry?.id === snap.id) await eraseOne("keys", entry.seq);
      await dropFilesOf(snap);
      await eraseUnder("queue", names.queue(snap.id));
      await eraseUnder("hooks", names.hook(snap.id, "*"));
    },
    async bury({ seq, snap: { id, number } }) {
      const stride = Math.ceil((seq - number) / WALKERS);
      await Promise.all(Array.from({ length: WALKERS }, (_, i) => {
        const from = number + i * stride;
        return eraseUnder("jobs", names.job(id), from, Math.min(from + stride, seq));
      }));
      await eraseOne("jobs", seq);
    },
  };
}
