/**
 * The GPU worker's side of the pipe: one device for the life of the process, one job at a time, short calls between its steps. It reads and writes files in the
 * data folder and says what it did. Invariant: what it says is on the disk before it is said.
 */
import { openGpu, openRuntime } from "../../engine/mod.ts";
import { faultOf, isLost } from "./blame.ts";
import type { FromWorker, ToWorker } from "../model/messages.ts";
import { perform } from "./tasks.ts";
import { trainJob } from "./train_job.ts";
import { keepWarm } from "./warm.ts";

/** How often it says that it lives, in ms, when there is nothing else to say. */
const BEAT = 1000;

export interface WorkerOptions {
  readonly messages: AsyncIterable<ToWorker>;
  say(message: FromWorker): void;
  /** For what only the operator should read. */
  log(text: string): void;
  /** Aborted when the process is asked to leave by a signal. */
  readonly leave: AbortSignal;
}

interface Running {
  readonly id: string;
  readonly controller: AbortController;
}

/** Works until it is told to stop or the pipe ends. @throws EngineError when the device is lost: only a new process helps. */
export async function runWorker({ messages, say, log, leave }: WorkerOptions): Promise<void> {
  const gpu = await openGpu();
  if (gpu.info.opengl) {
    log("no Vulkan driver works here, so OpenGL computes, several times slower; `splice doctor` tells more");
  }
  const { info, profile, limits } = gpu;
  const warm = keepWarm((use) => {
    const runtime = openRuntime(gpu);
    const memoryLimit = info.software ? Deno.systemMemoryInfo().available : undefined;
    return use(runtime, memoryLimit).finally(() => runtime.release());
  });

  type Run = Extract<ToWorker, { say: "run" }>;
  type Call = Extract<ToWorker, { say: "call" }>;
  const runs: Run[] = [];
  const calls: Call[] = [];
  let running: Running | null = null;
  let leaving = false;
  let wake = () => {};

  function stop(): void {
    leaving = true;
    running?.controller.abort("stop");
    wake();
  }
  async function receive(): Promise<void> {
    for await (const message of messages) {
      switch (message.say) {
        case "run":
          runs.push(message);
          break;
        case "call":
          calls.push(message);
          break;
        case "cancel": {
          if (running?.id === message.job) running.controller.abort("cancel");
          const waiting = runs.findIndex((run) => run.job === message.job);
          if (waiting >= 0) say({ say: "canceled", job: runs.splice(waiting, 1)[0].job });
          break;
        }
        case "stop":
          return stop();
      }
      wake();
    }
    orphaned();
  }
  leave.addEventListener("abort", stop);

  async function answerCalls(): Promise<void> {
    for (let next = calls.shift(); next; next = calls.shift()) {
      try {
        await perform(next.task, warm);
        say({ say: "answer", call: next.call });
      } catch (error) {
        if (isLost(error)) throw error;
        say({ say: "refuse", call: next.call, fault: faultOf(error, log) });
      }
    }
  }

  async function train(run: Run): Promise<void> {
    running = { id: run.job, controller: new AbortController() };
    const { signal } = running.controller;
    try {
      await trainJob(run, { warm, say, signal, between: answerCalls });
      if (!signal.aborted) say({ say: "succeeded", job: run.job });
      else say({ say: signal.reason === "cancel" ? "canceled" : "stopped", job: run.job });
    } catch (error) {
      if (isLost(error)) throw error;
      say({ say: "failed", job: run.job, fault: faultOf(error, log) });
    } finally {
      running = null;
    }
  }

  say({
    say: "ready",
    device: { adapter: info.name, software: info.software, profile, bindingBytes: limits.bindingBytes },
  });
  const beat = setInterval(() => say({ say: "beat" }), BEAT);
  const receiving = receive();
  try {
    while (!leaving) {
      await answerCalls();
      const run = runs.shift();
      if (run) await train(run);
      else if (calls.length === 0 && !leaving) await new Promise<void>((resolve) => wake = resolve);
    }
  } finally {
    clearInterval(beat);
  }
  void receiving; // a pipe that is still open is closed by leaving
}

/** The server is gone, and its next one may have started another worker on the same job: nothing more may be written. */
function orphaned(): never {
  Deno.exit(0);
}
