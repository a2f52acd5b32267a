/**
 * The program of one step of a feature inversion: a picture out of noise (or out of bare numbers), what the extractor sees in it, how far that is from what it saw in
 * the photograph, the gradient, and Adam. One program for all steps; a step's noise is drawn on the GPU from a key. It needs no device, so that plans can be tried.
 * (Tumanyan et al. 2022, section 3.2.)
 */
import {
  add,
  compile,
  type Compiled,
  concat,
  EngineError,
  f32,
  gradients,
  input,
  mul,
  normal,
  type Profile,
  reshape,
  sigmoid,
  sizeOf,
  state,
  type Value,
  withAdam,
  withScope,
} from "../../engine/mod.ts";
import { imagine, NOISE_CHANNELS, openPrior, priorLevels } from "../../nets/prior.ts";
import { openVit, prepareImage, seenSize, vitFeatures } from "../../nets/vit.ts";
import type { VitDescription } from "../../weights/formats/vit_family.ts";
import type { Size } from "../transfer/augment.ts";
import { checkSeen } from "../transfer/extractor.ts";
import type { InversionRecipe } from "./inversion_options.ts";
import { numbered } from "./look_options.ts";
import { type MemoryReport, refuseUnlessItFits, tryPlan, vitSideOption } from "../transfer/memory.ts";
import { meanSquare } from "../transfer/objective.ts";
import { vitSize } from "../transfer/recipe.ts";
import { compileOnce, type StepCache } from "../transfer/step_cache.ts";

/** PyTorch's defaults, as the released program has them. */
export const BETAS = [0.9, 0.999] as const;
/** States: the trained numbers (and `.m`, `.v`), the photograph as the extractor sees it, the key of the noise that stays. */
export const SLAB = "inversion";
export const PICTURE = "picture";
export const NOISE_KEY = "noise_key";
/** Inputs of a step with noise of its own: its key, and its standard deviation f32[1, 1, 1]. */
export const STEP_KEY = "step_key";
export const STEP_NOISE = "step_noise";

const ADAM = { betas: BETAS, epsilon: 1e-8, state: SLAB, gradient: "gradient" };

/** Noise that a step adds to the input, and until which part of the steps; of 20,000 steps these are the released 10,000 and 15,000. */
const SCHEDULE = [{ until: 1 / 2, deviation: 10 }, { until: 3 / 4, deviation: 2 }, { until: Infinity, deviation: 0.5 }];

/** [CLS] is inverted under noise, keys are not; and without a network there is nothing to add noise to. */
export const hasStepNoise = ({ feature, prior }: Pick<InversionRecipe, "feature" | "prior">) =>
  feature === "cls" && prior === "unet";

/** The standard deviation of the noise that step t adds. */
export function noiseAt(t: number, steps: number): number {
  return SCHEDULE.find(({ until }) => t < until * steps)!.deviation;
}

/** What an inversion's programs depend on. */
export interface InversionKind {
  readonly recipe: InversionRecipe;
  readonly vit: VitDescription;
  readonly profile: Profile;
  /** Steps that were compiled before, by trainings of any kind. */
  readonly cache?: StepCache | undefined;
}

/** The block that is looked at. @throws EngineError if the model has none of that number. */
export function layerOf({ layer }: Pick<InversionRecipe, "layer">, { depth }: VitDescription): number {
  if (layer === undefined || layer < depth) return layer ?? depth - 1;
  throw new EngineError(`Cannot look at block ${layer}: the model has ${numbered(depth, "block")}`);
}

/** The picture that the trained numbers stand for, [3, H, W] in (0, 1), and what gradients are taken by. */
function paint(
  { prior }: InversionRecipe,
  { height, width }: Size,
  stepNoise: boolean,
): { image: Value; views: readonly Value[] } {
  if (prior === "none") {
    const pixels = state(SLAB, f32(3 * height * width), { trained: true });
    return { image: sigmoid(reshape(pixels, [3, height, width])), views: [pixels] };
  }
  const net = openPrior(priorLevels(height, width), SLAB);
  const noise = withScope("noise", () => {
    const shape = [NOISE_CHANNELS, height, width];
    const kept = normal(state(NOISE_KEY, f32(4), { trained: false }), shape);
    return stepNoise ? add(kept, mul(normal(input(STEP_KEY, f32(4)), shape), input(STEP_NOISE, f32(1, 1, 1)))) : kept;
  });
  return { image: withScope("prior", () => imagine(net, noise)), views: net.views };
}

/** A training step. Roots: `losses` f32[1], the mean squared error, and `gradient`. */
function compileStep({ recipe, vit: description, profile }: InversionKind, seen: Size): Compiled {
  const vit = openVit(description);
  const layer = layerOf(recipe, description);
  const look = (name: string, image: Value) =>
    withScope(
      name,
      () => vitFeatures(vit, prepareImage(vit, image, { ...seen, resize: recipe.resize }), layer)[recipe.feature](),
    );
  const target = look("target", state(PICTURE, f32(3, seen.height, seen.width), { trained: false }));
  const { image, views } = paint(recipe, seen, hasStepNoise(recipe));
  const loss = meanSquare(look("image", image), target);
  const gradient = gradients(loss, views).map((part) => reshape(part, [sizeOf(part.type.shape)]));
  const roots = new Map([["losses", reshape(loss, [1])], ["gradient", concat(gradient)]]);
  const compiled = compile(`invert ${recipe.feature} ${layer}`, { roots }, { profile });
  return { prelude: compiled.prelude, step: withAdam(compiled.step, ADAM) };
}

/** The picture as it is now, without a step's noise. Root: `image`. */
export function compileRender({ recipe, profile }: InversionKind, seen: Size): Compiled {
  const roots = new Map([["image", paint(recipe, seen, false).image]]);
  return compile("imagine", { roots }, { profile });
}

export interface InversionPlan {
  readonly memory: MemoryReport;
  /** The size of the new picture: what the extractor sees. */
  readonly seen: Size;
  readonly compiled: Compiled;
}

/**
 * What an inversion takes, before a device is asked for anything; only the size of the picture matters.
 * @throws EngineError if it cannot be done; of kind "memory", with a size that fits, if it is too large.
 */
export function planInversion(
  { picture, bindingBytes, memoryLimit, ...kind }: InversionKind & {
    readonly picture: Size;
    readonly bindingBytes: number;
    readonly memoryLimit?: number | undefined;
  },
): InversionPlan {
  const { recipe, vit } = kind;
  const layer = layerOf(recipe, vit);
  const { side, longest } = vitSize(recipe, vit.native);
  checkSeen(picture, { name: "given", patch: vit.patch, side, longest });
  const seenAt = (side: number, longest: number) => seenSize(picture.height, picture.width, side, longest);
  const seen = seenAt(side, longest);
  if (recipe.prior === "unet") priorLevels(seen.height, seen.width);
  const parts = ["inversion", vit, kind.profile, seen, layer];
  const { feature, prior, resize } = recipe;
  const { memory, compiled } = tryPlan(() =>
    compileOnce(kind.cache, [...parts, feature, prior, resize], () => compileStep(kind, seen))
  );
  refuseUnlessItFits(memory, {
    action: "invert",
    bindingBytes,
    totalBytes: memoryLimit,
    options: [
      vitSideOption(
        { side, longest },
        (side, longest) => tryPlan(() => compileStep(kind, seenAt(side, longest))).memory,
      ),
    ],
  });
  return { memory, seen, compiled: compiled! };
}
