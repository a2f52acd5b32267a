/**
 * Stands in for `splice worker` where a test is about jobs, not about training: speaks the same messages, keeps checkpoints, and makes its first picture its
 * result. A GPU is not needed. What it does beyond that is chosen by the job's seed: see SEEDS.
 */
import { INPUTS } from "../../../src/jobs/model/work.ts";
import type { Task } from "../../../src/jobs/model/messages.ts";
import { act, after, checkpointOf, interruption, type Run, say } from "./scripted_worker.ts";

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

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

async function train(run: Run): Promise<void> {
  const { job, folder, work } = run;
  const { steps, seed, preview_every } = work.options;
  const [input] = INPUTS[work.kind];
  const checkpoint = checkpointOf(run);
  const from = await checkpoint.read();
  const memory_bytes = 1 << 20;
  say({ say: "started", job, adapter, model: "stand-in", steps, step: from, memory_bytes });
  for (let step = from + 1; step <= steps; step++) {
    await after(seed === SEEDS.slow ? 30 : 2);
    const how = interruption();
    if (how !== null) {
      await checkpoint.write(step - 1);
      return say({ say: how, job });
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
    if (step % 5 === 0) {
      await checkpoint.write(step);
      say({ say: "saved", job, step });
    }
  }
  await Deno.copyFile(`${folder}/${input}`, `${folder}/result.png`);
  if (work.kind === "splice") await Deno.writeTextFile(`${folder}/generator.safetensors`, `generator of seed ${seed}`);
  say({ say: "succeeded", job });
}

async function perform(task: Task): Promise<void> {
  if (task.task === "apply" || task.task === "look") await Deno.copyFile(task.picture, task.out);
  if (task.task === "features") await Deno.writeTextFile(task.out, `features of layers ${task.layers}`);
}

if (import.meta.main) await act({ adapter, train, perform, leavesOnTerm: true });
