/**
 * Two builds on one machine: this program and another checkout of it take turns at the same training, so that what else happens on the machine happens to both. What
 * counts is the ratio of their times; the times themselves are this hour's.
 */
import { join, resolve } from "node:path";
import { flagsOf, programFolder, type SelfCommand, selfCommand } from "../launch.ts";
import { UsageError } from "../terminal/usage.ts";

/** Medians over all turns, in ms. */
export interface SideBySide {
  /** Longest side of both pictures, in pixels. */
  readonly size: number;
  readonly here: number;
  readonly there: number;
  /** Steps that were timed, of each. */
  readonly steps: number;
}

/** What a build may do by itself that another one does not know yet: named, so that both do the same. */
const ALIKE = [["--padding", "zero"], ["--detail", "none"]];

/** Steps of a turn; the first ones warm caches up and are not counted. */
const STEPS = 20;
const WARM = 4;
const TURNS = 3;

/**
 * Medians of a training step of the quick preset's model on two of the examples, this program's and that of a checkout at `folder`.
 * @throws UsageError if there is no checkout; Error with what a run said if it fails
 */
export async function compareBuilds(
  folder: string,
  { sizes, signal, onTurn }: {
    readonly sizes: readonly number[];
    readonly signal: AbortSignal;
    /** Before each turn. */
    onTurn(text: string): void;
  },
): Promise<readonly SideBySide[]> {
  const there = await withKnown(await checkoutCommand(folder), signal);
  const here = await withKnown((args) => selfCommand(args, { data: "." }), signal);
  const scratch = await Deno.makeTempDir();
  try {
    const compared: SideBySide[] = [];
    for (const size of sizes) {
      const times = { here: [] as number[], there: [] as number[] };
      for (let turn = 1; turn <= TURNS; turn++) {
        for (const [side, command] of [["there", there], ["here", here]] as const) {
          onTurn(`${size} px, ${side === "here" ? "this build" : folder}, turn ${turn} of ${TURNS}`);
          times[side].push(...await stepTimes(command, { size, scratch, signal }));
        }
      }
      compared.push({ size, here: median(times.here), there: median(times.there), steps: times.here.length });
    }
    return compared;
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

/** How another checkout starts a command: with the permissions that its own launch.txt lists. */
async function checkoutCommand(folder: string): Promise<Start> {
  const program = resolve(folder);
  let table: string;
  try {
    table = await Deno.readTextFile(join(program, "src/cli/launch.txt"));
  } catch {
    throw new UsageError([
      `Cannot compare with --against ${folder}: there is no src/cli/launch.txt in it; name the folder of another checkout of Splice`,
    ]);
  }
  const flags = (name: string) => flagsOf(name, { data: ".", program, table });
  return (args) => ({
    command: Deno.execPath(),
    args: ["run", "--quiet", ...flags("{checkout}"), ...flags(args[0]), join(program, "main.ts"), ...args],
  });
}

type Start = (args: readonly string[]) => SelfCommand;

/** With those of the options `ALIKE` that the build's `run` has. @throws Error with what it said if it cannot be started */
async function withKnown(start: Start, signal: AbortSignal): Promise<Start> {
  const help = await outputOf(start(["run", "--help"]), signal);
  const known = ALIKE.filter(([flag]) => help.includes(flag)).flat();
  return (args) => start([...args, ...known]);
}

async function outputOf({ command, args }: SelfCommand, signal: AbortSignal): Promise<string> {
  const options = { args, signal, stdout: "piped", stderr: "piped" } as const;
  const { success, stdout, stderr } = await new Deno.Command(command, options).output();
  if (!success) throw new Error(`Cannot time a run: ${new TextDecoder().decode(stderr).trim()}`);
  return new TextDecoder().decode(stdout);
}

/** A run's times of its steps, in ms, in a process of its own. */
async function stepTimes(
  start: Start,
  { size, scratch, signal }: { readonly size: number; readonly scratch: string; readonly signal: AbortSignal },
): Promise<number[]> {
  const metrics = join(scratch, "metrics.ndjson");
  const example = (name: string) => join(programFolder(), "examples", name);
  const command = start([
    ...["run", "--structure", example("picos-de-europa.jpg"), "--appearance", example("sunset.jpg")],
    ...["--out", join(scratch, "out.png"), "--metrics", metrics, "--preset", "quick", "--seed", "1", "--quiet"],
    ...["--size", String(size), "--steps", String(STEPS), "--preview-every", "0"],
  ]);
  await outputOf(command, signal);
  const lines = (await Deno.readTextFile(metrics)).trim().split("\n");
  return lines.slice(WARM).map((line) => JSON.parse(line).ms as number);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
