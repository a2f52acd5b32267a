/**
 * Stands in for a GPU worker in a siege: twenty milliseconds a step, checkpoints of two megabytes, and a result that is a chain of hashes through every step: one step that is left out, or done
 * twice over a wrong checkpoint, and the result is another. With `--inspect` it is the real inspector.
 */
import { act, after, interruption, type Run, say } from "../support/jobs/scripted_worker.ts";

const STEP_MS = 20;
const SAVED_EVERY = 25;
const TOLD_EVERY = 250;
/** From here on seeds are of jobs that tell of every step. */
export const TALKATIVE = 9000;
const CHECKPOINT_BYTES = 2e6;

/** What an undisturbed job of this seed comes to. */
export async function chain(seed: number, { from = 0, to, hash = "" }: { from?: number; to: number; hash?: string }) {
  for (let step = from + 1; step <= to; step++) hash = await next(hash, seed, step);
  return hash;
}

async function next(hash: string, seed: number, step: number): Promise<string> {
  const bytes = new TextEncoder().encode(`${hash} ${seed} ${step}`);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

async function train(run: Run): Promise<void> {
  const { job, folder, work } = run;
  const { steps, seed } = work.options;
  const path = `${folder}/checkpoint.safetensors`;
  let [step, hash] = await Deno.readTextFile(path).then(
    (text) => [Number(text.split(" ")[0]), text.split(" ")[1]] as const,
    () => [0, ""] as const,
  );
  const save = async () => {
    await Deno.writeTextFile(`${path}.part`, `${step} ${hash} `.padEnd(CHECKPOINT_BYTES, "x"));
    await Deno.rename(`${path}.part`, path);
    say({ say: "saved", job, step });
  };
  say({ say: "started", job, adapter: "stand-in", model: "splice-tiny8", steps, step, memory_bytes: 1 << 20 });
  let told = performance.now();
  while (step < steps) {
    await after(STEP_MS);
    const how = interruption();
    if (how !== null) {
      await save();
      return say({ say: how, job });
    }
    hash = await next(hash, seed, ++step);
    if (performance.now() - told >= TOLD_EVERY || step === steps || seed >= TALKATIVE) {
      told = performance.now();
      const pace = { steps_per_second: 1000 / STEP_MS, eta_seconds: (steps - step) * STEP_MS / 1000 };
      say({ say: "progress", job, step, steps, losses: { total: 1 / step }, ...pace, seconds: [STEP_MS / 1000] });
    }
    if (step % SAVED_EVERY === 0) await save();
  }
  await Deno.writeTextFile(`${folder}/result.png`, hash);
  await Deno.writeTextFile(`${folder}/generator.safetensors`, hash);
  say({ say: "succeeded", job });
}

if (import.meta.main) {
  await act({ adapter: "stand-in", train, perform: () => Promise.resolve(), leavesOnTerm: true });
}
