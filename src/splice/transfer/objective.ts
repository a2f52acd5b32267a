/**
 * The objective: one training step as a graph, from photographs and parameters to losses and the gradient of the whole slab.
 *
 * 4 extractor forwards and 2 backwards: [CLS] and self-similarity share one pass over x = G(a), [CLS] and keys one over b; frozen
 * weights get no gradient. A term of weight 0 is not built, nor what only it needs. The order of construction is the order of
 * execution: the appearance branch is done, backward pass and all, before the structure branch begins, so that the stored
 * activations of one of them fit where the other's were. (Tumanyan et al. 2022, eqs. 1-5.)
 */
import {
  add,
  concat,
  div,
  f32,
  full,
  gradients,
  type Graph,
  type Interpolation,
  mul,
  reshape,
  sizeOf,
  state,
  sub,
  sumAll,
  type Value,
  withScope,
} from "../../engine/mod.ts";
import { generate, type Generator } from "../../nets/unet.ts";
import { type Features, prepareImage, seenSize, selfSimilarity, type Vit, vitFeatures } from "../../nets/vit.ts";
import { augmentAppearance, augmentStructure, type CropSides, type Size } from "./augment.ts";

export const TERMS = ["global_cls", "global_ssim", "global_id", "entire_ssim", "entire_cls"] as const;
export type Term = (typeof TERMS)[number];
export type Weights = Readonly<Record<Term, number>>;

export interface ObjectiveOptions {
  readonly vit: Vit;
  readonly generator: Generator;
  readonly structure: Size;
  readonly appearance: Size;
  readonly weights: Weights;
  /** Short side, limit of the long side, and interpolation of what the extractor sees. */
  readonly side: number;
  readonly longest: number;
  readonly resize: Interpolation;
  /** Sides of the crops; null trains on the whole images. */
  readonly crops: CropSides | null;
}

/** Which terms count at a step: structure and identity from step 1 on, the whole image at every `every`th, 0 included. */
export function termsAt(step: number, every: number, weights: Weights): readonly Term[] {
  return TERMS.filter((term) => {
    if (weights[term] === 0) return false;
    if (term === "global_ssim" || term === "global_id") return step >= 1;
    return term === "global_cls" || step % every === 0;
  });
}

/** Mean of the squared differences. */
export function meanSquare(a: Value, b: Value): Value {
  const difference = sub(a, b);
  return div(sumAll(mul(difference, difference)), sizeOf(a.type.shape));
}

/** Whole images live on the GPU as frozen states, [3, H, W] in [0, 1]. */
export function imageState(name: "structure" | "appearance", { height, width }: Size): Value {
  return state(name, f32(3, height, width), { trained: false });
}

/**
 * Roots: `losses` f32[6] (the terms in order of TERMS, unweighted, 0 where absent; then the total) and `gradient` f32[P].
 */
export function objective(options: ObjectiveOptions, terms: readonly Term[]): Graph {
  const { vit, generator, weights, crops } = options;
  const has = (...names: Term[]) => names.some((name) => terms.includes(name));
  const structure = imageState("structure", options.structure);
  const appearance = imageState("appearance", options.appearance);
  const see = (name: string, image: Value): Features =>
    withScope(name, () => {
      const [, height, width] = image.type.shape;
      return vitFeatures(
        vit,
        prepareImage(vit, image, { ...seenSize(height, width, options.side, options.longest), resize: options.resize }),
      );
    });

  const losses = new Map<Term, Value>();
  const slabs: Value[] = [];
  /** Weighs the terms of one rendered image, and takes the gradient by all parameters. */
  const close = (name: string, values: Partial<Record<Term, Value>>) => {
    const weighted = Object.entries(values).map(([term, value]) => {
      losses.set(term as Term, value);
      return mul(value, weights[term as Term]);
    });
    withScope(name, () => {
      const parts = gradients(weighted.reduce(add), generator.views);
      slabs.push(concat(parts.map((part) => reshape(part, [sizeOf(part.type.shape)]))));
    });
  };

  const b = crops ? augmentAppearance(appearance, crops.appearance) : appearance;
  const ofB = see("b", b);
  const clsOfB = has("global_cls", "entire_cls") ? ofB.cls() : null;
  if (has("global_id")) {
    const keysOfB = ofB.keys();
    const y = withScope("y", () => generate(generator, b));
    close("y", { global_id: meanSquare(see("y", y).keys(), keysOfB) });
  }
  /** The terms of a rendering of A against A and b. */
  const render = (name: string, image: Value, targetName: string, ssim: Term, cls: Term) => {
    const target = has(ssim) ? selfSimilarity(see(targetName, image).keys()) : null;
    const rendered = withScope(name, () => generate(generator, image));
    const seen = see(name, rendered);
    close(name, {
      ...(target ? { [ssim]: withScope(name, () => meanSquare(selfSimilarity(seen.keys()), target)) } : {}),
      ...(has(cls) ? { [cls]: meanSquare(seen.cls(), clsOfB!) } : {}),
    });
  };
  if (has("global_cls", "global_ssim")) {
    render("x", crops ? augmentStructure(structure, crops.structure) : structure, "a", "global_ssim", "global_cls");
  }
  if (has("entire_cls", "entire_ssim")) render("entire", structure, "entire_a", "entire_ssim", "entire_cls");

  const total = [...losses].map(([term, value]) => mul(value, weights[term])).reduce(add, full([], 0));
  const row = [...TERMS.map((term) => losses.get(term) ?? full([], 0)), total];
  return {
    roots: new Map([
      ["losses", concat(row.map((value) => reshape(value, [1])))],
      ["gradient", slabs.reduce(add)],
    ]),
  };
}
