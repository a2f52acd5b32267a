/**
 * Short tasks for GPU machines, asked by a server that has none of its own: renderings, features, looks. Whichever machine is there takes one, says so, and then every few seconds that it is
 * at it; one that falls silent is given up, and another is asked. Files go through the cluster's stream of files, in a folder of the call's own, and are removed at its end.
 */
import { createInbox, type Msg } from "@nats-io/nats-core";
import { z } from "zod";
import { Fault, type FaultCode } from "../../model/job.ts";
import { faultSchema, type Task } from "../../model/messages.ts";
import type { Chunks } from "../chunks.ts";
import type { Connection } from "../connection.ts";
import type { FileRef } from "../snapshot.ts";
import type { Names } from "../streams.ts";
import { unlessAborted } from "../../model/waiting.ts";

export const fileRefSchema = z.strictObject({
  subject: z.string(),
  runs: z.array(z.tuple([z.number(), z.number()]).readonly()).readonly(),
  bytes: z.number(),
  sha256: z.string(),
}) satisfies z.ZodType<FileRef>;

/** What a machine answers, the last two once. */
const answerSchema = z.discriminatedUnion("say", [
  z.object({ say: z.literal("taken") }),
  z.object({ say: z.literal("beat") }),
  z.object({ say: z.literal("done"), out: fileRefSchema }),
  z.object({ say: z.literal("refused"), fault: faultSchema }),
]);
export type Answer = z.infer<typeof answerSchema>;

/** What a machine is asked: a task whose paths stand for these files. */
export interface Question {
  /** Where its answer's file goes. */
  readonly folder: string;
  readonly task: Task;
  /** By the task's fields. */
  readonly files: { readonly [field in typeof READ[number]]?: FileRef };
}

export interface Asking {
  /** Has it done: from files of this machine to a file of this machine. @throws Fault */
  ask(task: Task): Promise<void>;
  /** Resolves when nothing is left of what was asked. */
  close(): Promise<void>;
}

/** A machine that is there says so within this, and then lives as long as it is heard of within this, in ms. */
const TAKEN_WITHIN = 5000;
const SILENT = 15_000;
/** So many machines are asked, one after the other fell silent. */
const MOST_TRIES = 3;
/** The fields of tasks that name files to be read. */
const READ = ["picture", "generator"] as const;

export function openAsking({ connection: { nats }, names, chunks, closing }: {
  readonly connection: Pick<Connection, "nats">;
  readonly names: Names;
  readonly chunks: Chunks;
  readonly closing: AbortSignal;
}): Asking {
  const clearing = new Set<Promise<void>>();

  /** Asks one machine. Null where it fell silent. @throws Fault */
  async function askOne(question: string): Promise<FileRef | null> {
    const answered = Promise.withResolvers<FileRef | null>();
    const inbox = createInbox();
    const silence = () => answered.resolve(null);
    let timer = setTimeout(silence, TAKEN_WITHIN);
    const subscription = nats.subscribe(inbox, {
      callback(error, message) {
        clearTimeout(timer);
        try {
          const answer = error ? null : read(message);
          if (answer?.say === "done") answered.resolve(answer.out);
          else if (answer?.say === "refused") answered.reject(faultOf(answer.fault));
          else timer = setTimeout(silence, SILENT);
        } catch (fault) {
          answered.reject(fault);
        }
      },
    });
    try {
      nats.publish(names.calls, question, { reply: inbox });
      return await unlessAborted(answered.promise, closing);
    } finally {
      clearTimeout(timer);
      subscription.unsubscribe();
    }
  }

  async function askAny(question: Question): Promise<FileRef> {
    const text = JSON.stringify(question);
    for (let tries = 1; tries <= MOST_TRIES; tries++) {
      const out = await askOne(text);
      if (out !== null) return out;
    }
    throw new Fault("unavailable", "The GPU machines that were asked fell silent; try again later", { retryAfter: 30 });
  }

  /** What stays all the same is found later. */
  async function clear(folder: string, files: readonly FileRef[]): Promise<void> {
    try {
      for (const file of files) await chunks.remove(file);
      await chunks.removeAll(folder);
    } catch {
      // The sweep has time.
    }
  }

  return {
    async ask(task) {
      if (!("out" in task)) throw new Error(`Bug: a GPU machine was asked to ${task.task}`);
      const folder = `call-${crypto.randomUUID()}`;
      const files: { -readonly [field in keyof Question["files"]]: FileRef } = {};
      try {
        for (const field of READ) {
          if (field in task) {
            files[field] = await chunks.put(folder, (task as Record<string, unknown>)[field] as string);
          }
        }
        await chunks.download(await askAny({ folder, task, files }), task.out);
      } catch (error) {
        if (closing.aborted) {
          throw new Fault("unavailable", "The server is being restarted; try again in a moment", { retryAfter: 5 });
        }
        throw error;
      } finally {
        const cleared = clear(folder, Object.values(files)).finally(() => clearing.delete(cleared));
        clearing.add(cleared);
      }
    },
    async close() {
      await Promise.all(clearing);
    },
  };
}

/** @throws Fault unavailable where nobody listens */
function read(message: Msg): Answer | null {
  if (message.headers?.code === 503) throw nobodyReady();
  const { success, data } = answerSchema.safeParse(message.json());
  return success ? data : null;
}

export const nobodyReady = () =>
  new Fault("unavailable", "No GPU worker is ready yet; try again in a moment", { retryAfter: 5 });

function faultOf({ code, detail, errors }: z.infer<typeof faultSchema>): Fault {
  const retryAfter = (code satisfies FaultCode) === "unavailable" ? 5 : undefined;
  return new Fault(code, detail, { errors, retryAfter });
}
