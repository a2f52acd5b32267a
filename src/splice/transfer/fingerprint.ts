/**
 * What a run is made of, as text: two runs of one fingerprint give the same numbers at every step. Checkpoints carry it, so that
 * none is continued with another picture, model or option; and so that the refusal can say which of them differs.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { EngineError } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import type { StateDict } from "../../weights/formats/tensor.ts";
import { HEAD, IMAGENET, normalisationText } from "../../weights/formats/vit_family.ts";
import type { Extractor } from "./extractor.ts";
import { type Recipe, recipeNames, vitSize } from "./recipe.ts";

/** Counts up when the same options begin to mean other numbers. */
const VERSION = 2;

/** Options that change how long a run is, what is shown of it or what becomes of its picture, and those that stand below in another form. */
const LEFT_OUT: readonly (keyof Recipe)[] = [
  "preset",
  "model",
  "steps",
  "size",
  "detail",
  "preview_every",
  "vit_side",
  "vit_longest",
];

/** A picture may come as text that holds what its numbers depend on: where many runs share it. */
export interface Ingredients {
  readonly structure: Picture | string;
  readonly appearance: Picture | string;
  readonly extractor: Extractor;
  readonly recipe: Recipe;
  /** The generator a run began with, where it was not drawn from the seed. */
  readonly initial?: Float32Array | undefined;
}

export function fingerprintOf({ structure, appearance, extractor, recipe, initial }: Ingredients): string {
  const seen = vitSize(recipe, extractor.vit.native);
  return JSON.stringify({
    version: VERSION,
    structure: typeof structure === "string" ? structure : pictureText(structure),
    appearance: typeof appearance === "string" ? appearance : pictureText(appearance),
    model: modelText(extractor),
    init_generator: initial ? digest([initial]) : "none",
    ...Object.fromEntries(recipeNames.filter((name) => !LEFT_OUT.includes(name)).map((name) => [name, recipe[name]])),
    vit_side: seen.side,
    vit_longest: seen.longest,
  });
}

/** Of an inversion: `options` are those that change its numbers. */
export function inversionFingerprint(
  { picture, extractor }: { readonly picture: Picture; readonly extractor: Extractor },
  options: Readonly<Record<string, string | number>>,
): string {
  return JSON.stringify({
    version: VERSION,
    kind: "inversion",
    picture: pictureText(picture),
    model: modelText(extractor),
    ...options,
  });
}

/** A picture's size and the sum of its samples. */
export const pictureText = ({ width, height, data }: Picture) => `${width}x${height} ${digest([data])}`;

/** The sums of weights, which do not change: adding up hundreds of MB takes a second. */
const modelTexts = new WeakMap<StateDict, string>();

/** The sum of an extractor's weights, and what they do not tell of it, where that is not the usual. */
export function modelText({ tensors, vit }: Extractor): string {
  const text = modelTexts.get(tensors) ?? digest([...tensors.values()].map(({ data }) => data));
  modelTexts.set(tensors, text);
  const { heads, dim, mean, deviation } = vit;
  const seen = normalisationText({ mean, deviation });
  const usual = heads * HEAD === dim && seen === normalisationText(IMAGENET);
  return usual ? text : `${text}, ${heads} heads, normalisation ${seen}`;
}

/** Throws EngineError unless the checkpoint is of this very run, and not of a longer one. */
export function refuseOther(
  checkpoint: { readonly fingerprint: string; readonly step: number },
  { fingerprint, steps }: { readonly fingerprint: string; readonly steps: number },
): void {
  const changes = fingerprintChanges(checkpoint.fingerprint, fingerprint);
  if (changes.length > 0) {
    throw new EngineError(
      `Cannot go on from the checkpoint: it is of another run (${
        changes.join("; ")
      }). Use the same pictures, model and options, or begin anew without it`,
    );
  }
  if (checkpoint.step > steps) {
    throw new EngineError(
      `Cannot go on from the checkpoint: it was made after ${checkpoint.step} steps, and steps is ${steps}; ask for more steps`,
    );
  }
}

/** What two fingerprints say differently, as text for messages: `seed is 2, was 1`. */
export function fingerprintChanges(was: string, is: string): string[] {
  const [before, after] = [was, is].map(fieldsOf);
  return Object.keys(after).filter((name) => before[name] !== after[name]).map((name) =>
    `${name} is ${after[name]}, was ${before[name] ?? "not said"}`
  );
}

const Fields = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

function fieldsOf(fingerprint: string): z.infer<typeof Fields> {
  try {
    return Fields.parse(JSON.parse(fingerprint));
  } catch {
    return {};
  }
}

function digest(parts: readonly Float32Array[]): string {
  const hash = createHash("sha256");
  for (const { buffer, byteOffset, byteLength } of parts) hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  return hash.digest("hex").slice(0, 16);
}
