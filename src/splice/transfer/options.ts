/**
 * What a schema of options says, made useful: texts of forms and flags read as what an option is, one message an option that is wrong, the command line's flags.
 * It knows no option by name. Invariant: names, types, defaults, bounds and help come from the schema alone.
 */
import { z } from "zod";

/** Options in the order of help: numbers, booleans, texts and choices, with a default, optional or required. */
export type OptionSchema = z.ZodObject<z.core.$ZodLooseShape>;

/** What is wrong with one option: `message` says what, why and what is wanted instead. */
export interface OptionError {
  readonly field: string;
  readonly message: string;
}

/**
 * Completes and checks options as they come from a command line, a form (text for numbers and booleans) or JSON. What is absent or undefined takes its value from
 * `start`, which sees what was given, else its default. Reports everything that is wrong at once, one message an option.
 */
export function parseOptions<Schema extends OptionSchema>(
  schema: Schema,
  input: Readonly<Record<string, unknown>>,
  start?: (given: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>> | undefined,
): { ok: true; options: z.output<Schema> } | { ok: false; errors: OptionError[] } {
  const given = Object.fromEntries(
    Object.entries(input).filter(([, value]) => value !== undefined).map((
      [name, value],
    ) => [name, fromText(schema, name, value)]),
  );
  const parsed = schema.safeParse({ ...start?.(given), ...given });
  if (parsed.success) return { ok: true, options: parsed.data };
  const errors = new Map<string, string>();
  for (const issue of parsed.error.issues) {
    if (issue.code === "unrecognized_keys") {
      for (const name of issue.keys) {
        errors.set(
          name,
          `Cannot use ${name}: there is no such option; did you mean ${closestName(name, Object.keys(schema.shape))}?`,
        );
      }
      continue;
    }
    const name = String(issue.path[0]);
    if (errors.has(name)) continue;
    const why = issue.code === "custom" ? issue.message : `it must be ${expectation(schema, name)}`;
    const missing = input[name] === undefined && issue.code !== "custom";
    errors.set(
      name,
      missing ? `Cannot do without ${name}: ${why}` : `Cannot use ${name} = ${shown(input[name])}: ${why}`,
    );
  }
  return { ok: false, errors: Array.from(errors, ([field, message]) => ({ field, message })) };
}

/** One option of the command line, made from the schema. */
export interface OptionFlag<Name extends string = string> {
  readonly name: Name;
  /** As commander reads it: `--weight-cls <number>`, or `--no-augment` for what is on by default. */
  readonly flag: string;
  readonly description: string;
  /** For help only: hand it to the parser as a value, and it would win over a preset. */
  readonly default: string | number | boolean | undefined;
}

/** The command line's options, in the order of help. */
export function flagsOf<Name extends string>(schema: OptionSchema, names: readonly Name[]): OptionFlag<Name>[] {
  return names.map((name) => {
    const { kind, fallback, description, choices } = describe(schema, name);
    const dashed = name.replaceAll("_", "-");
    if (kind === "boolean" && fallback === true) {
      return { name, flag: `--no-${dashed}`, description: `do not ${description}`, default: undefined };
    }
    const value = choices
      ? ` <${choices.join("|")}>`
      : kind === "boolean"
      ? ""
      : kind === "number"
      ? " <number>"
      : " <text>";
    return { name, flag: `--${dashed}${value}`, description, default: fallback };
  });
}

/** A value as messages quote it. */
function shown(value: unknown): string {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

interface Described {
  readonly kind: "number" | "boolean" | "string";
  readonly fallback: string | number | boolean | undefined;
  readonly description: string;
  readonly choices?: readonly string[];
  /** Of numbers: the bounds, and whether they are whole. */
  readonly range?: { readonly least: number; readonly most: number; readonly whole: boolean };
}

/** What the schema says of one option. */
function describe(schema: OptionSchema, name: string): Described {
  const outer = schema.shape[name];
  const fallback = outer instanceof z.ZodDefault ? outer.def.defaultValue as Described["fallback"] : undefined;
  const inner = outer instanceof z.ZodDefault || outer instanceof z.ZodOptional ? outer.unwrap() : outer;
  const common = { fallback, description: outer instanceof z.ZodType ? outer.description ?? "" : "" };
  if (inner instanceof z.ZodEnum) return { ...common, kind: "string", choices: inner.options.map(String) };
  if (inner instanceof z.ZodBoolean) return { ...common, kind: "boolean" };
  if (inner instanceof z.ZodString) return { ...common, kind: "string" };
  if (!(inner instanceof z.ZodNumber)) throw new Error(`Bug: the option ${name} is of no kind that is known here`);
  const range = { least: inner.minValue ?? -Infinity, most: inner.maxValue ?? Infinity, whole: inner.isInt };
  return { ...common, kind: "number", range };
}

/** What a value of this option has to be, for messages. */
function expectation(schema: OptionSchema, name: string): string {
  const { kind, choices, range } = describe(schema, name);
  if (choices) return choices.join(" or ");
  if (range) return `a ${range.whole ? "whole " : ""}number from ${range.least} to ${range.most}`;
  return kind === "boolean" ? "true or false" : "a name";
}

/** Forms and flags carry text: reads it as the option's own type where it can, and leaves the rest for the schema to refuse. */
function fromText(schema: OptionSchema, name: string, value: unknown): unknown {
  if (typeof value !== "string" || !Object.hasOwn(schema.shape, name)) return value;
  const { kind } = describe(schema, name);
  const text = value.trim();
  if (kind === "number") return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : value;
  if (kind === "boolean") return text === "true" ? true : text === "false" ? false : value;
  return text;
}

function closestName(name: string, names: readonly string[]): string {
  const plain = name.toLowerCase().replaceAll("-", "_");
  return names.map((known) => ({ known, far: editDistance(plain, known) })).reduce((best, one) =>
    one.far < best.far ? one : best
  ).known;
}

/** Levenshtein's distance: how many characters to insert, delete or replace. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      row.push(Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    above = row;
  }
  return above[b.length];
}
