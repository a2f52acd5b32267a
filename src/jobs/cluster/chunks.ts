/**
 * Files in a stream: each is cut into chunks, the messages of a subject of its own, `<namespace>.files.<owner>.<name>`. A reference to a file names every one of them, so that they may be stored
 * in any order, read several at a time from any server, and removed one by one: a purge by subject would be less, but servers of 2.9 never give the room back that it makes. A name is never
 * used twice: what was read once under it can never be another file. Knows no jobs.
 *
 * Invariant: what a `FileRef` names was whole when it was made, and whoever reads it gets those very bytes or an error.
 */
import { type JetStreamManager, jetstreamManager, type MsgRequest } from "@nats-io/jetstream";
import { errors, nuid } from "@nats-io/nats-core";
import { createHash } from "node:crypto";
import { Fault } from "../model/job.ts";
import type { Connection } from "./connection.ts";
import { insist, type Insistence, isGone } from "./faults.ts";
import type { FileRef } from "./snapshot.ts";
import type { Names } from "./streams.ts";
import { unlessAborted } from "../model/waiting.ts";

export interface Chunks {
  /** Stores a file of this machine, a few chunks of it in memory at a time. Durable when this resolves. Once the signal is aborted it gives up at once. @throws Fault unavailable; the signal's reason */
  put(owner: string, path: string, how?: Pick<Insistence, "signal">): Promise<FileRef>;
  /** Its bytes, as fast as they are read. The stream fails where they are not those that were put. @throws Fault not_found, unavailable */
  open(file: FileRef): Promise<ReadableStream<Uint8Array<ArrayBuffer>>>;
  /** Makes it a file of this machine, whole or not at all. @throws Fault not_found, unavailable */
  download(file: FileRef, path: string): Promise<void>;
  remove(file: FileRef, how?: Insistence): Promise<void>;
  /** Removes all files of an owner, and what there is of files that were never stored to their end. It reads them all: what is known better goes by `remove` before. */
  removeAll(owner: string): Promise<void>;
  /** Removes what there is of one file, known by its subject alone. */
  removeUnder(subject: string): Promise<void>;
}

/** Half of what a message may hold: as base64, in which the leader answers, it still fits. */
const CHUNK = 512 * 1024;
/** Chunks of a file that are under way at a time. */
const AT_ONCE = 4;
const NEVER = new AbortController().signal;
/** Some networks are slow. An answer to a chunk that is sent is waited for so long, in ms, and at each further try as long again; one that is asked for, where it is not there at once. */
const SENT_WITHIN = 4000;
const SLOW = { timeout: 10_000, checkAPI: false };

export function openChunks({ nats, js, manager }: Pick<Connection, "nats" | "js" | "manager">, names: Names): Chunks {
  const stream = names.streams.files;
  let slow: Promise<JetStreamManager> | null = null;

  /** The sequence of the message. What is sent again after its answer was lost is stored once. */
  async function send(
    subject: string,
    index: number,
    chunk: Uint8Array,
    how: Pick<Insistence, "signal">,
  ): Promise<number> {
    let timeout = 0;
    return await insist(async () => {
      const { seq } = await js.publish(subject, chunk, {
        msgID: `${subject}.${index}`,
        timeout: timeout += SENT_WITHIN,
      });
      if (seq > 0) return seq;
      throw new errors.RequestError("a message of the same id is on its way"); // and has no sequence yet
    }, how);
  }

  async function receive({ subject }: FileRef, seq: number): Promise<Uint8Array<ArrayBuffer>> {
    let asking: JetStreamManager | null = null;
    const found = await insist(async () => {
      asking = asking === null ? manager : await (slow ??= jetstreamManager(nats, SLOW));
      // A server that follows may not have it yet; the leader knows.
      return await asking.direct.getMessage(stream, { seq }) ?? await asking.streams.getMessage(stream, { seq });
    });
    if (found?.subject === subject) return found.data as Uint8Array<ArrayBuffer>;
    throw new Fault("not_found", "The file has gone from the cluster's storage; start the job again");
  }

  async function discard(seqs: readonly number[], how?: Insistence): Promise<void> {
    const left = [...seqs];
    async function some(): Promise<void> {
      for (let seq = left.shift(); seq !== undefined; seq = left.shift()) await discardOne(seq, how);
    }
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, some));
    } finally {
      left.length = 0; // one that failed ends the others
    }
  }

  async function discardOne(seq: number, how?: Insistence): Promise<void> {
    try {
      await insist(() => manager.streams.deleteMessage(stream, seq, false), how);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  async function put(owner: string, path: string, how: Pick<Insistence, "signal"> = {}): Promise<FileRef> {
    const stop = how.signal ?? NEVER;
    const subject = names.file(owner, nuid.next());
    const hash = createHash("sha256");
    const seqs: number[] = [];
    const sending = new Set<Promise<unknown>>();
    let bytes = 0;
    try {
      using file = await Deno.open(path);
      for (let index = 0;; index++) {
        const chunk = await readChunk(file);
        if (chunk.length === 0 && index > 0) break;
        hash.update(chunk);
        bytes += chunk.length;
        const sent = send(subject, index, chunk, how).then((seq) => {
          seqs[index] = seq;
          sending.delete(sent);
        });
        sending.add(sent);
        sent.catch(() => {}); // waited for below
        if (sending.size === AT_ONCE) await unlessAborted(Promise.race(sending), stop);
        if (chunk.length < CHUNK) break;
      }
      await unlessAborted(Promise.all(sending), stop);
    } catch (error) {
      if (stop.aborted) throw error; // whoever stops cannot wait for a server: the sweep finds them
      await Promise.allSettled(sending);
      await discard(seqs.filter((seq) => seq !== undefined), { patience: 0 }).catch(() => {}); // else the sweep finds them
      throw error;
    }
    return { subject, runs: runsOf(seqs), bytes, sha256: hash.digest("hex") };
  }

  async function open(file: FileRef): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const hash = createHash("sha256");
    const seqs = seqsOf(file);
    const ahead: Promise<Uint8Array<ArrayBuffer>>[] = [];
    let bytes = 0;
    function askFor(atOnce: number): void {
      while (ahead.length < atOnce && seqs.length > 0) {
        const chunk = receive(file, seqs.shift()!);
        chunk.catch(() => {}); // told to whoever reads that far
        ahead.push(chunk);
      }
    }
    askFor(1);
    await ahead[0];
    return new ReadableStream({
      async pull(controller) {
        askFor(AT_ONCE);
        const chunk = await ahead.shift()!;
        hash.update(chunk);
        bytes += chunk.length;
        const last = ahead.length === 0 && seqs.length === 0;
        if (last && (bytes !== file.bytes || hash.digest("hex") !== file.sha256)) {
          throw new Error(
            `The file ${file.subject} is not what was stored: ${bytes} of ${file.bytes} bytes, or others`,
          );
        }
        controller.enqueue(chunk);
        if (last) controller.close();
      },
      cancel() {
        seqs.length = 0;
        ahead.length = 0;
      },
    }, { highWaterMark: 0 });
  }

  async function removeUnder(filter: string): Promise<void> {
    for (let seq = 0;;) {
      const query = { seq, next_by_subj: filter } as unknown as MsgRequest; // typed for direct reads alone
      const found = await insist(() => manager.streams.getMessage(stream, query));
      if (found === null) return;
      await discardOne(found.seq);
      seq = found.seq + 1;
    }
  }

  return {
    put,
    open,
    async download(file, path) {
      const stream = await open(file);
      const aside = `${path}.${crypto.randomUUID()}.part`;
      try {
        const to = await Deno.open(aside, { write: true, createNew: true, mode: 0o600 });
        await stream.pipeTo(to.writable);
        await Deno.rename(aside, path);
      } catch (error) {
        await Deno.remove(aside).catch(() => {});
        throw error;
      }
    },
    remove: (file, how) => discard(seqsOf(file), how),
    removeAll: (owner) => removeUnder(names.file(owner, "*")),
    removeUnder,
  };
}

function runsOf(seqs: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const seq of seqs) {
    const run = runs.at(-1);
    if (run && run[0] + run[1] === seq) run[1]++;
    else runs.push([seq, 1]);
  }
  return runs;
}

function seqsOf({ runs }: FileRef): number[] {
  return runs.flatMap(([first, count]) => Array.from({ length: count }, (_, i) => first + i));
}

/** The next bytes of a file, as many as a chunk holds unless the file ends. */
async function readChunk(file: Deno.FsFile): Promise<Uint8Array<ArrayBuffer>> {
  const chunk = new Uint8Array(CHUNK);
  let filled = 0;
  while (filled < CHUNK) {
    const read = await file.read(chunk.subarray(filled));
    if (read === null) break;
    filled += read;
  }
  return chunk.subarray(0, filled);
}
