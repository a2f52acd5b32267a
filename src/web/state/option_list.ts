/**
 * The options of a transfer as the form shows them: read from the JSON Schema that the build makes from the one schema of options and embeds in the page. Names,
 * bounds, defaults and help are there and nowhere here; only what a schema has no place for, labels and what belongs together, is said below. No DOM.
 */

/** What the build embeds: `z.toJSONSchema` of the options, and what each preset sets. */
export interface OptionSource {
  readonly schema: { readonly properties: Readonly<Record<string, PropertySchema>> };
  readonly presets: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

interface PropertySchema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: string | number | boolean;
  readonly description?: string;
}

export interface OptionDescription {
  readonly name: string;
  readonly label: string;
  readonly help: string;
  readonly kind: "number" | "boolean" | "choice" | "text";
  readonly choices: readonly string[];
  /** Of numbers. */
  readonly least: number;
  readonly most: number;
  readonly whole: boolean;
  /** As text; empty where only the model or the pictures tell. */
  readonly fallback: string;
}

/** What is chosen: a preset or none, and the values that were typed over it, as text. */
export interface Choice {
  readonly preset: string | null;
  readonly values: Readonly<Record<string, string>>;
}

/** Options that deserve to be seen first; all others follow under "All options". */
export const prominent = ["model", "steps", "size", "detail", "seed", "augment"];
export const weights = ["weight_cls", "weight_ssim", "weight_id", "weight_entire_cls", "weight_entire_ssim"];

const labels: Readonly<Record<string, string>> = {
  size: "Size",
  augment: "Augmentation",
  weight_cls: "Appearance",
  weight_ssim: "Structure",
  weight_id: "Identity",
  weight_entire_cls: "Appearance, whole picture",
  weight_entire_ssim: "Structure, whole picture",
  vit_side: "Extractor’s short side",
  vit_longest: "Extractor’s long side",
  resize: "Resizing",
};

/** All options but the preset itself, in the order of the schema. */
export function describeOptions(source: OptionSource): OptionDescription[] {
  return Object.entries(source.schema.properties).filter(([name]) => name !== "preset").map(([name, property]) => ({
    name,
    label: labels[name] ?? sentence(name.replaceAll("_", " ")),
    help: sentence(property.description ?? ""),
    kind: property.enum
      ? "choice"
      : property.type === "boolean"
      ? "boolean"
      : property.type === "string"
      ? "text"
      : "number",
    choices: property.enum ?? [],
    least: property.minimum ?? -Infinity,
    most: property.maximum ?? Infinity,
    whole: property.type === "integer",
    fallback: property.default === undefined ? "" : String(property.default),
  }));
}

/** The value that counts for an option: what was typed, else the preset's, else the default. */
export function valueOf(
  option: OptionDescription,
  { choice, source }: { choice: Choice; source: OptionSource },
): string {
  return choice.values[option.name] ?? untouched(option, { choice, source });
}

/** The value that counts if nothing is typed. */
export function untouched(
  option: OptionDescription,
  { choice, source }: { choice: Choice; source: OptionSource },
): string {
  const preset = choice.preset === null ? undefined : source.presets[choice.preset]?.[option.name];
  return preset === undefined ? option.fallback : String(preset);
}

/** What is wrong with a typed value, or null. The server has the last word; this one comes sooner. */
export function complaint(option: OptionDescription, text: string): string | null {
  if (option.kind !== "number" || text.trim() === "") return null;
  const value = Number(text);
  if (
    Number.isFinite(value) && value >= option.least && value <= option.most &&
    (!option.whole || Number.isInteger(value))
  ) {
    return null;
  }
  return `Type a ${option.whole ? "whole " : ""}number from ${option.least} to ${option.most}.`;
}

/** The fields to send: the preset, and what differs from it. An emptied field goes back to the default. */
export function fieldsOf(
  options: readonly OptionDescription[],
  { choice, source }: { choice: Choice; source: OptionSource },
): Record<string, string> {
  const fields: Record<string, string> = choice.preset === null ? {} : { preset: choice.preset };
  for (const option of options) {
    const typed = choice.values[option.name]?.trim();
    if (typed !== undefined && typed !== "" && typed !== untouched(option, { choice, source })) {
      fields[option.name] = typed;
    }
  }
  return fields;
}

/** The choice that gives a job's options again: its preset with what differs from it. */
export function choiceOf(
  job: Readonly<Record<string, unknown>>,
  { options, source }: { options: readonly OptionDescription[]; source: OptionSource },
): Choice {
  const preset = typeof job.preset === "string" && job.preset in source.presets ? job.preset : null;
  const values: Record<string, string> = {};
  for (const option of options) {
    const value = job[option.name];
    const text = value === undefined || value === null ? "" : String(value);
    if (text !== untouched(option, { choice: { preset, values: {} }, source })) values[option.name] = text;
  }
  return { preset, values };
}

/** Begins with a capital, and has its apostrophes right. */
function sentence(text: string): string {
  return text === "" ? "" : (text[0].toUpperCase() + text.slice(1)).replaceAll("'", "’");
}
