/**
 * The extractor that a command was asked for: a model of the store, or a file with one, which may hold several and much else. What was chosen of it, what was left
 * out, and what had to be assumed is said.
 */
import type { Extractor } from "../../splice/transfer/extractor.ts";
import { loadVit, modelName, resolveModel } from "../../weights/store/store.ts";
import { type ExtractorFlags, identifyOptions } from "../terminal/extractor_flags.ts";
import { modelStore } from "./surroundings.ts";

/** `name` is the model's, as people say it. */
export type NamedExtractor = Extractor & { readonly name: string };

/** `model` is a name of the store or a path, by default the best that is here. @throws WeightsError */
export async function openExtractor(
  model: string | undefined,
  flags: ExtractorFlags,
  say: (remark: string) => void,
): Promise<NamedExtractor> {
  const path = await resolveModel(model, modelStore(flags.models));
  const { tensors, vit, remarks } = await loadVit(path, identifyOptions(flags));
  remarks.forEach(say);
  return { tensors, vit, name: modelName(path) };
}

/** For commands that have nobody else to say it. */
export const sayUnless = (quiet: boolean | undefined) => (remark: string) => {
  if (!quiet) console.error(remark);
};
