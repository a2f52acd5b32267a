// The models that the program knows by name: what they are, where they are published, under which licence. The list comes with the program (models/manifest.json); what is on
// this machine, store.ts finds. Invariant: an entry says all of its network that tensors do not tell.

import { z } from "zod";
import bundled from "../../../models/manifest.json" with { type: "json" };
import { completeVit, HEAD, type VitDescription, type VitSizes } from "../formats/vit_family.ts";
import { messageOf, WeightsError } from "../formats/tensor.ts";

export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().positive();

/**
 * One model of the manifest. `sources` are addresses to fetch it from, best first; sizes and checksums are there where they are known. `native` is the side of the square picture
 * whose position embedding was published; there is none with rotary positions. All heads have 64 channels, and all see what ImageNet's mean and deviation make of a picture.
 */
const ModelEntry = z.strictObject({
  name: z.string().regex(NAME),
  file: z.string().regex(NAME),
  about: z.string(),
  licence: z.string(),
  family: z.enum(["dino", "dinov2", "dinov3"]),
  dim: count.multipleOf(HEAD),
  depth: count,
  patch: count,
  native: count.optional(),
  registers: z.number().int().nonnegative().default(0),
  /** Of a SwiGLU; other MLPs are four times as wide as the network. */
  gated_hidden: count.optional(),
  parameters: count,
  megabytes: z.number().positive(),
  bytes: count.optional(),
  sha256: Sha256.optional(),
  sources: z.array(z.strictObject({
    format: z.enum(["pth", "safetensors"]),
    url: z.url({ protocol: /^https$/ }),
    revision: z.string().optional(),
    bytes: count.optional(),
    sha256: Sha256.optional(),
  })),
  /** Where somebody who has accepted the licence fetches it by hand: no address gives it to others. */
  gated: z.array(z.url({ protocol: /^https$/ })).min(1).optional(),
});
const Manifest = z.strictObject({ version: z.literal(1), models: z.array(ModelEntry).min(1) });

export type ModelEntry = z.infer<typeof ModelEntry>;

/** The known models, best first. @throws WeightsError naming `label` if `text` is not a manifest. */
export function parseManifest(text: string, label: string): readonly ModelEntry[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new WeightsError(
      `Cannot read ${label}: it is not JSON (${messageOf(cause)}). Restore the file of this version.`,
      { cause },
    );
  }
  const parsed = Manifest.safeParse(json);
  if (parsed.success) return parsed.data.models;
  const [issue] = parsed.error.issues;
  throw new WeightsError(
    `Cannot read ${label}: ${issue.path.join(".")}: ${issue.message}. Restore the file of this version.`,
  );
}

/** The manifest that came with the program, in the order in which models are preferred. */
export const MODELS: readonly ModelEntry[] = parseManifest(JSON.stringify(bundled), "models/manifest.json");

/** Whether a model comes with the program. */
export const isBundled = ({ sources, gated }: ModelEntry) => sources.length === 0 && gated === undefined;

/** What a known model is, by its entry alone. */
export function describeEntry(entry: ModelEntry): VitDescription {
  const { family, dim, depth, patch, native, registers, gated_hidden } = entry;
  const sizes: VitSizes = {
    family,
    dim,
    depth,
    patch,
    positions: family === "dinov3" ? "rotary" : registers > 0 ? "antialias" : family,
    grid: native === undefined ? 0 : native / patch,
    clsPosition: native !== undefined,
    registers,
    hidden: gated_hidden ?? 4 * dim,
    gated: gated_hidden !== undefined,
    layerScale: family !== "dino",
  };
  return completeVit(sizes, { told: {}, tensors: new Map(), label: entry.name });
}
