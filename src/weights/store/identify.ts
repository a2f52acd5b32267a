// Which network a weight file holds, and how it wants to be used: its tensors, and what they do not tell, from whoever knows. Invariant: nothing is assumed in silence.

import { basename } from "node:path";
import {
  assumedOf,
  completeVit,
  headsText,
  IMAGENET,
  type Normalisation,
  normalisationText,
  recogniseVit,
  type Told,
  type VitDescription,
} from "../formats/vit_family.ts";
import { describeEntry, type ModelEntry, MODELS } from "./manifest.ts";
import { askNeighbours } from "./told.ts";
import type { StateDict } from "../formats/tensor.ts";

export type IdentifyOptions = {
  /** What the user says. */
  readonly told?: Told | undefined;
  /** Called with what was assumed, or found and not believed. */
  onRemark?(text: string): void;
};

/** A checked extractor. */
export type Vit = { readonly tensors: StateDict; readonly vit: VitDescription };

/** How an assumption is contradicted. */
const FLAGS = "--heads N and --normalise imagenet|half|r,g,b,r,g,b";

/**
 * Tensors of any names as a network. `name`: of the model, which may be a known one. `path`: of the file, whose neighbours may know more; null without one. `remembered`: what
 * the store's record says, asked only where it is needed.
 * @throws WeightsError naming `label` if it is no ViT, or what is told of it cannot be.
 */
export async function identifyVit(
  tensors: StateDict,
  { label, name, path, remembered, told = {}, onRemark }: IdentifyOptions & {
    readonly label: string;
    readonly name: string;
    readonly path: string | null;
    remembered?(): Promise<Told | undefined>;
  },
): Promise<Vit> {
  const { published, sizes } = recogniseVit(tensors, label);
  const complete = (all: Told) => completeVit(sizes, { told: all, tensors: published, label });
  const entry = MODELS.find((entry) => entry.name === name || isFileOf(entry, path));
  if (entry && fits(entry, sizes)) {
    const known = describeEntry(entry);
    return { tensors: published, vit: complete({ heads: known.heads, normalisation: known, ...given(told) }) };
  }
  const record = { ...given(await remembered?.() ?? {}), ...given(told) };
  if (record.heads !== undefined && record.normalisation !== undefined) {
    return { tensors: published, vit: complete(record) };
  }
  const neighbours = path === null ? { told: {}, remarks: [] } : await askNeighbours(path, sizes);
  const all: Told = { ...given(neighbours.told), ...record };
  const vit = complete(all);
  const assumed = assumedOf(all, published);
  const what = [
    ...(assumed.heads ? [headsText(vit)] : []),
    ...(assumed.normalisation ? [`${normalisationText(IMAGENET)} normalisation`] : []),
  ];
  if (what.length > 0) {
    const why = neighbours.remarks.length > 0 ? neighbours.remarks.join("; ") : "its tensors do not tell";
    onRemark?.(
      `${label}: ${what.join(" and ")} ${
        what.length > 1 || assumed.heads ? "are" : "is"
      } assumed, because ${why}. ${FLAGS} say otherwise`,
    );
  }
  return { tensors: published, vit };
}

/** What is really told. */
function given({ heads, normalisation }: Told): { heads?: number; normalisation?: Normalisation } {
  return { ...(heads === undefined ? {} : { heads }), ...(normalisation === undefined ? {} : { normalisation }) };
}

/** Names of weight files that are not one model's own. */
const COMMON = /^(?:pytorch_)?model\.\w+$/;

/** Whether a file has the name under which this model is published. */
function isFileOf({ sources }: ModelEntry, path: string | null): boolean {
  const file = basename(path ?? "");
  return !COMMON.test(file) && sources.some(({ url }) => basename(new URL(url).pathname) === file);
}

/** Whether a network has the sizes of a known model. */
export function fits(
  entry: ModelEntry,
  sizes: Pick<VitDescription, "family" | "dim" | "depth" | "patch" | "grid" | "registers" | "hidden">,
): boolean {
  const known = describeEntry(entry);
  const text = ({ family, dim, depth, patch, grid, registers, hidden }: typeof sizes) =>
    `${[family, dim, depth, patch, grid, registers, hidden]}`;
  return text(known) === text(sizes);
}
