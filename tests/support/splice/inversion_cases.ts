/** The parity cases of inversion, PCA and attention: tests/fixtures/inversion, and the picture and the extractor of the other cases. */
import { fileURLToPath } from "node:url";
import { decodeImage } from "../../../src/images/decode.ts";
import type { Picture } from "../../../src/images/picture.ts";
import { readSafetensors } from "../../../src/weights/formats/safetensors.ts";
import type { StateDict } from "../../../src/weights/formats/tensor.ts";

export interface InversionCase {
  readonly feature: "cls" | "keys";
  readonly layer: number;
  readonly prior: "unet" | "none";
  readonly seed: number;
  readonly side: number;
  readonly longest: number;
  readonly steps: number;
  /** Of every so many numbers of the gradient, one is kept. */
  readonly gradient_stride: number;
  readonly slab_sha256: string;
  readonly step0: number;
  /** Of each step, over runs that were disturbed at the start. */
  readonly losses_mean: readonly number[];
  readonly losses_spread: readonly number[];
  /** Of all steps together. */
  readonly mean_of_losses: number;
  readonly spread_of_means: number;
}

export interface InversionCases {
  readonly cases: readonly InversionCase[];
  /** At which PCA and attention were computed. */
  readonly side: number;
  readonly picture: Picture;
  readonly want: StateDict;
}

export async function openInversionCases(): Promise<InversionCases> {
  const path = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
  const { cases, pca_side: side } = JSON.parse(await Deno.readTextFile(path("inversion/cases.json")));
  const picture = path("cases/training/structure.png");
  return {
    cases,
    side,
    picture: await decodeImage(await Deno.readFile(picture), { label: picture }),
    want: (await readSafetensors(path("inversion/want.safetensors"))).tensors,
  };
}
