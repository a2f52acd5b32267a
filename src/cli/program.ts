/**
 * The command line: which commands there are, and how their failures end. A command's file says its options; what does its work is
 * imported only when it runs, so that help is quick.
 */
import { Command, CommanderError } from "commander";
import config from "../../deno.json" with { type: "json" };
import { addApply } from "./commands/apply.ts";
import { addAttention } from "./commands/attention.ts";
import { addBench } from "./commands/bench.ts";
import { addDemo } from "./commands/demo.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addEvaluate } from "./commands/evaluate.ts";
import { addFeatures } from "./commands/features.ts";
import { addInvert } from "./commands/invert.ts";
import { confine } from "./launch.ts";
import { addModels } from "./commands/models.ts";
import { addPca } from "./commands/pca.ts";
import { addRun } from "./commands/run.ts";
import { addServe } from "./commands/serve.ts";
import { addSheet } from "./commands/sheet.ts";
import { addSimilarity } from "./commands/similarity.ts";
import { heedNohup } from "./terminal/signals.ts";
import { EXIT, UsageError } from "./terminal/usage.ts";
import { addWork } from "./commands/work.ts";
import { addWorker } from "./commands/worker.ts";

/** Runs one command. Resolves to the exit code: 0 done, 1 failed, 2 bad usage, 130 interrupted. */
export async function main(args: readonly string[]): Promise<number> {
  heedNohup();
  let code: number = EXIT.done;
  const finish = (result: number) => {
    code = result;
  };
  const program = new Command("splice")
    .description("Gives one photograph the appearance of another: a generator is trained for the pair, on your GPU.")
    .version(config.version, "--version", "print the version")
    .helpOption("-h, --help", "print help; `splice COMMAND --help` prints a command's options")
    .helpCommand("help [command]", "print help for a command")
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .configureOutput({ outputError: (text, write) => write(complaint(text)) })
    .showSuggestionAfterError()
    .exitOverride()
    .addHelpText("after", "\nTo begin: splice demo");
  for (
    const add of [
      addRun,
      addApply,
      addFeatures,
      addPca,
      addAttention,
      addSimilarity,
      addInvert,
      addEvaluate,
      addSheet,
      addModels,
      addDemo,
      addServe,
      addWork,
      addBench,
      addDoctor,
      addWorker,
    ]
  ) {
    add(program, finish);
  }
  const verbose = args.includes("--verbose");
  await confine(args[0] ?? "help");
  try {
    const wanted = args[0] === "help" ? args[1] : args[0];
    const known = wanted === undefined || wanted.startsWith("-") || wanted === "help" ||
      program.commands.some((command) => command.name() === wanted);
    if (!known) throw new UsageError([unknownCommand(wanted, program)]);
    const garbled = args.filter((word) => word.includes("\ufffd")).map(notText);
    if (garbled.length > 0) throw new UsageError(garbled);
    if (args.length === 0) program.outputHelp();
    else await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    report(error, verbose);
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
}

/** One line: what is wrong, what to do. The stack is for those who ask for it. */
function report(error: unknown, verbose: boolean): void {
  const lines = error instanceof UsageError
    ? error.problems
    : [(error instanceof Error ? error.message : String(error)) || "Failed without a message"];
  for (const line of lines) console.error(`splice: ${line}`);
  if (!verbose) return;
  for (let at: unknown = error; at instanceof Error; at = at.cause) console.error(at.stack);
}

/** Commander's message in one line, in our words. */
function complaint(text: string): string {
  const line = text.trim().replace(/^error: /, "").replaceAll(/\s*\n\s*/g, " ").replace(/\.$/, "");
  return `splice: ${line.charAt(0).toUpperCase()}${line.slice(1)}; \`splice COMMAND --help\` lists what there is\n`;
}

function unknownCommand(name: string, program: Command): string {
  const names = program.createHelp().visibleCommands(program).map((command) => command.name());
  return `Cannot run ${JSON.stringify(name)}: there is no such command. Commands: ${names.join(", ")}`;
}

/** Deno hands on what is not UTF-8 with other letters in its place: it would name another file. */
function notText(word: string): string {
  return `Cannot use ${
    JSON.stringify(word)
  }: it is not UTF-8, and would name another file. Rename the file, or name it by a link`;
}
