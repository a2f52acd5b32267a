/**
 * Feature inversion: a picture is trained until the extractor sees in it what it saw in a photograph, by [CLS] or by the keys of one block. What such a picture keeps
 * of the photograph, and what not, is what the feature knows. A trainer like the one of transfers, so that `conduct` drives both.
 *
 * Everything that happens at step t follows from the options and t, so a run that goes on from a checkpoint gives the bytes of one that never stopped.
 */
import { ADAM_INPUT, adamFeed, type Loaded, noiseKey, randomStream, type Runtime } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import { freshPrior, priorLevels } from "../../nets/prior.ts";
import type { HostTensor, StateDict } from "../../weights/formats/tensor.ts";
import type { Size } from "../transfer/augment.ts";
import { type Checkpoint, readTrained, writeTrained } from "../transfer/checkpoint.ts";
import { type Extractor, uploadExtractor } from "../transfer/extractor.ts";
import { inversionFingerprint, refuseOther } from "../transfer/fingerprint.ts";
import type { InversionRecipe } from "./inversion_options.ts";
import {
  BETAS,
  compileRender,
  hasStepNoise,
  layerOf,
  NOISE_KEY,
  noiseAt,
  PICTURE,
  planInversion,
  SLAB,
  STEP_KEY,
  STEP_NOISE,
} from "./inversion_program.ts";
import { loadStep } from "../transfer/load_step.ts";
import { vitSize } from "../transfer/recipe.ts";
import { seenPicture } from "./seen_picture.ts";
import type { StepCache } from "../transfer/step_cache.ts";
import { MOST_BATCH, openStepLoop } from "../transfer/steps.ts";
import type { Trainer } from "../transfer/trainer.ts";

/** Purposes of random streams. */
const INITIAL = 1;
/** Second words of noise keys: the noise that stays, and from this one on the noise of steps. */
const KEPT_NOISE = 0;
const STEP_NOISES = 1;

/** Deviation of what pixels begin with, before the sigmoid: nearly grey. */
const PIXEL_START = 0.1;

export interface InversionOptions {
  readonly runtime: Runtime;
  readonly extractor: Extractor;
  readonly recipe: InversionRecipe;
  readonly picture: Picture;
  /** Where to go on from; refused where its fingerprint is another. */
  readonly checkpoint?: Checkpoint | undefined;
  /** Of this run, as `fingerprintOfInversion` gives it; checkpoints carry it. It costs a hash of all weights, and is of no use without checkpoints. */
  readonly fingerprint: string;
  /** Bytes the device may use, where that is known. */
  readonly memoryLimit?: number | undefined;
  /** Steps that were compiled before, by trainings of any kind. */
  readonly cache?: StepCache | undefined;
}

export interface Inversion extends Trainer {
  /** The size of the new picture: what the extractor sees. */
  readonly seen: Size;
}

/** @throws EngineError if the model has no such block, if the checkpoint is of another run, or with a vit_side that fits, if this one does not. */
export async function openInversion(options: InversionOptions): Promise<Inversion> {
  const { runtime, recipe, picture, extractor, checkpoint } = options;
  if (checkpoint) refuseOther(checkpoint, { fingerprint: options.fingerprint, steps: recipe.steps });
  const kind = { recipe, vit: extractor.vit, profile: runtime.gpu.profile, cache: options.cache };
  const { bindingBytes } = runtime.gpu.limits;
  const { memory, seen, compiled } = planInversion({
    ...kind,
    picture,
    bindingBytes,
    memoryLimit: options.memoryLimit,
  });

  uploadExtractor(runtime, extractor, [compiled.prelude, compiled.step]);
  runtime.writeState(PICTURE, seenPicture(picture, seen, recipe.resize).data);
  runtime.writeState(NOISE_KEY, noiseKey(recipe.seed, KEPT_NOISE));
  writeTrained(runtime, SLAB, checkpoint ?? { slab: freshSlab(recipe, seen) });
  const program = await loadStep(runtime, compiled);
  let renderer: Loaded | null = null;
  let fresh = true;
  const log = runtime.openLog(1, MOST_BATCH);
  const loop = openStepLoop({
    runtime,
    done: checkpoint?.step ?? 0,
    log,
    learningRate: recipe.learning_rate,
    losses: (_, [total]) => ({ total }),
    async submit(t, slot, signal) {
      const feeds = new Map([[ADAM_INPUT, adamFeed(t + 1, recipe.learning_rate, BETAS)]]);
      if (hasStepNoise(recipe)) {
        feeds.set(STEP_KEY, noiseKey(recipe.seed, STEP_NOISES + t));
        feeds.set(STEP_NOISE, Float32Array.of(noiseAt(t, recipe.steps)));
      }
      const keep = { output: "losses", log, slot };
      if (await runtime.run(program, feeds, { keep, signal }) === null) return null;
      const first = fresh;
      fresh = false;
      return first;
    },
  });

  return {
    memory,
    seen,
    ...loop,
    async render() {
      renderer ??= await loadStep(runtime, compileRender(kind, seen));
      await runtime.run(renderer);
      const data = await runtime.readOutput(renderer, "image");
      return { width: seen.width, height: seen.height, data: data as Float32Array<ArrayBuffer> };
    },
    slab: () => runtime.readState(SLAB),
    async checkpoint() {
      const trained = await readTrained(runtime, SLAB);
      return { step: loop.step(), ...trained, fingerprint: options.fingerprint };
    },
  };
}

/** What training begins with: the network's parameters, or a picture that is nearly grey. */
export function freshSlab({ prior, seed }: InversionRecipe, { height, width }: Size): Float32Array {
  const random = randomStream(seed, INITIAL);
  if (prior === "unet") return freshPrior(priorLevels(height, width), random);
  return Float32Array.from({ length: 3 * height * width }, () => PIXEL_START * random.normal());
}

/** Identifies photograph, model and options, as checkpoints store it. */
export function fingerprintOfInversion(
  { recipe, extractor, picture }: Pick<InversionOptions, "recipe" | "extractor" | "picture">,
): string {
  const { feature, prior, seed, learning_rate, resize } = recipe;
  const { side, longest } = vitSize(recipe, extractor.vit.native);
  return inversionFingerprint({ picture, extractor }, {
    feature,
    layer: layerOf(recipe, extractor.vit),
    prior,
    seed,
    learning_rate,
    vit_side: side,
    vit_longest: longest,
    resize,
    ...(hasStepNoise(recipe) ? { steps: recipe.steps } : {}), // the noise of a step depends on how many there are
  });
}

const PARTS = ["slab", "first", "second"] as const;
const KIND = "splice-inversion";

/** A checkpoint of an inversion as the content of a safetensors file. */
export function encodeInversion(checkpoint: Checkpoint): { tensors: StateDict; metadata: Record<string, string> } {
  const { step, fingerprint } = checkpoint;
  const tensor = (data: Float32Array): HostTensor => ({ shape: [data.length], data });
  return {
    tensors: new Map(PARTS.map((name) => [name, tensor(checkpoint[name])])),
    metadata: { kind: KIND, step: String(step), fingerprint },
  };
}

/** Reads a checkpoint back; null where the file is none. */
export function decodeInversion(tensors: StateDict, metadata: Readonly<Record<string, string>>): Checkpoint | null {
  const [slab, first, second] = PARTS.map((name) => tensors.get(name)?.data);
  const step = Number(metadata.step);
  if (metadata.kind !== KIND || !slab || !first || !second || !Number.isInteger(step)) return null;
  if (first.length !== slab.length || second.length !== slab.length) return null;
  return { step, slab, first, second, fingerprint: metadata.fingerprint ?? "" };
}
