/** The extractor that a command works with: found by a store name or a path, read, and described; what had to be assumed of it is said on stderr. */
import type { Extractor } from "../../splice/transfer/extractor.ts";
import { loadVit, modelName, resolveModel } from "../../weights/store/store.ts";
import { type ToldFlags, toldOf } from "../terminal/told_flags.ts";
import { modelStore } from "./surroundings.ts";

export interface OpenedExtractor {
  readonly extractor: Extractor;
  /** What people call it. */
  readonly model: string;
}

/** @throws WeightsError if it is not there, or no ViT. */
export async function openExtractor(
  model: string | undefined,
  { models, quiet, ...told }: ToldFlags & {
    /** Where models are kept, if not in the usual folder. */
    readonly models?: string | undefined;
    readonly quiet?: boolean | undefined;
  },
): Promise<OpenedExtractor> {
  const path = await resolveModel(model, modelStore(models));
  const extractor = await loadVit(path, {
    told: toldOf(told),
    onRemark(text) {
      if (!quiet) console.error(text);
    },
  });
  return { extractor, model: modelName(path) };
}
