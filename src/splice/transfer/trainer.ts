/**
 * Training one pair: programs by what counts at a step and by the sides of its crops, fed a step's random numbers. The loop is in steps.ts.
 *
 * Everything that happens at step t follows from the recipe's seed and t, so a run that goes on from a checkpoint gives the
 * bytes of one that never stopped. Nothing is allocated once every kind of step has been seen.
 */
import {
  ADAM_INPUT,
  adamFeed,
  compile,
  type Compiled,
  type Feeds,
  type Loaded,
  type Program,
  randomStream,
  type Runtime,
} from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import { generate, openGenerator } from "../../nets/unet.ts";
import { type CropSides, drawCrops } from "./augment.ts";
import { type Checkpoint, freshSlab, readTrained, writeTrained } from "./checkpoint.ts";
import { type Extractor, uploadExtractor } from "./extractor.ts";
import { refuseOther } from "./fingerprint.ts";
import type { MemoryReport } from "./memory.ts";
import { imageState, type Term, TERMS, termsAt } from "./objective.ts";
import type { Recipe } from "./recipe.ts";
import type { StepCache } from "./step_cache.ts";
import { BETAS, planTraining, weightsOf } from "./step_program.ts";
import { MOST_BATCH, openStepLoop, type StepLoop, type StepReport } from "./steps.ts";

/** Purposes of random streams, so that no two share numbers. */
const INITIAL = 1;
const CROPS = 2;

export type { Extractor, StepReport };

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

export interface Trainer extends StepLoop {
  readonly memory: MemoryReport;
  /** The picture as it is now: G(A). */
  render(): Promise<Picture>;
  slab(): Promise<Float32Array>;
  checkpoint(): Promise<Checkpoint>;
}

export async function openTrainer(options: TrainerOptions): Promise<Trainer> {
  const { runtime, recipe, structure, appearance, checkpoint } = options;
  if (checkpoint) refuseOther(checkpoint, { fingerprint: options.fingerprint, steps: recipe.steps });
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
  const beginning = checkpoint ?? { slab: options.initial ?? freshSlab(randomStream(recipe.seed, INITIAL)) };
  writeTrained(runtime, "generator", beginning);

  const loaded = new Map<string, Loaded>();
  const ran = new Set<Loaded>();
  const preludes = new Set<string>();
  async function prepare(compiled: Compiled): Promise<Loaded> {
    const { prelude, step } = compiled;
    const names = prelude ? [...prelude.outputs.keys()].join() : "";
    if (prelude && !preludes.has(names)) {
      const [once] = await runtime.load([prelude]);
      await runtime.run(once);
      preludes.add(names);
    }
    return (await runtime.load([step]))[0];
  }
  const keyOf = (terms: readonly Term[], crops: CropSides | null) =>
    `${terms} ${crops?.structure} ${crops?.appearance}`;
  loaded.set(keyOf(plan.terms, plan.crops), await prepare(planned));

  let renderer: Loaded | null = null;
  const log = runtime.openLog(TERMS.length + 1, MOST_BATCH);

  async function submit(t: number, slot: number, signal: AbortSignal | undefined): Promise<boolean | null> {
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
    const keep = { output: "losses", log, slot };
    if (await runtime.run(program, only(feeds, program.program), { keep, signal }) === null) return null;
    const fresh = !ran.has(program);
    ran.add(program);
    return fresh;
  }

  const loop = openStepLoop({
    runtime,
    done: checkpoint?.step ?? 0,
    log,
    submit,
    losses: (t, row) =>
      Object.fromEntries([
        ...termsAt(t, recipe.entire_every, weights).map((term) => [term, row[TERMS.indexOf(term)]]),
        ["total", row[TERMS.length]],
      ]),
    learningRate: recipe.learning_rate,
  });

  return {
    memory,
    ...loop,
    async render() {
      if (!renderer) {
        const image = imageState("structure", structure);
        const { step } = compile("render", {
          roots: new Map([["image", generate(openGenerator(recipe.padding), image)]]),
        }, {
          profile: runtime.gpu.profile,
        });
        [renderer] = await runtime.load([step]);
      }
      await runtime.run(renderer);
      const data = await runtime.readOutput(renderer, "image");
      return { width: structure.width, height: structure.height, data: data as Float32Array<ArrayBuffer> };
    },
    slab: () => runtime.readState("generator"),
    async checkpoint() {
      const trained = await readTrained(runtime, "generator");
      return { step: loop.step(), ...trained, fingerprint: options.fingerprint };
    },
  };
}

/** The feeds a program has inputs for. */
function only(feeds: Feeds, program: Program): Feeds {
  return new Map([...feeds].filter(([name]) => program.inputs.has(name)));
}
