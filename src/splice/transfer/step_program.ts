/**
 * The program of one training step: the objective's graph compiled, and Adam after it; and what it takes of memory. One program for each set of terms that
 * count and each pair of crop sides; a step's numbers are fed to it later. It needs no device, so that plans can be tried.
 */
import { compile, type Compiled, full, type Graph, type Profile, withAdam } from "../../engine/mod.ts";
import { openGenerator, parameterCount } from "../../nets/unet.ts";
import { openVit } from "../../nets/vit.ts";
import type { VitDescription } from "../../weights/formats/vit_family.ts";
import { type CropSides, cropSides, type Size } from "./augment.ts";
import { objective, type Term, TERMS, termsAt, type Weights } from "./objective.ts";
import { checkSeen } from "./extractor.ts";
import { type MemoryReport, refuseUnlessItFits, tryPlan, vitSideOption } from "./memory.ts";
import { type Recipe, vitSize } from "./recipe.ts";
import { compileOnce, type StepCache } from "./step_cache.ts";

/** The published optimiser: no first moment. */
export const BETAS = [0, 0.99] as const;
const ADAM = { betas: BETAS, epsilon: 1e-8, state: "generator", gradient: "gradient" };

export const weightsOf = (recipe: Recipe): Weights => ({
  global_cls: recipe.weight_cls,
  global_ssim: recipe.weight_ssim,
  global_id: recipe.weight_id,
  entire_ssim: recipe.weight_entire_ssim,
  entire_cls: recipe.weight_entire_cls,
});

export interface StepKind {
  readonly recipe: Recipe;
  readonly vit: VitDescription;
  readonly profile: Profile;
  readonly cache?: StepCache | undefined;
}

/** Compiles the program of a kind of step, without a device's help: also used to plan sizes that might fit. */
export function stepCompiler(
  { recipe, vit: description, profile, cache }: StepKind,
  structure: Size,
  appearance: Size,
) {
  const { side, longest } = vitSize(recipe, description.native);
  const vit = openVit(description);
  const generator = openGenerator(recipe.padding);
  function make(terms: readonly Term[], crops: CropSides | null): Compiled {
    const name = `step ${terms.join("+")}${crops ? ` ${crops.structure}/${crops.appearance}` : ""}`;
    const graph = terms.length === 0 ? idleStep() : objective(
      {
        vit,
        generator,
        structure,
        appearance,
        weights: weightsOf(recipe),
        side,
        longest,
        resize: recipe.resize,
        crops,
      },
      terms,
    );
    const compiled = compile(name, graph, { profile });
    return { prelude: compiled.prelude, step: withAdam(compiled.step, ADAM) };
  }
  const sides = [structure, appearance].map(({ width, height }) => [width, height]);
  const kind = [
    "transfer",
    description,
    profile,
    sides,
    side,
    longest,
    recipe.resize,
    recipe.padding,
    weightsOf(recipe),
  ];
  return (terms: readonly Term[], crops: CropSides | null): Compiled =>
    compileOnce(cache, [...kind, terms, crops], () => make(terms, crops));
}

/** A step at which nothing counts (its weights are 0): Adam still sees a gradient, of zeros. */
function idleStep(): Graph {
  return { roots: new Map([["losses", full([TERMS.length + 1], 0)], ["gradient", full([parameterCount], 0)]]) };
}

export interface TrainingPlan {
  readonly memory: MemoryReport;
  readonly compileStep: ReturnType<typeof stepCompiler>;
  /** The heaviest step: what counts at it, its crops, and its programs. If it fits, all do. */
  readonly terms: readonly Term[];
  readonly crops: CropSides | null;
  readonly compiled: Compiled;
}

/**
 * What a training takes, before a device is asked for anything; only the sizes of the pictures matter.
 * @throws EngineError if it cannot be trained; of kind "memory", with a size that fits, if it is too large.
 */
export function planTraining(
  { structure, appearance, bindingBytes, memoryLimit, ...kind }: StepKind & {
    readonly structure: Size;
    readonly appearance: Size;
    readonly bindingBytes: number;
    readonly memoryLimit?: number | undefined;
  },
): TrainingPlan {
  const { recipe, vit } = kind;
  const seen = vitSize(recipe, vit.native);
  for (const [name, picture] of Object.entries({ structure, appearance })) {
    checkSeen(picture, { name, patch: vit.patch, ...seen });
  }
  const terms = termsAt(recipe.entire_every, recipe.entire_every, weightsOf(recipe));
  const crops = largestCrops(recipe, structure, appearance);
  const compileStep = stepCompiler(kind, structure, appearance);
  const { memory, compiled } = tryPlan(() => compileStep(terms, crops));
  const untouched = { ...kind, cache: undefined }; // sizes that are only tried are not kept
  refuseUnlessItFits(memory, {
    action: "train",
    bindingBytes,
    totalBytes: memoryLimit,
    options: [
      {
        name: "size",
        value: Math.max(structure.width, structure.height, appearance.width, appearance.height),
        planAt(size) {
          const [a, b] = [structure, appearance].map((picture) => fitted(picture, size));
          return tryPlan(() => stepCompiler(untouched, a, b)(terms, largestCrops(recipe, a, b))).memory;
        },
      },
      vitSideOption(seen, (vit_side, vit_longest) => {
        const smaller = { ...recipe, vit_side, vit_longest };
        return tryPlan(() => stepCompiler({ ...untouched, recipe: smaller }, structure, appearance)(terms, crops))
          .memory;
      }),
    ],
  });
  return { memory, compileStep, terms, crops, compiled: compiled! };
}

/** The size of a picture scaled down to a longest side. */
export function fitted({ width, height }: Size, longest: number): Size {
  const scale = Math.min(1, longest / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** The crops of the largest program; null without augmentation. */
export function largestCrops(recipe: Recipe, structure: Size, appearance: Size): CropSides | null {
  const largest = ({ height, width }: Size) => cropSides(height, width).at(-1)!;
  return recipe.augment ? { structure: largest(structure), appearance: largest(appearance) } : null;
}
