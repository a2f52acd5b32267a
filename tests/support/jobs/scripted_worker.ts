/**
 * A worker that speaks the messages of `splice worker` and does what a script says instead of training. With `--inspect` it is the real inspector. It starts when
 * `act` is called, and the process ends with it.
 */
import { frame, messagesOf } from "../../../src/jobs/workers/channel.ts";
import { runInspector } from "../../../src/jobs/workers/inspector.ts";
import { type FromWorker, type Task, type ToWorker, toWorkerSchema } from "../../../src/jobs/model/messages.ts";

export type Run = Extract<ToWorker, { say: "run" }>;

export interface Script {
  readonly adapter: string;
  /** Does a job, and says how it ended. */
  train(run: Run): Promise<void>;
  perform(task: Task): Promise<void>;
  /** SIGTERM stops the job and ends the process, as it does a worker's. */
  readonly leavesOnTerm?: boolean;
}

export function say(message: FromWorker): void {
  const bytes = frame(message);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

export const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Where a job writes the step it has come to; what lies there otherwise is the step to go on from. */
export function checkpointOf({ folder }: Run) {
  const path = `${folder}/checkpoint.safetensors`;
  return {
    read: async () => Number(await Deno.readTextFile(path).catch(() => "0")),
    write: (step: number) => Deno.writeTextFile(path, String(step)),
  };
}

let current: { readonly job: string; interrupted: "canceled" | "stopped" | null } | null = null;

/** How the job that runs was interrupted; null as long as it is not. */
export const interruption = () => current?.interrupted ?? null;

async function play(script: Script, messages: AsyncIterable<ToWorker>): Promise<void> {
  const { adapter } = script;
  const profile = {
    name: "portable",
    maxStorageBuffers: 8,
    maxWorkgroupBytes: 16384,
    maxInvocations: 256,
    maxBindingBytes: 2 ** 27,
  } as const;
  say({ say: "ready", device: { adapter, software: false, profile, bindingBytes: 2 ** 27 } });
  const beat = setInterval(() => say({ say: "beat" }), 500);
  let training: Promise<void> = Promise.resolve();
  const stop = () => {
    if (current) current.interrupted = "stopped";
  };
  if (script.leavesOnTerm) {
    Deno.addSignalListener("SIGTERM", async () => {
      stop();
      await training;
      Deno.exit(0);
    });
  }
  for await (const message of messages) {
    if (message.say === "run") {
      current = { job: message.job, interrupted: null };
      training = script.train(message).then(() => void (current = null));
    } else if (message.say === "call") {
      await script.perform(message.task);
      say({ say: "answer", call: message.call });
    } else if (message.say === "cancel" && current?.job === message.job) {
      current.interrupted = "canceled";
    } else if (message.say === "stop") {
      stop();
      break;
    }
  }
  await training;
  clearInterval(beat);
}

export async function act(script: Script): Promise<never> {
  Deno.addSignalListener("SIGINT", () => {});
  const log = (text: string) => console.error(text);
  const messages = messagesOf(Deno.stdin.readable, { schema: toWorkerSchema, onStray: log });
  if (Deno.args.includes("--inspect")) await runInspector({ messages, say, log });
  else await play(script, messages);
  Deno.exit(0);
}
