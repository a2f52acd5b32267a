/**
 * What a transfer says while it runs, in one of four voices: a bar on a terminal, a line now and then where there is none, JSON
 * lines on stdout for programs, or nothing. Everything for people goes to stderr, results to stdout.
 */
import cliProgress from "cli-progress";
import type { Progress } from "../../splice/transfer/conduct.ts";
import { clockText } from "./quantities.ts";

/** Events have the names and fields of the HTTP interface's where both have them. */
export interface Started {
  readonly adapter: string;
  readonly model: string;
  readonly steps: number;
  /** For people: sizes and memory. */
  readonly plan: string;
  /** Steps done before, by an earlier run. */
  readonly step: number;
  readonly memory_bytes: number;
}

export interface Voice {
  note(text: string): void;
  started(event: Started): void;
  progress(event: Progress): void;
  preview(step: number, path: string): void;
  succeeded(result: string, text: string): void;
  canceled(text: string): void;
  failed(error: unknown): void;
}

export interface VoiceOptions {
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
}

export function openVoice({ json, quiet }: VoiceOptions): Voice {
  if (json) return jsonVoice();
  if (quiet) return silent;
  return Deno.stderr.isTerminal() ? barVoice() : lineVoice();
}

const nothing = () => {};
const silent: Voice = {
  note: nothing,
  started: nothing,
  progress: nothing,
  preview: nothing,
  succeeded: nothing,
  canceled: nothing,
  failed: nothing,
};

/** At most four progress events a second, and always the last one. */
const LEAST_GAP = 250;

function jsonVoice(): Voice {
  const say = (event: string, fields: object) => console.log(JSON.stringify({ event, ...fields }));
  let last = -Infinity;
  return {
    ...silent,
    started: ({ plan: _, ...fields }) => say("started", fields),
    progress(event) {
      const now = performance.now();
      if (now - last < LEAST_GAP && event.step < event.steps) return;
      last = now;
      say("progress", event);
    },
    preview: (step, path) => say("preview", { step, path }),
    succeeded: (result) => say("succeeded", { result }),
    canceled: () => say("canceled", {}),
    failed: (error) => say("failed", { error: error instanceof Error ? error.message : String(error) }),
  };
}

/** Seconds between two lines where there is no terminal. */
const LINE_EVERY = 5;

function lineVoice(): Voice {
  let last = performance.now();
  return {
    ...silent,
    note: (text) => console.error(text),
    started: ({ plan }) => console.error(plan),
    progress(event) {
      const now = performance.now();
      if (now - last < 1000 * LINE_EVERY && event.step < event.steps) return;
      last = now;
      console.error(`step ${event.step} of ${event.steps}  ${paceText(event)}  ${lossText(event.losses)}`);
    },
    succeeded: (_, text) => console.log(text),
    canceled: (text) => console.error(text),
  };
}

function barVoice(): Voice {
  process.stderr.on("error", nothing); // the terminal may be closed before the work is saved
  const bar = new cliProgress.SingleBar({
    format: "{bar} {value}/{total}  {pace}  {losses}", // what a narrow terminal cuts off comes last
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: 10,
    hideCursor: true,
    linewrap: false,
    gracefulExit: false, // it would take Ctrl-C for itself
    stream: process.stderr,
  });
  let running = false;
  const end = () => {
    if (running) bar.stop();
    running = false;
  };
  return {
    ...silent,
    note(text) {
      console.error(text);
    },
    started({ plan, step, steps }) {
      console.error(plan);
      bar.start(steps, step, { pace: "the first steps compile kernels", losses: "" });
      running = true;
    },
    progress: (event) => bar.update(event.step, { losses: lossText(event.losses), pace: paceText(event) }),
    succeeded(_, text) {
      end();
      console.log(text);
    },
    canceled(text) {
      end();
      console.error(text);
    },
    failed: end,
  };
}

const SHORT = { total: "loss", global_cls: "cls", global_ssim: "ssim", global_id: "id" } as const;

/** `loss 12.3 cls 1.01 ssim 0.021 id 0.9`; the whole image's terms come too rarely to be read. */
function lossText(losses: Progress["losses"]): string {
  return Object.entries(SHORT).flatMap(([term, short]) => {
    const value = losses[term as keyof typeof SHORT];
    return value === undefined ? [] : [`${short} ${value.toPrecision(3)}`];
  }).join(" ");
}

/** `5.2/s  1:05 left` */
function paceText({ step, steps, steps_per_second: pace, eta_seconds: left }: Progress): string {
  if (step === steps && left) return `enlarging  ${clockText(left)} left`;
  if (pace === null || left === null) return step < steps ? "compiling" : "";
  return `${pace < 10 ? pace.toPrecision(2) : pace.toFixed(0)}/s  ${clockText(left)} left`;
}
