/** What tells the kinds of jobs apart: their inputs, their names, their options. Pure; the one place on the page that looks at a job's kind. */
import type { Job } from "../../jobs/model/job.ts";

/** A picture that a job was made of. */
export interface Input {
  readonly name: "structure" | "appearance" | "image";
  readonly title: string;
  readonly url: string;
}

const titles = { structure: "Structure", appearance: "Appearance", image: "Photograph" } as const;

/** It paints what an extractor saw; the other kind gives one photograph the looks of another. */
export const isInversion = (job: Job): boolean => (job.kind as string) === "invert";

/** The pictures a job was made of; the first is the one whose place the result takes. */
export function inputsOf(job: Job): readonly Input[] {
  const urls: Readonly<Record<string, string | null>> = job.urls;
  const names = isInversion(job) ? ["image"] as const : ["structure", "appearance"] as const;
  return names.flatMap((name) => urls[name] ? [{ name, title: titles[name], url: urls[name] }] : []);
}

/** The options of any kind, by name. */
export const optionsOf = (job: Job): Readonly<Record<string, unknown>> => job.options;

/** The option as text, null where the model or the picture tells. */
export function optionOf(job: Job, name: string): string | null {
  const value = optionsOf(job)[name];
  return value === undefined || value === null ? null : String(value);
}

/** Which feature an inversion keeps, as a person says it. */
export function featureWords(feature: string | null): string {
  return feature === "cls" ? "Appearance" : "Structure";
}

/** What a job is, in a word or two, where jobs of all kinds stand beside each other. */
export function kindWords(job: Job): string {
  return isInversion(job) ? `Inversion, ${featureWords(optionOf(job, "feature")).toLowerCase()}` : "Transfer";
}
