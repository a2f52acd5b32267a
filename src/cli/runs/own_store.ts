/** What commands that change the store have in common: its folder of the user's own, and which names it may hold. */
import { nameProblem } from "../../weights/store/keep.ts";
import { isBundled, MODELS } from "../../weights/store/manifest.ts";
import { type Common, UsageError } from "../terminal/usage.ts";
import { modelStore } from "./surroundings.ts";

/** The store with a folder of the user's own. @throws UsageError where there is none */
export function ownStore(given: string | undefined) {
  const { own, ...store } = modelStore(given);
  if (own === null) throw new UsageError(["Cannot keep models: there is no home folder; name a folder with --models"]);
  return { ...store, own };
}

export const sayWaiting = (name: string, { quiet }: Common) => () => {
  if (!quiet) console.error(`Another process is busy with ${name}: waiting for it`);
};

/** `verb`: what is not done to a model that comes with the program; null where nothing is. */
export function nameProblems(name: string, verb: string | null): string[] {
  const problem = nameProblem(name);
  if (problem !== null) return [problem];
  const bundled = verb !== null && MODELS.some((model) => model.name === name && isBundled(model));
  return bundled ? [`Cannot ${verb} ${name}: the model of that name comes with the program; choose another`] : [];
}
