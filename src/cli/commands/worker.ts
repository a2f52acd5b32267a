/** `splice worker`: what the server starts to have pictures trained, rendered and looked at, each in a process of its own. Not for people: it speaks frames on stdin and stdout. */
import { constants, setPriority } from "node:os";
import type { Command } from "commander";
import { EXIT } from "../terminal/usage.ts";

interface WorkerOptions {
  readonly inspect?: boolean;
}

/** What a process ends with when its device is lost. */
const LOST = 70;

export function addWorker(program: Command, finish: (code: number) => void): void {
  program.command("worker", { hidden: true })
    .summary("a server's helper process")
    .description("A helper process of `splice serve`, which starts it by itself.")
    .option("--data <folder>", "the server's data folder")
    .option("--inspect", "look at pictures instead of training")
    .action(async (options: WorkerOptions) => finish(await work(options)));
}

async function work({ inspect }: WorkerOptions): Promise<number> {
  const { frame, messagesOf } = await import("../../jobs/workers/channel.ts");
  const { toWorkerSchema } = await import("../../jobs/model/messages.ts");
  const log = (text: string) => console.error(text);
  const common = {
    messages: messagesOf(Deno.stdin.readable, { schema: toWorkerSchema, onStray: log }),
    // Written at once and in order: what was said stays said, even if the process dies with the next line.
    say(message: unknown) {
      const bytes = frame(message);
      for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    },
    log,
  };
  const leave = new AbortController();
  // Ctrl-C in a terminal, and its closing, reach every process of the group; the server decides what becomes of its workers.
  Deno.addSignalListener("SIGINT", () => {});
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGHUP", () => {});
  yieldToOthers();
  if (inspect) {
    const { runInspector } = await import("../../jobs/workers/inspector.ts");
    await runInspector(common);
    return EXIT.done;
  }
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", () => leave.abort());
  const { runWorker } = await import("../../jobs/workers/worker.ts");
  const { isLost } = await import("../../jobs/workers/blame.ts");
  try {
    await runWorker({ ...common, leave: leave.signal });
    return EXIT.done;
  } catch (error) {
    if (!isLost(error)) throw error;
    log(error instanceof Error ? error.message : String(error));
    return LOST;
  }
}

/**
 * A software adapter, and a decoder, take every core they can get; people who wait for a page, and the server that answers them, come first. Threads inherit it, so it is done before
 * the device is opened.
 */
function yieldToOthers(): void {
  try {
    setPriority(0, constants.priority.PRIORITY_LOW);
  } catch {
    // Some systems do not allow it, and the work is the same without.
  }
}
