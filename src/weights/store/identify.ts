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
  type VitSizes,
} from "../formats/vit_family.ts";
import { describeEntry, type ModelEntry, MODELS } from "./manifest.ts";
import { askNeighbours } from "./told.ts";
import { type Contents, detached, readTensors } from "../formats/contents.ts";
import { takeNetwork } from "../formats/networks.ts";
import type { StateDict, Weights } from "../formats/tensor.ts";

/** What the user says. */
export type IdentifyOptions = {
  /** Which of the file's networks, where it has several. */
  readonly network?: string | undefined;
  readonly told?: Told | undefined;
};

/** A checked extractor. */
export type Vit = { readonly tensors: StateDict; readonly vit: VitDescription };

/** One on its way from a file. `network` as `takeNetwork` says; `remarks`: what was taken, left out, assumed, or found and not believed, a sentence each. */
export type IdentifiedVit = Weights & {
  readonly vit: VitDescription;
  readonly network: string | null;
  readonly remarks: readonly string[];
};

/** How an assumption is contradicted. */
const HEADS_FLAG = "--heads N";
const NORMALISE_FLAG = "--normalise imagenet|half|r,g,b,r,g,b";

/**
 * The network in a file's contents, under the published names, checked; of the others nothing is read. `name`: of the model, which may be a known one. `path`: of the
 * file, whose neighbours may know more; null without one. `remembered`: what the store's record says, asked only where it is needed.
 * @throws WeightsError naming `label` if it is no ViT, or what is told of it cannot be.
 */
export async function identifyVit(
  contents: Contents,
  { network, ...place }: Place & IdentifyOptions,
): Promise<IdentifiedVit> {
  const taken = takeNetwork(contents, place.label, network);
  const { published, sizes } = recogniseVit(detached(readTensors(taken.tensors)), place.label);
  const { vit, remarks } = await described(published, sizes, place);
  return {
    tensors: published,
    metadata: contents.metadata,
    vit,
    network: taken.network,
    remarks: [...taken.remarks, ...remarks],
  };
}

type Place = {
  readonly label: string;
  readonly name: string;
  readonly path: string | null;
  remembered?(): Promise<Told | undefined>;
};

/** What the network's own tensors tell, and of the rest what the first says who knows. */
async function described(
  published: StateDict,
  sizes: VitSizes,
  { label, name, path, remembered, told = {} }: Place & Pick<IdentifyOptions, "told">,
): Promise<{ readonly vit: VitDescription; readonly remarks: readonly string[] }> {
  const complete = (all: Told) => completeVit(sizes, { told: all, tensors: published, label });
  const entry = MODELS.find((entry) => entry.name === name || isFileOf(entry, path));
  if (entry && fits(entry, sizes)) {
    const known = describeEntry(entry);
    return { vit: complete({ heads: known.heads, normalisation: known, ...given(told) }), remarks: [] };
  }
  const record = { ...given(await remembered?.() ?? {}), ...given(told) };
  if (record.heads !== undefined && record.normalisation !== undefined) {
    return { vit: complete(record), remarks: [] };
  }
  const neighbours = path === null ? { told: {}, remarks: [] } : await askNeighbours(path, sizes);
  const all: Told = { ...given(neighbours.told), ...record };
  const vit = complete(all);
  const assumed = assumedOf(all, published);
  const what = [
    ...(assumed.heads ? [headsText(vit)] : []),
    ...(assumed.normalisation ? [`${normalisationText(IMAGENET)} normalisation`] : []),
  ];
  if (what.length === 0) return { vit, remarks: [] };
  const why = neighbours.remarks.length > 0 ? neighbours.remarks.join("; ") : "its tensors do not tell";
  const otherwise = assumed.heads && assumed.normalisation
    ? `${HEADS_FLAG} and ${NORMALISE_FLAG} say otherwise`
    : `${assumed.heads ? HEADS_FLAG : NORMALISE_FLAG} says otherwise`;
  const are = what.length > 1 || assumed.heads ? "are" : "is";
  const remark = `${label}: ${what.join(" and ")} ${are} assumed, because ${why}. ${otherwise}`;
  return { vit, remarks: [remark] };
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
