// Putting weights into the store: converted to one safetensors file in the published names and order, so that one model gives the same bytes
// whichever file it comes from, and described in its record. It fetches nothing. Invariant: under a model's name there is a whole file or none.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { withModelLock } from "./lock.ts";
import type { Contents } from "../formats/contents.ts";
import { inPublishedOrder, type VitDescription } from "../formats/names.ts";
import { type Copy, remember, type Sight } from "./record.ts";
import { sweepLeftovers } from "./remove.ts";
import { encodeSafetensors } from "../formats/safetensors.ts";
import { openWeights } from "../formats/opening.ts";
import { isModelName, type LoadedVit, MODELS, vitIn } from "./store.ts";
import { type HostTensor, quote, type StateDict, WeightsError, writeWholeFile } from "../formats/tensor.ts";

/** A checked extractor. */
export type Vit = { readonly tensors: StateDict; readonly vit: VitDescription };

export type KeepOptions = {
  readonly folder: string;
  /** The matrices as f16: half the size. */
  readonly half: boolean;
  /** Of a known model its own is taken. */
  readonly licence: string | null;
  readonly source: Copy["source"];
  readonly sight: Sight | null;
  /** As `StoreOptions`: for what an error says to do. */
  readonly named?: string | undefined;
};

/** A complaint about a name that no model of a store can have, or null. */
export function nameProblem(name: string): string | null {
  if (!isModelName(name)) {
    return `Cannot use the name ${
      quote(name)
    }: a model's name is letters, digits, ".", "_" and "-", at most 100, and begins with a letter or digit`;
  }
  if (/\.(?:safetensors|pth|bin|json)$/.test(name)) {
    return `Cannot use the name ${quote(name)}: it ends like a file; leave the ending out`;
  }
  return null;
}

/**
 * The DINO-ViT in a weight file of any format, to be stored as `name`; `label` names it in errors, `network` is the one to take.
 * @throws WeightsError if it is anything else, or not the known model `name`
 */
export function checkedVit(
  contents: Contents,
  label: string,
  { name, network }: { name: string; network?: string | undefined },
): LoadedVit {
  const weights = vitIn(contents, label, network);
  checkIsModel(name, weights.vit, label);
  for (const [tensor, { data }] of weights.tensors) {
    if (!data.every(Number.isFinite)) {
      throw new WeightsError(
        `Cannot use ${label}: ${
          quote(tensor)
        } holds values that are not finite numbers. Fetch the file again, or use another one.`,
      );
    }
  }
  return weights;
}

/** The server plans by a known model's name alone: under it lies that model and no other. @throws WeightsError */
export function checkIsModel(name: string, vit: VitDescription, label: string): void {
  const entry = MODELS.find((model) => model.name === name);
  if (entry === undefined) return;
  const text = (sizes: Pick<VitDescription, "dim" | "depth" | "patch" | "native">) =>
    `width ${sizes.dim}, ${sizes.depth} blocks, patches of ${sizes.patch}, made for ${sizes.native} px`;
  if (text(entry) === text(vit)) return;
  throw new WeightsError(
    `Cannot use ${label} as ${name}: it has ${text(vit)}, and ${name} has ${
      text(entry)
    }. Use another name for it, or fetch the file of ${name}.`,
  );
}

/** Stores an extractor under `name`, replacing what is there. The caller holds the model's lock. @throws WeightsError if it cannot be written. */
export async function keepVit(
  name: string,
  { tensors, vit }: Vit,
  options: KeepOptions,
): Promise<Copy> {
  const dtype = options.half ? "f16" : "f32";
  const bytes = encodeSafetensors(inPublishedOrder(tensors, vit), {
    dtype: options.half ? halfOfMatrices : "f32",
    metadata: { format: "pt" },
  });
  const copy: Copy = {
    file: `${name}.safetensors`,
    dtype,
    bytes: bytes.length,
    sha256: sha256Of(bytes),
    licence: MODELS.find((model) => model.name === name)?.licence ?? options.licence,
    source: options.source,
    when: new Date().toISOString(),
  };
  await remember(options.folder, name, { copy, sight: options.sight, named: options.named });
  await writeWholeFile(join(options.folder, copy.file), bytes);
  return copy;
}

/**
 * Stores a weight file of any format under `name`, or the shards of an index; `network` is the one to take of several, `onNote` is told what was chosen.
 * @throws WeightsError if it is no DINO-ViT, or cannot be written
 */
export async function importModel(
  name: string,
  file: string,
  { network, onNote, ...options }:
    & Pick<KeepOptions, "folder" | "half" | "licence" | "named">
    & { network?: string | undefined; signal: AbortSignal; onWait: () => void; onNote?: (remark: string) => void },
): Promise<Copy> {
  const { contents, from, files } = await openWeights(file);
  const vit = checkedVit(contents, file, { name, network });
  const source = {
    from,
    revision: null,
    bytes: files.reduce((sum, { length }) => sum + length, 0),
    sha256: sha256Of(...files),
    network: vit.network,
  };
  for (const remark of vit.remarks) onNote?.(remark);
  return await withModelLock(name, async () => {
    const copy = await keepVit(name, vit, { ...options, source, sight: null });
    await sweepLeftovers(options.folder, name);
    return copy;
  }, options);
}

/** Biases, norms, [CLS] and positions take hardly any room, and a quarter of the error comes from them. */
function halfOfMatrices(name: string, { shape }: HostTensor): "f32" | "f16" {
  return shape.length > 1 && name.endsWith(".weight") ? "f16" : "f32";
}

/** Of several files that of one after the other. */
export function sha256Of(...files: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const bytes of files) hash.update(bytes);
  return hash.digest("hex");
}
