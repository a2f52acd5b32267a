/** What `run` and `invert` have in common: losses, checkpoints, and going on from one; and what is wrong with them before any work. */
import type { Command } from "commander";
import { formatProblem } from "../files/files.ts";
import { type ExtractorFlags, extractorProblems, withExtractorFlags } from "../terminal/extractor_flags.ts";
import { type Common, quietFlag, verboseFlag } from "../terminal/usage.ts";

export interface TrainingFlags extends Common, ExtractorFlags {
  readonly out?: string;
  readonly metrics?: string;
  readonly checkpoint?: string;
  readonly resume?: boolean;
  readonly json?: boolean;
}

/** Adds them to one of these commands, after its own. */
export function withTrainingFlags(command: Command, { example }: { readonly example: string }): Command {
  return withExtractorFlags(command)
    .option("--metrics <file>", "write the losses, one JSON object a step")
    .option("--checkpoint <file>", "save the state of the run every few seconds and at the end")
    .option("--resume", "go on from the checkpoint, if it is there")
    .option("--json", "print progress as JSON lines")
    .option(...quietFlag)
    .option(...verboseFlag)
    .addHelpText("after", `\nExample:\n  ${example}`);
}

/** What is missing or does not go together; `needed` are the names of the files without which there is nothing to do. */
export function trainingProblems<Flags extends TrainingFlags>(
  options: Flags,
  { action, needed }: { readonly action: string; readonly needed: readonly (keyof Flags & string)[] },
): string[] {
  const problems = needed.filter((name) => options[name] === undefined)
    .map((name) => `Cannot ${action}: --${name} FILE is missing`);
  const format = options.out === undefined ? null : formatProblem(options.out, "--out");
  if (format !== null) problems.push(format);
  problems.push(...extractorProblems(options));
  if (options.resume && options.checkpoint === undefined) {
    problems.push("Cannot use --resume: it goes on from a checkpoint; name it with --checkpoint FILE");
  }
  return problems;
}

/** The files that such a run writes, as `checkWritable` takes them. */
export function trainingFiles({ out, metrics, checkpoint }: TrainingFlags): {
  path: string;
  flag: string;
  plain?: boolean;
}[] {
  return [
    ...(out === undefined ? [] : [{ path: out, flag: "--out" }]),
    ...(metrics === undefined ? [] : [{ path: metrics, flag: "--metrics" }]),
    ...(checkpoint === undefined ? [] : [{ path: checkpoint, flag: "--checkpoint", plain: true }]),
  ];
}
