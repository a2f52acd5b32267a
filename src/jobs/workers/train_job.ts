/**
 * One job's training in the worker, of whatever kind: from the files of its folder to the files of its folder. A job that was interrupted goes on from its checkpoint; one
 * that does not fit (another version's) is left aside, and the job begins anew.
 */
import { join } from "node:path";
import { encodeImage } from "../../images/encode.ts";
import { fitPicture, type Picture } from "../../images/picture.ts";
import type { Rows } from "../../images/scale.ts";
import { conduct, type Progress } from "../../splice/transfer/conduct.ts";
import { PREVIEW_LONGEST } from "../../splice/transfer/enlarge.ts";
import { keptCheckpoint } from "../../splice/transfer/kept_checkpoint.ts";
import { writeSafetensors } from "../../weights/formats/safetensors.ts";
import { modelName } from "../../weights/store/store.ts";
import type { FromWorker, ToWorker } from "../model/messages.ts";
import { prepareTraining } from "./training.ts";
import type { Warm } from "./warm.ts";
import { writeWhole } from "../machine/write_whole.ts";

/** Progress is told at most this often, in ms. */
const LEAST_GAP = 250;
/** Of previews, which are for looking at. */
const JPEG_QUALITY = 0.85;

export interface TrainJobOptions {
  readonly warm: Warm;
  say(message: FromWorker): void;
  /** Ends the training after the step it is at, its checkpoint saved. */
  readonly signal: AbortSignal;
  /** Called between steps. */
  between(): Promise<void>;
}

/** Resolves when the result is on the disk, or the signal ended it. */
export async function trainJob(
  { job, folder, work, model }: Extract<ToWorker, { say: "run" }>,
  { warm, say, signal, between }: TrainJobOptions,
): Promise<void> {
  const file = (name: string) => join(folder, name);
  // The result is the last thing that is written: where it lies, an earlier attempt was done and only did not live to say so.
  if (await exists(file("result.png"))) return;
  const training = await prepareTraining(work, { folder, model, warm });
  const { steps } = work.options;
  const checkpoint = (await keptCheckpoint(file("checkpoint.safetensors"), { ...training, steps }))?.state;

  await warm.withRuntime(async (runtime, memoryLimit) => {
    const { trainer, enlarging } = await training.open(runtime, { checkpoint, memoryLimit });
    async function showPreview(painted: Picture, step: number): Promise<void> {
      const isSmall = Math.max(painted.width, painted.height) < PREVIEW_LONGEST;
      const shown = enlarging && isSmall ? await enlarging.preview(painted) : fitPicture(painted, PREVIEW_LONGEST);
      await writeWhole(file("preview.jpg"), await encodeImage(shown, "jpeg", { quality: JPEG_QUALITY }));
      say({ say: "preview", job, step });
    }
    function tell(progress: Progress, seconds: readonly number[]): void {
      say({
        say: "progress",
        job,
        ...progress,
        losses: { ...progress.losses } as Record<string, number>,
        seconds: [...seconds],
      });
    }
    const adapter = runtime.gpu.info.name;
    const memory_bytes = trainer.memory.totalBytes;
    say({ say: "started", job, adapter, model: modelName(model), steps, step: trainer.step(), memory_bytes });
    let seconds: number[] = [];
    let told = -Infinity;
    const last = await conduct(trainer, {
      recipe: work.options,
      signal,
      ahead: enlarging?.seconds,
      async onSteps(reports, progress) {
        seconds.push(...reports.map(({ ms }) => ms / 1000));
        const now = performance.now();
        if (now - told >= LEAST_GAP || progress.step === steps) {
          tell(progress, seconds);
          [seconds, told] = [[], now];
        }
        await between();
      },
      onPreview: showPreview,
      async save(checkpoint) {
        if (signal.reason === "cancel") return;
        const { tensors, metadata } = training.encode(checkpoint);
        await writeSafetensors(file("checkpoint.safetensors"), tensors, { metadata });
        say({ say: "saved", job, step: checkpoint.step });
      },
    });
    if (trainer.step() < steps) return;
    const painted = await trainer.render();
    await training.keep(trainer);
    await showPreview(painted, steps);
    const png = await encodeImage(painted, "png");
    if (enlarging === null) await writeWhole(file("result.png"), png);
    else {
      await writeWhole(file("trained.png"), png);
      const onLeft = (left: number) => last && tell({ ...last, eta_seconds: left }, []);
      const write = async (rows: Rows) => await writeWhole(file("result.png"), await encodeImage(rows, "png"));
      try {
        await enlarging.enlarge(painted, { signal, onLeft }, write);
      } catch (error) {
        if (signal.aborted) return; // the checkpoint is of the last step
        throw error;
      }
    }
    await Deno.remove(file("checkpoint.safetensors")).catch(() => {}); // it is three times what was trained, and has served
  });
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
