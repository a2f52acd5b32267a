/**
 * Stands in for `splice worker` where a test is about jobs, not about training: speaks the same messages, keeps checkpoints, and makes its first picture its
 * result. A GPU is not needed. What it does beyond that is chosen by the job's seed: see SEEDS.
 */
import { frame, messagesOf } from "../../src/jobs/channel.ts";
import { runInspector } from "../../src/jobs/inspector.ts";
import { INPUTS } from "../../src/jobs/work.ts";
import { type FromWorker, type ToWorker, toWorkerSchema } from "../../src/jobs/messages.ts";

export const SEEDS = {
  /** Dies at step 3, whenever it is started. */
  poison: 666,
  /** Dies at step 3 of the first attempt. */
  diesOnce: 667,
  /** Fails with a problem at step 2. */
  fails: 668,
  /** Takes 30 ms a step instead of 2. */
  slow: 669,
} as const;

const adapter = "stand-in";

function say(message: FromWorker): void {
  const bytes = frame(message);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

let interrupted: { job: string; how: "canceled" | "stopped" } | null = null;

async function train({ job, folder, work }: Extract<ToWorker, { say: "run" }>): Promise<void> {
  const { steps, seed, preview_every } = work.options;
  const [input] = INPUTS[work.kind];
  const checkpoint = `${folder}/checkpoint.safetensors`;
  const from = Number(await Deno.readTextFile(checkpoint).catch(() => "0"));
  const memory_bytes = 1 << 20;
  say({ say: "started", job, adapter, model: "stand-in", steps, step: from, memory_bytes });
  for (let step = from + 1; step <= steps; step++) {
    await after(seed === SEEDS.slow ? 30 : 2);
    if (interrupted?.job === job) {
      await Deno.writeTextFile(checkpoint, String(step - 1));
      return say({ say: interrupted.how, job });
    }
    if (step === 3 && seed === SEEDS.poison) Deno.exit(9);
    if (step === 3 && seed === SEEDS.diesOnce && !(await exists(`${folder}/died`))) {
      await Deno.writeTextFile(`${folder}/died`, "");
      Deno.exit(9);
    }
    if (step === 2 && seed === SEEDS.fails) {
      const fault = {
        code: "untrainable",
        detail: "Training stopped: at step 2 the loss total is NaN",
        errors: [],
      } as const;
      return say({ say: "failed", job, fault: { ...fault, errors: [] } });
    }
    const losses = { total: 10 / step, ...(work.kind === "splice" && { global_cls: 1 / step }) };
    const pace = { steps_per_second: 100, eta_seconds: (steps - step) / 100 };
    say({ say: "progress", job, step, steps, losses, ...pace, seconds: [0.01] });
    if (preview_every > 0 && step % preview_every === 0) {
      await Deno.copyFile(`${folder}/${input}`, `${folder}/preview.jpg`);
      say({ say: "preview", job, step });
    }
    if (step % 5 === 0) await Deno.writeTextFile(checkpoint, String(step));
  }
  await Deno.copyFile(`${folder}/${input}`, `${folder}/result.png`);
  if (work.kind === "splice") await Deno.writeTextFile(`${folder}/generator.safetensors`, `generator of seed ${seed}`);
  say({ say: "succeeded", job });
}

async function work(messages: AsyncIterable<ToWorker>, leave: AbortSignal): Promise<void> {
  const profile = { name: "portable", maxStorageBuffers: 8, maxWorkgroupBytes: 16384, maxInvocations: 256 } as const;
  const device = { adapter, software: false, profile, bindingBytes: 2 ** 27 };
  say({ say: "ready", device });
  const beat = setInterval(() => say({ say: "beat" }), 500);
  let job: string | null = null;
  let training: Promise<void> = Promise.resolve();
  leave.addEventListener("abort", async () => {
    if (job !== null) interrupted = { job, how: "stopped" };
    await training;
    Deno.exit(0);
  });
  for await (const message of messages) {
    if (message.say === "run") {
      interrupted = null;
      job = message.job;
      training = train(message).then(() => void (job = null));
    } else if (message.say === "call") {
      const { task } = message;
      if (task.task === "apply") await Deno.copyFile(task.picture, task.out);
      if (task.task === "look") await Deno.copyFile(task.picture, task.out);
      if (task.task === "features") await Deno.writeTextFile(task.out, `features of layers ${task.layers}`);
      say({ say: "answer", call: message.call });
    } else if (message.say === "cancel" && job === message.job) {
      interrupted = { job, how: "canceled" };
    } else if (message.say === "stop") {
      if (job !== null) interrupted = { job, how: "stopped" };
      break;
    }
  }
  await training;
  clearInterval(beat);
}

if (import.meta.main) {
  Deno.addSignalListener("SIGINT", () => {});
  const log = (text: string) => console.error(text);
  const messages = messagesOf(Deno.stdin.readable, { schema: toWorkerSchema, onStray: log });
  if (Deno.args.includes("--inspect")) await runInspector({ messages, say, log });
  else {
    const leave = new AbortController();
    Deno.addSignalListener("SIGTERM", () => leave.abort());
    await work(messages, leave.signal);
  }
  Deno.exit(0);
}
