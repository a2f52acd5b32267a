/**
 * A child process that is kept alive: started, listened to, given up when it falls silent, started again with growing pauses. It knows messages and calls, not jobs.
 * Invariant: every message a process sent before it died is handed on before its death is told.
 */
import { frame, linesOf, messagesOf } from "./channel.ts";
import { Fault } from "./job.ts";
import { type Device, type FromWorker, fromWorkerSchema, type Task, type ToWorker } from "./messages.ts";

export interface TendedOptions {
  readonly name: string;
  readonly command: { readonly command: string; readonly args: readonly string[] };
  /** All but the answers to calls. */
  onMessage(message: FromWorker): void;
  /** It ended without having been asked to. */
  onDeath(how: string): void;
  /** How long it may be silent, in ms; asked every second. */
  patience(): number;
  log(text: string): void;
}

export interface Tended {
  /** What it said of itself; undefined before it is ready. */
  device(): Device | null | undefined;
  /** Null while it does not run. */
  pid(): number | null;
  send(message: ToWorker): void;
  /** Resolves when the task is done. @throws Fault: the worker's, or unavailable if it dies over it or takes more than `limit` ms. */
  call(task: Task, options?: { limit?: number }): Promise<void>;
  /** Calls that are not answered yet. */
  pending(): number;
  /** Ends it for good: asks, waits up to `grace` ms, then kills. */
  stop(grace: number): Promise<void>;
}

/** The pause before a restart doubles from the first to the last, in ms; a process that lived for CALM ms starts over. */
const FIRST_PAUSE = 250;
const LAST_PAUSE = 30_000;
const CALM = 60_000;

interface Call {
  resolve(): void;
  reject(fault: Fault): void;
  readonly timer: Timer | undefined;
}

type Timer = ReturnType<typeof setTimeout>;

export function tend(options: TendedOptions): Tended {
  const { log, name } = options;
  let child: Deno.ChildProcess | null = null;
  let writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>> | null = null;
  let device: Device | null | undefined;
  let heard = 0;
  let deaths = 0;
  let stopping = false;
  let pause: Timer | undefined;
  let ended: Promise<void> = Promise.resolve();
  const calls = new Map<number, Call>();
  let lastCall = 0;

  function start(): void {
    if (stopping) return;
    heard = performance.now();
    const { command, args } = options.command;
    child = new Deno.Command(command, { args: [...args], stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
    writer = child.stdin.getWriter();
    ended = live(child);
  }

  async function live(process: Deno.ChildProcess): Promise<void> {
    const began = performance.now();
    const watch = setInterval(() => {
      const silent = performance.now() - heard;
      if (silent <= options.patience()) return;
      log(`${name} has been silent for ${Math.round(silent / 1000)} s and is ended`);
      kill(process);
    }, 1000);
    const errors = passOn(process);
    const listening = listen(process);
    const { code, signal } = await process.status;
    clearInterval(watch);
    await Promise.all([listening, errors]);
    await writer?.abort().catch(() => {});
    writer = null;
    child = null;
    device = undefined;
    const how = signal ? `was ended by ${signal}` : `ended with code ${code}`;
    for (const [call, { reject, timer }] of calls) {
      clearTimeout(timer);
      calls.delete(call);
      reject(new Fault("unavailable", `The ${name} ${how} while it worked on this; try again`, { retryAfter: 5 }));
    }
    if (stopping) return;
    deaths = performance.now() - began > CALM ? 1 : deaths + 1;
    const wait = Math.min(LAST_PAUSE, FIRST_PAUSE * 2 ** (deaths - 1));
    log(`${name} ${how}; it is started again in ${wait} ms`);
    options.onDeath(how);
    pause = setTimeout(restart, wait);
  }

  function restart(): void {
    try {
      start();
    } catch (error) { // no memory or no descriptors for another process: later, perhaps
      log(`${name} cannot be started: ${error instanceof Error ? error.message : error}`);
      pause = setTimeout(restart, LAST_PAUSE);
    }
  }

  async function listen(process: Deno.ChildProcess): Promise<void> {
    const onStray = (line: string) => log(`${name}: ${line}`);
    try {
      for await (const message of messagesOf(process.stdout, { schema: fromWorkerSchema, onStray })) {
        heard = performance.now();
        handle(message);
      }
    } catch (error) {
      log(`${name} cannot be understood: ${error instanceof Error ? error.stack : error}`);
      kill(process);
    }
  }

  async function passOn(process: Deno.ChildProcess): Promise<void> {
    for await (const line of linesOf(process.stderr)) if (line.trim() !== "") log(`${name}: ${line}`);
  }

  function handle(message: FromWorker): void {
    switch (message.say) {
      case "answer":
      case "refuse": {
        const call = calls.get(message.call);
        if (!call) return; // it took too long, and was given up
        clearTimeout(call.timer);
        calls.delete(message.call);
        if (message.say === "answer") call.resolve();
        else {
          const { code, detail, errors } = message.fault;
          call.reject(new Fault(code, detail, { errors, retryAfter: code === "unavailable" ? 5 : undefined }));
        }
        return;
      }
      case "beat":
        return;
      case "ready":
        device = message.device;
        break;
    }
    options.onMessage(message);
  }

  function send(message: ToWorker): void {
    writer?.write(frame(message)).catch(() => {}); // it is dying; its end will be told
  }

  start();
  return {
    device: () => device,
    pid: () => child?.pid ?? null,
    send,
    call(task, { limit = 0 } = {}) {
      if (!writer) {
        return Promise.reject(
          new Fault("unavailable", `The ${name} is being started; try again in a moment`, { retryAfter: 3 }),
        );
      }
      const call = ++lastCall;
      const process = child;
      return new Promise<void>((resolve, reject) => {
        // What takes too long holds up everyone behind it, and nothing but the end of the process can stop a decoder.
        const timer = limit === 0 ? undefined : setTimeout(() => {
          calls.delete(call);
          log(`${name} took more than ${limit} ms for ${task.task} and is ended`);
          reject(
            new Fault("unavailable", `The ${name} took too long over this and was stopped; try a smaller picture`),
          );
          if (process && process === child) kill(process);
        }, limit);
        calls.set(call, { resolve, reject, timer });
        send({ say: "call", call, task });
      });
    },
    pending: () => calls.size,
    async stop(grace) {
      stopping = true;
      clearTimeout(pause);
      send({ say: "stop" });
      const process = child;
      const timer = setTimeout(() => process && kill(process), grace);
      await ended;
      clearTimeout(timer);
    },
  };
}

function kill(process: Deno.ChildProcess): void {
  try {
    process.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
}
