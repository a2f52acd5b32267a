/**
 * A training from where it stands to its end, as a command and a server's worker both conduct it: how fast it goes, when a preview is due, when a checkpoint is.
 * It writes nothing itself. Invariant: what was reported of a step was reported before a checkpoint of it is saved, so that a run that goes on from there leaves
 * neither a gap nor a step twice.
 */
import type { Picture } from "../../images/picture.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { openPace } from "./pace.ts";
import type { Recipe } from "./recipe.ts";
import type { StepReport, Trainer } from "./trainer.ts";

/** Events have the names and fields of the HTTP interface's. */
export interface Progress {
  readonly step: number;
  readonly steps: number;
  readonly losses: StepReport["losses"];
  readonly steps_per_second: number | null;
  readonly eta_seconds: number | null;
}

export interface Conduct {
  readonly recipe: Pick<Recipe, "steps" | "preview_every">;
  readonly signal: AbortSignal;
  /** Seconds of work that will follow the last step; the time left counts them. Default 0. */
  readonly ahead?: number | undefined;
  /** After every batch of steps. */
  onSteps(reports: readonly StepReport[], progress: Progress): void | Promise<void>;
  onPreview(picture: Picture, step: number): void | Promise<void>;
  /** Null: nothing is kept. */
  readonly save: ((checkpoint: Checkpoint) => Promise<void>) | null;
}

/** A checkpoint is due after this many steps or seconds, but not more often than once a second. */
const SAVE_STEPS = 50;
const SAVE_SECONDS = 5;

/** Trains until the recipe's steps are done or the signal is aborted; then saves what is not saved yet. Resolves to the last progress; null where no step was left to do. */
export async function conduct(trainer: Trainer, options: Conduct): Promise<Progress | null> {
  const { steps, preview_every } = options.recipe;
  const { ahead = 0 } = options;
  let progress: Progress | null = null;
  const pace = openPace();
  const saved = { step: trainer.step(), at: performance.now() };
  let last = performance.now();
  async function save(): Promise<void> {
    if (!options.save) return;
    await options.save(await trainer.checkpoint());
    saved.step = trainer.step();
    saved.at = performance.now();
  }
  async function onSteps(reports: readonly StepReport[]): Promise<void> {
    const now = performance.now();
    pace.add(reports.length, (now - last) / 1000, reports.some((report) => report.fresh));
    last = now;
    const step = trainer.step();
    const left = pace.secondsLeft(steps - step);
    progress = {
      step,
      steps,
      losses: reports.at(-1)!.losses,
      steps_per_second: pace.stepsPerSecond(),
      eta_seconds: left === null ? null : left + ahead,
    };
    await options.onSteps(reports, progress);
    const before = step - reports.length;
    if (preview_every > 0 && step < steps && Math.floor(step / preview_every) > Math.floor(before / preview_every)) {
      await options.onPreview(await trainer.render(), step);
    }
    const age = (now - saved.at) / 1000;
    if (age >= SAVE_SECONDS || (step - saved.step >= SAVE_STEPS && age >= 1)) await save();
  }
  await trainer.train({ until: steps, signal: options.signal, onSteps });
  if (trainer.step() > saved.step) await save();
  return progress;
}
