/**
 * What a contact sheet says while it is made: which cell of how many, how far it is, and the time left for all of them. A bar on a terminal, lines where there is
 * none, JSON lines on stdout for programs, or nothing.
 */
import cliProgress from "cli-progress";
import type { Progress } from "../../splice/transfer/conduct.ts";
import type { Evaluation } from "../../splice/evaluation/evaluation.ts";
import { clockText, durationText } from "./quantities.ts";
import type { VoiceOptions } from "./voice.ts";

export interface CellName {
  /** From 1. */
  readonly cell: number;
  readonly cells: number;
  readonly pair: string;
  readonly setting: string;
}

export interface SheetVoice {
  note(text: string): void;
  /** `left`: seconds for all that is left, where that is known. */
  progress(name: CellName, progress: Progress, left: number | null): void;
  finished(
    name: CellName,
    cell: { readonly numbers: Evaluation; readonly seconds: number; readonly kept: boolean },
  ): void;
  failed(name: CellName, error: string): void;
  /** Ends the bar. */
  ended(event: "succeeded" | "canceled", fields: Readonly<Record<string, unknown>>, text: string): void;
}

export function openSheetVoice({ json, quiet }: VoiceOptions): SheetVoice {
  if (json) return jsonVoice();
  if (quiet) return { ...silent, failed: (name, error) => console.error(failure(name, error)) };
  return textVoice(Deno.stderr.isTerminal());
}

const nothing = () => {};
const silent: SheetVoice = { note: nothing, progress: nothing, finished: nothing, failed: nothing, ended: nothing };

/** Two progress events are at least this far apart, in ms, but for the last of a cell. */
const LEAST_GAP = { json: 250, lines: 10_000 } as const;

/** True at most once in so many ms. */
function seldom(gap: number): (always: boolean) => boolean {
  let last = -Infinity;
  return (always) => {
    const now = performance.now();
    if (!always && now - last < gap) return false;
    last = now;
    return true;
  };
}

function jsonVoice(): SheetVoice {
  const say = (event: string, fields: object) => console.log(JSON.stringify({ event, ...fields }));
  const due = seldom(LEAST_GAP.json);
  return {
    note: nothing,
    progress(name, progress, left) {
      if (due(progress.step === progress.steps)) say("progress", { ...name, ...progress, eta_seconds: left });
    },
    finished: (name, cell) => say("cell", { ...name, ...cell }),
    failed: (name, error) => say("cell_failed", { ...name, error }),
    ended: (event, fields) => say(event, fields),
  };
}

function textVoice(terminal: boolean): SheetVoice {
  const bar = terminal
    ? new cliProgress.SingleBar({
      format: "{bar} {value}/{total}  {left}  {name}", // what a narrow terminal cuts off comes last
      barCompleteChar: "█",
      barIncompleteChar: "░",
      barsize: 10,
      hideCursor: true,
      linewrap: false,
      clearOnComplete: true,
      gracefulExit: false, // it would take Ctrl-C for itself
      stream: process.stderr,
    })
    : null;
  let running: number | null = null;
  const end = () => {
    if (running !== null) bar?.stop();
    running = null;
  };
  const due = seldom(LEAST_GAP.lines);
  const leftText = (left: number | null) => left === null ? "first steps" : `${clockText(left)} left in all`;
  return {
    note: (text) => console.error(text),
    progress(name, { step, steps }, left) {
      if (bar === null) {
        if (due(step === steps)) console.error(`${title(name)}: step ${step} of ${steps}, ${leftText(left)}`);
        return;
      }
      const shown = { left: leftText(left), name: title(name) };
      if (running !== name.cell) {
        end();
        bar.start(steps, step, shown);
        running = name.cell;
      } else bar.update(step, shown);
    },
    finished(name, { seconds, kept }) {
      end();
      console.error(`${title(name)}: ${kept ? "kept from before" : `done in ${durationText(seconds)}`}`);
    },
    failed(name, error) {
      end();
      console.error(failure(name, error));
    },
    ended(event, _, text) {
      end();
      if (event === "succeeded") console.log(text);
      else console.error(text);
    },
  };
}

const title = ({ cell, cells, pair, setting }: CellName) => `cell ${cell} of ${cells}, ${pair}, ${setting}`;
const failure = (name: CellName, error: string) => `${title(name)}: FAILED. ${error}`;
