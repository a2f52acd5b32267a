/**
 * The kinds of work that a job can be: which pictures each takes, by which options, and how a form's fields are read as such. What is done with them, training.ts says.
 * Invariant: this is the only list of kinds; the store, the pipe and the routes go by it.
 */
import { z } from "zod";
import { inversionSchema, parseInversion } from "../../splice/instruments/inversion_options.ts";
import { parseRecipe, recipeSchema } from "../../splice/transfer/recipe.ts";

export const kindSchema = z.enum(["splice", "invert"]).describe(
  "splice: a photograph gets the appearance of another; invert: a picture is painted in which the extractor sees what it sees in a photograph",
);
export type JobKind = z.infer<typeof kindSchema>;

/** What is to be done: a job's kind, and the options of that kind. */
export const workSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("splice"), options: recipeSchema }),
  z.strictObject({ kind: z.literal("invert"), options: inversionSchema }),
]);
export type Work = z.infer<typeof workSchema>;

export type InputName = "structure" | "appearance" | "image";

/** The pictures that each kind needs, by the names of their form fields and files. */
export const INPUTS: Readonly<Record<JobKind, readonly InputName[]>> = {
  splice: ["structure", "appearance"],
  invert: ["image"],
};

/** Completes and checks the options of a kind, as `parseOptions` does. */
export function parseWork(
  kind: JobKind,
  fields: Readonly<Record<string, unknown>>,
): { ok: true; work: Work } | { ok: false; errors: { field: string; message: string }[] } {
  if (kind === "invert") {
    const parsed = parseInversion(fields);
    return parsed.ok ? { ok: true, work: { kind, options: parsed.recipe } } : parsed;
  }
  const parsed = parseRecipe(fields);
  return parsed.ok ? { ok: true, work: { kind, options: parsed.recipe } } : parsed;
}

/** The work alone of what has more to it, with the model that is named. */
export function workOf(job: Work, model = job.options.model): Work {
  return job.kind === "splice"
    ? { kind: job.kind, options: { ...job.options, model } }
    : { kind: job.kind, options: { ...job.options, model } };
}
