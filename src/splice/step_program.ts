/**
 * The program of one training step: the objective's graph compiled, and Adam after it. One program for each set of terms that
 * count and each pair of crop sides; a step's numbers are fed to it later. It needs no device, so that plans can be tried.
 */
import { compile, type Compiled, full, type Graph, type Profile, withAdam } from "../engine/mod.ts";
import { openGenerator, parameterCount } from "../nets/unet.ts";
import { openVit } from "../nets/vit.ts";
import type { VitDescription } from "../weights/names.ts";
import { type CropSides, cropSides, type Size } from "./augment.ts";
import { objective, type Term, TERMS, type Weights } from "./objective.ts";
import { type Recipe, vitSize } from "./recipe.ts";

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
}

/** Compiles the program of a kind of step, without a device's help: also used to plan sizes that might fit. */
export function stepCompiler(
  { recipe, vit: description, profile }: StepKind,
  structure: Size,
  appearance: Size,
) {
  const { side, longest } = vitSize(recipe, description.native);
  const vit = openVit(description);
  const generator = openGenerator();
  return (terms: readonly Term[], crops: CropSides | null): Compiled => {
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
  };
}

/** A step at which nothing counts (its weights are 0): Adam still sees a gradient, of zeros. */
function idleStep(): Graph {
  return { roots: new Map([["losses", full([TERMS.length + 1], 0)], ["gradient", full([parameterCount], 0)]]) };
}

/** The crops of the largest program; null without augmentation. */
export function largestCrops(recipe: Recipe, structure: Size, appearance: Size): CropSides | null {
  const largest = ({ height, width }: Size) => cropSides(height, width).at(-1)!;
  return recipe.augment ? { structure: largest(structure), appearance: largest(appearance) } : null;
}
