/** What a download says while it runs: a bar on a terminal, a line now and then where there is none, or nothing. All of it goes to stderr. */
import cliProgress from "cli-progress";
import { sizeText } from "./quantities.ts";

export interface DownloadVoice {
  onProgress(have: number, total: number | null): void;
  onNote(text: string): void;
  end(): void;
}

/** Seconds between two lines where there is no terminal. */
const LINE_EVERY = 5;

export function openDownloadVoice(
  name: string,
  { quiet, terminal = Deno.stderr.isTerminal() }: { quiet?: boolean | undefined; terminal?: boolean },
): DownloadVoice {
  const nothing = () => {};
  if (quiet) return { onProgress: nothing, onNote: nothing, end: nothing };
  return terminal ? barVoice(name) : lineVoice(name);
}

function lineVoice(name: string): DownloadVoice {
  const pace = paceOf();
  let last = performance.now();
  let begun = false;
  return {
    onProgress(have, total) {
      const now = performance.now();
      const text = pace(have, total);
      if (begun && now - last < 1000 * LINE_EVERY && have !== total) return;
      begun = true;
      last = now;
      console.error(
        `${name}: ${sizeText(have)}${total === null ? "" : ` of ${sizeText(total)}`}${text && `  ${text}`}`,
      );
    },
    onNote: (text) => console.error(text),
    end() {},
  };
}

function barVoice(name: string): DownloadVoice {
  const bar = new cliProgress.SingleBar({
    format: `${name} {bar} {done}  {pace}`,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: 20,
    hideCursor: true,
    linewrap: false,
    gracefulExit: false, // it would take Ctrl-C for itself
    stream: process.stderr,
  });
  const pace = paceOf();
  let running = false;
  const end = () => {
    if (running) bar.stop();
    running = false;
  };
  return {
    onProgress(have, total) {
      const words = {
        done: `${sizeText(have)}${total === null ? "" : ` of ${sizeText(total)}`}`,
        pace: pace(have, total),
      };
      if (!running) bar.start(total ?? have, have, words);
      running = true;
      bar.setTotal(total ?? have);
      bar.update(have, words);
    },
    onNote(text) {
      end();
      console.error(text);
    },
    end,
  };
}

/** `12 MB/s  0:25 left`, measured over the last seconds; empty until there is something to measure. */
function paceOf(): (have: number, total: number | null) => string {
  let seen: { at: number; have: number }[] = [];
  return (have, total) => {
    const now = performance.now();
    if (seen.length > 0 && have < seen[seen.length - 1].have) seen = []; // begun again
    if (seen.length === 0 || now - seen[seen.length - 1].at > 200) seen.push({ at: now, have });
    while (seen.length > 2 && now - seen[0].at > 10_000) seen.shift();
    const [{ at, have: before }] = seen;
    if (now - at < 500 || have === before) return "";
    const rate = 1000 * (have - before) / (now - at);
    if (total === null) return `${sizeText(rate)}/s`;
    const left = Math.ceil((total - have) / rate);
    return `${sizeText(rate)}/s  ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left`;
  };
}
