/** Short tasks that servers of the cluster ask of this machine's workers (asking.ts tells the rest). */
import type { Msg, Subscription } from "@nats-io/nats-core";
import { join } from "node:path";
import { z } from "zod";
import { Fault } from "../../model/job.ts";
import { type Task, taskSchema } from "../../model/messages.ts";
import type { OwnWorkers } from "../../model/ports.ts";
import type { Chunks } from "../chunks.ts";
import type { Connection } from "../connection.ts";
import type { Names } from "../streams.ts";
import { type Answer, fileRefSchema } from "./asking.ts";

const questionSchema = z.object({
  folder: z.string(),
  task: taskSchema,
  files: z.object({ picture: fileRefSchema.optional(), generator: fileRefSchema.optional() }),
});

export interface AnsweringOptions {
  readonly connection: Pick<Connection, "nats">;
  readonly names: Names;
  readonly chunks: Chunks;
  /** For files that are under way. */
  readonly folder: string;
  readonly own: OwnWorkers;
  complain(text: string): void;
}

export interface Answering {
  /** Takes no more. Resolves when what was taken is answered. */
  close(): Promise<void>;
}

/** It is said this often that a task is still worked on, in ms. */
const BEAT = 5000;
/** So often it is looked whether there are workers that could do something, in ms. */
const LOOK_EVERY = 1000;

/** Of all machines that listen, one is asked. This one listens while it has a worker that is ready. */
export function answerCalls(
  { connection: { nats }, names, chunks, folder, own, complain }: AnsweringOptions,
): Answering {
  const working = new Set<Promise<void>>();
  let listening: Subscription | null = null;

  function look(): void {
    if (own.ready() > 0 && listening === null && !nats.isClosed()) {
      listening = nats.subscribe(names.calls, {
        queue: "gpu",
        callback(error, message) {
          if (error) return complain(`Servers of the cluster cannot be heard: ${error.message}`);
          const work = answer(message).finally(() => working.delete(work));
          working.add(work);
        },
      });
    } else if (own.ready() === 0) stop();
  }

  function stop(): void {
    if (!nats.isClosed()) listening?.unsubscribe();
    listening = null;
  }

  async function answer(message: Msg): Promise<void> {
    const say = (answer: Answer) => void (nats.isClosed() || message.respond(JSON.stringify(answer)));
    say({ say: "taken" });
    const beats = setInterval(() => say({ say: "beat" }), BEAT);
    try {
      say(await work(message));
    } catch (error) {
      if (!(error instanceof Fault)) complain(`A call failed: ${error instanceof Error ? error.stack : error}`);
      const fault = error instanceof Fault ? error : new Fault("internal", "The GPU machine could not do this");
      const { code, message: detail, errors } = fault;
      say({ say: "refused", fault: { code, detail, errors: [...errors] } });
    } finally {
      clearInterval(beats);
    }
  }

  async function work(message: Msg): Promise<Answer> {
    const { folder: owner, task, files } = questionSchema.parse(message.json());
    const here = join(folder, crypto.randomUUID());
    await Deno.mkdir(here, { mode: 0o700 });
    try {
      const paths = Object.fromEntries([...Object.keys(files), "out"].map((field) => [field, join(here, field)]));
      for (const [field, file] of Object.entries(files)) if (file) await chunks.download(file, paths[field]);
      await own.call({ ...task, ...paths } as Task);
      return { say: "done", out: await chunks.put(owner, paths.out) };
    } finally {
      await Deno.remove(here, { recursive: true }).catch(() => {});
    }
  }

  const timer = setInterval(look, LOOK_EVERY);
  look();
  return {
    async close() {
      clearInterval(timer);
      stop();
      await Promise.all(working);
    },
  };
}
