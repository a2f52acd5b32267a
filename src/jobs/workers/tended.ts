/**
 * A child process that is kept alive: started, listened to, given up when it falls silent, started again with growing pauses. It knows messages and calls, not jobs.
 * Invariant: every message a process sent before it died is handed on before its death is told; and whatever those who are told do wrong, another process is started.
 */
import { type CallOptions, openCalls } from "./calls.ts";
import { frame, linesOf, messagesOf } from "./channel.ts";
import { Fault } from "../model/job.ts";
import { type Device, type FromWorker, fromWorkerSchema, type Task, type ToWorker } from "../model/messages.ts";
import { remarks } from "./remarks.ts";

export interface TendedOptions {
  readonly name: string;
  readonly command: { readonly command: string; readonly args: readonly string[] };
  /** All but the answers to calls. */
  onMessage(message: FromWorker): void;
  /** It ended without having been asked to. `left`: of its own will, as after a signal to leave. */
  onDeath(how: string, options: { left: boolean }): void;
  /** How long it may be silent, in ms; asked every second. */
  patience(): number;
  /** How many calls it may have before it has answered any: see `calls.ts`. */
  readonly callsAtOnce: number;
  log(text: string): void;
}

export interface Tended {
  /** What it said of itself; undefined before it is ready. */
  device(): Device | null | undefined;
  /** Null while it does not run. */
  pid(): number | null;
  send(message: ToWorker): void;
  /** Resolves when the task is done; waits for a process where there is none. @throws Fault: the process's own, or see `calls.ts` */
  call(task: Task, options?: CallOptions): Promise<void>;
  /** Calls that are not answered yet. */
  pending(): number;
  /** Ends it for good: asks, waits up to `grace` ms, then kills. */
  stop(grace: number): Promise<void>;
}

/** The pause before a restart doubles from the first to the last, in ms: another for those that had been ready. A process that lived for CALM ms starts over. */
const FIRST_PAUSE = 250;
const LAST_PAUSE = 30_000;
const LAST_PAUSE_OF_READY = 2000;
const CALM = 60_000;
/** So many starts in vain, one after the other, and nobody is left waiting for another. */
const HOPELESS = 3;

type Timer = ReturnType<typeof setTimeout>;

export function tend(options: TendedOptions): Tended {
  const { log, name } = options;
  const remark = remarks((text) => log(`${name}: ${text}`));
  let child: Deno.ChildProcess | null = null;
  let writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>> | null = null;
  let device: Device | null | undefined;
  let heard = 0;
  let deaths = 0;
  let startsInVain = 0;
  let stopping = false;
  let pause: Timer | undefined;
  let ended: Promise<void> = Promise.resolve();
  const calls = openCalls({
    name,
    atOnce: options.callsAtOnce,
    send,
    onLate(task, limit) {
      log(`${name} took more than ${limit} ms for ${task.task} and is ended`);
      if (child) kill(child);
    },
  });

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
    const wasReady = device !== undefined;
    device = undefined;
    const how = signal ? `was ended by ${signal}` : `ended with code ${code}`;
    startsInVain = wasReady ? 0 : startsInVain + 1;
    calls.died(how, { hope: startsInVain < HOPELESS && !stopping });
    if (stopping) return;
    deaths = performance.now() - began > CALM ? 1 : deaths + 1;
    const wait = Math.min(wasReady ? LAST_PAUSE_OF_READY : LAST_PAUSE, FIRST_PAUSE * 2 ** (deaths - 1));
    log(`${name} ${how}; it is started again in ${wait} ms`);
    pause = setTimeout(restart, wait);
    told(() => options.onDeath(how, { left: code === 0 }));
  }

  /** Those who are told may fail, over a full disk for one; that must not end what tells them. */
  function told(tell: () => void): void {
    try {
      tell();
    } catch (error) {
      log(`what the ${name} said could not be dealt with: ${error instanceof Error ? error.stack : error}`);
    }
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
    try {
      for await (const message of messagesOf(process.stdout, { schema: fromWorkerSchema, onStray: remark })) {
        heard = performance.now();
        told(() => handle(message));
      }
    } catch (error) {
      log(`${name} cannot be understood: ${error instanceof Error ? error.stack : error}`);
      kill(process);
    }
  }

  async function passOn(process: Deno.ChildProcess): Promise<void> {
    try {
      for await (const line of linesOf(process.stderr)) {
        if (line.trim() !== "") remark(line);
      }
    } catch (error) {
      log(`${name}: its remarks cannot be read: ${error instanceof Error ? error.message : error}`);
    }
  }

  function handle(message: FromWorker): void {
    switch (message.say) {
      case "answer":
        return calls.answered(message.call);
      case "refuse": {
        const { code, detail, errors } = message.fault;
        const retryAfter = code === "unavailable" ? 5 : undefined;
        return calls.refused(message.call, new Fault(code, detail, { errors, retryAfter }));
      }
      case "beat":
        return;
      case "ready":
        device = message.device;
        calls.open();
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
    call: calls.ask,
    pending: calls.pending,
    async stop(grace) {
      stopping = true;
      clearTimeout(pause);
      calls.stop();
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
