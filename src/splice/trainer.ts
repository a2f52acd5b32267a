/**
 * Training one pair: programs by what counts at a step and by the sides of its crops, fed a step's random numbers, and a loop
 * that keeps at most two steps (or a tenth of a second of work) in the GPU's queue.
 *
 * Everything that happens at step t follows from the recipe's seed and t, so a run that goes on from a checkpoint gives the
 * bytes of one that never stopped. Nothing is allocated once every kind of step has been seen.
 */
import {
  ADAM_INPUT,
  adamFeed,
  compile,
  type Compiled,
  EngineError,
  type Feeds,
  type Loaded,
  type Program,
  randomStream,
  type Runtime,
} from "../engine/mod.ts";
import type { Picture } from "../images/picture.ts";
import { generate, openGenerator } from "../nets/unet.ts";
import { type CropSides, drawCrops } from "./augment.ts";
import { type Checkpoint, freshSlab } from "./checkpoint.ts";
import { type Extractor, uploadExtractor } from "./extractor.ts";
import { fingerprintChanges } from "./fingerprint.ts";
import type { MemoryReport } from "./memory.ts";
import { imageState, type Term, TERMS, termsAt } from "./objective.ts";
import type { Recipe } from "./recipe.ts";
import { BETAS, planTraining, type StepCache, weightsOf } from "./step_program.ts";

/** Purposes of random streams, so that no two share numbers. */
const INITIAL = 1;
const CROPS = 2;

/** Read-backs stall the host, so fast steps are read together: as many as fit in this time, in ms. */
const BATCH_TIME = 100;
const MOST_BATCH = 10;
/** Slower steps are queued one at a time, so that stopping is quick, in ms. */
const SLOW_STEP = 500;

export type { Extractor };

/** What one step gave: unweighted mean squared errors of the terms that counted, and the weighted total. */
export interface StepReport {
  readonly step: number;
  readonly losses: Partial<Record<Term | "total", number>>;
  /** Wall time of the step, averaged over those read back together. */
  readonly ms: number;
  /** Among those was the first run of a program, which drivers compile then: `ms` is no measure of what follows. */
  readonly fresh: boolean;
}

export interface TrainerOptions {
  readonly runtime: Runtime;
  readonly extractor: Extractor;
  readonly recipe: Recipe;
  readonly structure: Picture;
  readonly appearance: Picture;
  /** A slab to begin with instead of a fresh one. */
  readonly initial?: Float32Array | undefined;
  /** Where to go on from; refused where its fingerprint is another. */
  readonly checkpoint?: Checkpoint | undefined;
  /** Identifies pictures, model and options; stored in checkpoints. */
  readonly fingerprint: string;
  /** Bytes the device may use, where that is known. */
  readonly memoryLimit?: number | undefined;
  /** Steps that were compiled before, by trainings of any kind. */
  readonly cache?: StepCache | undefined;
}

export interface Trainer {
  readonly memory: MemoryReport;
  /** Steps done. */
  step(): number;
  /** Trains until `until` steps are done or `signal` is aborted; reports come in order, each step once. */
  train(
    options: { until: number; signal?: AbortSignal; onSteps(reports: readonly StepReport[]): void | Promise<void> },
  ): Promise<void>;
  /** G(A) as it is now. */
  render(): Promise<Picture>;
  slab(): Promise<Float32Array>;
  checkpoint(): Promise<Checkpoint>;
}

/** Throws EngineError unless the checkpoint is of this very run. */
function refuseOther(checkpoint: Checkpoint, { fingerprint, recipe }: TrainerOptions): void {
  const changes = fingerprintChanges(checkpoint.fingerprint, fingerprint);
  if (changes.length > 0) {
    throw new EngineError(
      `Cannot go on from the checkpoint: it is of another run (${
        changes.join("; ")
      }). Use the same pictures, model and options, or begin anew without it`,
    );
  }
  if (checkpoint.step > recipe.steps) {
    throw new EngineError(
      `Cannot go on from the checkpoint: it was made after ${checkpoint.step} steps, and steps is ${recipe.steps}; ask for more steps`,
    );
  }
}

export async function openTrainer(options: TrainerOptions): Promise<Trainer> {
  const { runtime, recipe, structure, appearance, checkpoint } = options;
  if (checkpoint) refuseOther(checkpoint, options);
  const weights = weightsOf(recipe);
  const plan = planTraining({
    recipe,
    vit: options.extractor.vit,
    profile: runtime.gpu.profile,
    cache: options.cache,
    structure,
    appearance,
    bindingBytes: runtime.gpu.limits.bindingBytes,
    memoryLimit: options.memoryLimit,
  });
  const { memory, compiled: planned, compileStep } = plan;

  uploadExtractor(runtime, options.extractor, [planned.prelude, planned.step]);
  runtime.writeState("structure", structure.data);
  runtime.writeState("appearance", appearance.data);
  const slab = checkpoint?.slab ?? options.initial ?? freshSlab(randomStream(recipe.seed, INITIAL));
  runtime.writeState("generator", slab);
  runtime.writeState("generator.m", checkpoint?.first ?? new Float32Array(slab.length));
  runtime.writeState("generator.v", checkpoint?.second ?? new Float32Array(slab.length));

  const loaded = new Map<string, Loaded>();
  const ran = new Set<Loaded>();
  const preludes = new Set<string>();
  async function prepare(compiled: Compiled): Promise<Loaded> {
    const { prelude, step } = compiled;
    const names = prelude ? [...prelude.outputs.keys()].join() : "";
    if (prelude && !preludes.has(names)) {
      const [once] = await runtime.load([prelude]);
      runtime.run(once);
      preludes.add(names);
    }
    return (await runtime.load([step]))[0];
  }
  const keyOf = (terms: readonly Term[], crops: CropSides | null) =>
    `${terms} ${crops?.structure} ${crops?.appearance}`;
  loaded.set(keyOf(plan.terms, plan.crops), await prepare(planned));

  let done = checkpoint?.step ?? 0;
  let renderer: Loaded | null = null;
  const log = runtime.openLog(TERMS.length + 1, MOST_BATCH);

  /** Submits step t; true if its program never ran before. */
  async function submit(t: number, slot: number): Promise<boolean> {
    const terms = termsAt(t, recipe.entire_every, weights);
    const feeds = new Map([[ADAM_INPUT, adamFeed(t + 1, recipe.learning_rate, BETAS)]]);
    let crops: CropSides | null = null;
    if (recipe.augment) {
      const drawn = drawCrops(randomStream(recipe.seed, CROPS, t), { structure, appearance }, recipe.blur_probability);
      crops = drawn.sides;
      feeds.set("structure_draw", drawn.structure).set("appearance_draw", drawn.appearance);
    }
    const key = keyOf(terms, crops);
    let program = loaded.get(key);
    if (!program) loaded.set(key, program = await prepare(compileStep(terms, crops)));
    runtime.run(program, only(feeds, program.program), { output: "losses", log, slot });
    const fresh = !ran.has(program);
    ran.add(program);
    return fresh;
  }

  /** The losses of the steps from `first` on, checked; `rows` as the log holds them. */
  function collect(rows: Float32Array, first: number, timing: { ms: number; fresh: boolean }): StepReport[] {
    return Array.from({ length: rows.length / log.width }, (_, i) => {
      const step = first + i;
      const row = rows.subarray(i * log.width, (i + 1) * log.width);
      const terms = termsAt(step, recipe.entire_every, weights);
      const losses = Object.fromEntries([...terms.map((term) => [term, row[TERMS.indexOf(term)]]), [
        "total",
        row[TERMS.length],
      ]]);
      for (const [term, value] of Object.entries(losses)) {
        if (!Number.isFinite(value)) {
          throw new EngineError(
            `Training stopped: at step ${step} the loss ${term} is ${value}. Try a lower learning_rate (now ${recipe.learning_rate}) or another seed`,
          );
        }
      }
      return { step, losses, ...timing };
    });
  }

  let batch = 1; // the first step tells how long a step takes

  return {
    memory,
    step: () => done,
    async train({ until, signal, onSteps }) {
      while (done < until && !signal?.aborted) {
        const first = done;
        const count = Math.min(batch, until - first);
        const began = performance.now();
        let fresh = false;
        for (let i = 0; i < count; i++) fresh = await submit(first + i, i) || fresh;
        const rows = await runtime.readLog(log, count);
        const ms = (performance.now() - began) / count;
        const reports = collect(rows, first, { ms, fresh });
        done = first + count;
        batch = ms > SLOW_STEP ? 1 : Math.max(2, Math.min(MOST_BATCH, Math.floor(BATCH_TIME / ms)));
        await onSteps(reports);
      }
    },
    async render() {
      if (!renderer) {
        const image = imageState("structure", structure);
        const { step } = compile("render", { roots: new Map([["image", generate(openGenerator(), image)]]) }, {
          profile: runtime.gpu.profile,
        });
        [renderer] = await runtime.load([step]);
      }
      runtime.run(renderer);
      const data = await runtime.readOutput(renderer, "image");
      return { width: structure.width, height: structure.height, data: data as Float32Array<ArrayBuffer> };
    },
    slab: () => runtime.readState("generator"),
    async checkpoint() {
      const [slab, first, second] = [
        await runtime.readState("generator"),
        await runtime.readState("generator.m"),
        await runtime.readState("generator.v"),
      ];
      return { step: done, slab, first, second, fingerprint: options.fingerprint };
    },
  };
}

/** The feeds a program has inputs for. */
function only(feeds: Feeds, program: Program): Feeds {
  return new Map([...feeds].filter(([name]) => program.inputs.has(name)));
}
