/** The model that a job asks for by its name, as a file of this machine. */
import { listModels, type StoreOptions } from "../../weights/store/store.ts";
import { Fault } from "../model/job.ts";

/**
 * The file of a model of the store, or of the best one that is here. Strangers are told names, not folders.
 * @throws Fault unknown_model
 */
export async function findModelForJob(name: string | undefined, models: StoreOptions): Promise<string> {
  const present = (await listModels(models)).filter(({ path }) => path !== null);
  const found = present.find((model) => name === undefined ? model.entry !== null : model.name === name)?.path;
  if (found) return found;
  throw unknownModel(name, present.map((model) => model.name));
}

/** What is told where there is no such model, but those of `names`. */
export function unknownModel(name: string | undefined, names: readonly string[]): Fault {
  const message = `Cannot use ${name === undefined ? "any model" : `model = ${JSON.stringify(name.slice(0, 60))}`}: ` +
    (names.length > 0
      ? `it is not on this server; use one of ${names.join(", ")}, or ask its operator to add the model`
      : "no model is on this server; its operator has to add one");
  return new Fault("unknown_model", message, { errors: [{ field: "model", message }] });
}
