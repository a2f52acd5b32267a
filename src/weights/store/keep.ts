// Putting weights into the store: converted to one safetensors file in the published names and order, so that one model gives the same bytes
// whichever file it comes from, and described in its record. It fetches nothing. Invariant: under a model's name there is a whole file or none.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { withModelLock } from "./lock.ts";
import type { Contents } from "../formats/contents.ts";
import type { VitDescription } from "../formats/vit_family.ts";
import { fits, type IdentifiedVit, type IdentifyOptions, identifyVit, type Vit } from "./identify.ts";
import { describeEntry, MODELS } from "./manifest.ts";
import { type Copy, remember, type Sight } from "./record.ts";
import { sweepLeftovers } from "./remove.ts";
import { encodeSafetensors } from "../formats/safetensors.ts";
import { openWeights } from "../formats/opening.ts";
import { isModelName } from "./store.ts";
import { type HostTensor, quote, WeightsError, writeWholeFile } from "../formats/tensor.ts";

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
/**
 * The ViT in a weight file of any format, to be stored as `name`; `label` names it in errors. `path`: of the file, where other files may lie beside it.
 * @throws WeightsError if it is anything else, or not the known model `name`.
 */
export async function checkedVit(
  contents: Contents,
  label: string,
  { path = null, ...options }: IdentifyOptions & { readonly name: string; readonly path?: string | null },
): Promise<IdentifiedVit> {
  const { name } = options;
  const weights = await identifyVit(contents, { ...options, label, path });
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
  if (entry === undefined || fits(entry, vit)) return;
  const text = ({ dim, depth, patch, grid, registers }: VitDescription) =>
    `width ${dim}, ${depth} blocks, patches of ${patch}, ` +
    (grid === 0 ? "rotary positions" : `made for ${grid * patch} px`) +
    (registers > 0 ? `, ${registers} registers` : "");
  throw new WeightsError(
    `Cannot use ${label} as ${name}: it has ${text(vit)}, and ${name} has ${
      text(describeEntry(entry))
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
  const bytes = encodeSafetensors(tensors, {
    dtype: options.half ? halfOfMatrices : "f32",
    metadata: { format: "pt" },
  });
  const copy: Copy = {
    file: `${name}.safetensors`,
    dtype,
    bytes: bytes.length,
    sha256: sha256Of(bytes),
    licence: MODELS.find((model) => model.name === name)?.licence ?? options.licence,
    network: { heads: vit.heads, normalisation: { mean: [...vit.mean], deviation: [...vit.deviation] } },
    source: options.source,
    when: new Date().toISOString(),
  };
  await remember(options.folder, name, { copy, sight: options.sight, named: options.named });
  await writeWholeFile(join(options.folder, copy.file), bytes);
  return copy;
}

/**
 * Stores a weight file of any format under `name`, or the shards of an index. `remarks` as `identifyVit` has them.
 * @throws WeightsError if it is no ViT, or cannot be written.
 */
export async function importModel(
  name: string,
  file: string,
  { network, told, ...options }: Pick<KeepOptions, "folder" | "half" | "licence" | "named"> & IdentifyOptions & {
    signal: AbortSignal;
    onWait: () => void;
  },
): Promise<{ readonly copy: Copy; readonly vit: VitDescription; readonly remarks: readonly string[] }> {
  const { contents, path, from, files } = await openWeights(file);
  const weights = await checkedVit(contents, file, { name, path, network, told });
  const source = {
    from,
    revision: null,
    bytes: files.reduce((sum, { length }) => sum + length, 0),
    sha256: sha256Of(...files),
    network: weights.network,
  };
  return await withModelLock(name, async () => {
    const copy = await keepVit(name, weights, { ...options, source, sight: null });
    await sweepLeftovers(options.folder, name);
    return { copy, vit: weights.vit, remarks: weights.remarks };
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
