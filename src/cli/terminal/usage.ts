/**
 * What the command line itself refuses, before any work: exit code 2. All that is wrong is said at once, a line each.
 */
import { type Command, InvalidArgumentError } from "commander";

export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** Options that every command with work to do has. */
export interface Common {
  readonly verbose?: boolean;
  readonly quiet?: boolean;
}

/** Where models are kept, of every command that takes one; `modelStore` of surroundings.ts understands it. */
export interface ModelsOption {
  readonly models?: string | undefined;
}

export const modelsFlag = [
  "--models <folder>",
  "where models are kept (default: SPLICE_MODELS, or splice/models in the user's data folder)",
] as const;

/** A word as it can be pasted into a shell. */
export const shellWord = (text: string) => /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

export const verboseFlag = ["--verbose", "show where an error came from"] as const;
export const quietFlag = ["--quiet", "print errors only"] as const;

/** Options of a schema that were given by the user: a default handed on would win over a preset. */
export function givenRecipe<Name extends string>(
  command: Command,
  names: readonly Name[],
): Partial<Record<Name, unknown>> {
  const attributes = new Map(command.options.map((option) => [option.name().replace(/^no-/, ""), option]));
  const given: Partial<Record<Name, unknown>> = {};
  for (const name of names) {
    const attribute = attributes.get(name.replaceAll("_", "-"))?.attributeName();
    if (attribute && command.getOptionValueSource(attribute) === "cli") given[name] = command.getOptionValue(attribute);
  }
  return given;
}

/** A recipe's complaint, naming the option as it is typed: `weight_cls` is `--weight-cls`. */
export function asFlag(message: string): string {
  return message.replace(
    /^(Cannot use|Cannot do without) (\w+)/,
    (_, what: string, name: string) => `${what} --${name.replaceAll("_", "-")}`,
  );
}

/** For an option that takes a number. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`it must be a whole number from ${least} to ${most}`);
  };
}
