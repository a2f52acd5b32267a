/** The real server as a process, started through the launcher on a port that is free, and a client's view of it. */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import type { Job } from "../../../src/jobs/model/job.ts";
import { linesOf } from "../../../src/jobs/workers/channel.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

export interface Server {
  readonly address: string;
  readonly process: Deno.ChildProcess;
  /** What it has logged so far. */
  readonly log: string[];
  /** The pids of the processes it has started, GPU workers first. */
  children(): Promise<number[]>;
  kill(): Promise<void>;
  /** SIGTERM; resolves to the exit code. */
  stop(): Promise<number>;
}

export interface ServerOptions {
  readonly data: string;
  readonly models: string;
  readonly args?: readonly string[];
}

export async function startServer({ args = [], ...options }: ServerOptions): Promise<Server> {
  const { first, ...server } = await start({
    ...options,
    args: ["serve", "--port", "0", "--rate-limit", "0", ...args],
  });
  const address = /http:\S+(?=\/$)/.exec(first)?.[0];
  if (address !== undefined) return { ...server, address };
  await server.stop();
  assert.fail(`the server did not start: ${first} ${server.log.join("\n")}`);
}

/** A GPU machine of a cluster; resolves as soon as it has begun. */
export async function startMachine({ args = [], ...options }: ServerOptions): Promise<Omit<Server, "address">> {
  return await start({ ...options, args: ["work", ...args] });
}

async function start(
  { data, models, args }: Required<ServerOptions>,
): Promise<Omit<Server, "address"> & { first: string }> {
  const process = new Deno.Command("sh", {
    args: [`${root}splice`, ...args, "--data", data],
    env: { NO_COLOR: "1", DEBUG: "", SPLICE_MODELS: models },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const log: string[] = [];
  const logging = (async () => {
    for await (const line of linesOf(process.stderr)) log.push(line);
  })();
  const lines = linesOf(process.stdout);
  const { value: first = "" } = await lines.next();
  const reading = (async () => {
    for await (const _ of lines);
  })();
  function signalled(name: Deno.Signal): void {
    try {
      process.kill(name);
    } catch {
      // It has ended already.
    }
  }
  async function ended(): Promise<number> {
    const { code } = await process.status;
    await Promise.all([logging, reading]);
    return code;
  }
  return {
    first,
    process,
    log,
    children: () => childrenOf(process.pid),
    async kill() {
      signalled("SIGKILL");
      await ended();
    },
    async stop() {
      signalled("SIGTERM");
      return await ended();
    },
  };
}

/** GPU workers before the inspector, by their command lines. Deno itself may not look at other processes. */
export async function childrenOf(pid: number): Promise<number[]> {
  const script = 'for p in $(cat /proc/$0/task/*/children); do tr "\\0" " " </proc/$p/cmdline; echo " $p"; done';
  const { stdout } = await new Deno.Command("sh", { args: ["-c", script, String(pid)] }).output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n").filter((line) => line !== "");
  const inspects = (line: string) => Number(line.includes("--inspect"));
  return lines.toSorted((a, b) => inspects(a) - inspects(b)).map((line) => Number(line.split(" ").at(-1)));
}

/** A form as the creating routes want it. */
export function form(fields: Readonly<Record<string, string | number | Uint8Array<ArrayBuffer>>>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Uint8Array) data.append(name, new Blob([value]), `${name}.png`);
    else data.append(name, String(value));
  }
  return data;
}

export interface SeenEvent {
  readonly id: number | null;
  readonly name: string;
  readonly data: ReturnType<typeof JSON.parse>;
}

/** The events of a stream, until it ends. */
export async function* eventsOf(response: Response): AsyncGenerator<SeenEvent> {
  let fields: Record<string, string> = {};
  for await (const line of linesOf(response.body!)) {
    const [, field, value] = /^(\w*): ?(.*)$/.exec(line) ?? [];
    if (field) fields[field] = value;
    if (line !== "") continue;
    if (fields.event) {
      yield {
        id: fields.id === undefined ? null : Number(fields.id),
        name: fields.event,
        data: JSON.parse(fields.data),
      };
    }
    fields = {};
  }
}

export async function jobAt(address: string, id: string): Promise<Job> {
  return await (await fetch(`${address}/v1/jobs/${id}`)).json();
}

/** SIGKILL, by way of the shell: Deno itself may only signal what it has started, unless it may start anything. */
export async function killHard(pid: number): Promise<void> {
  await signal(pid, "KILL");
}

/** SIGTERM, by way of the shell. */
export async function askToLeave(pid: number): Promise<void> {
  await signal(pid, "TERM");
}

async function signal(pid: number, name: string): Promise<void> {
  const { success } = await new Deno.Command("sh", { args: ["-c", 'kill -s "$1" "$0"', String(pid), name] }).output();
  assert.ok(success, `process ${pid} could not be sent SIG${name}`);
}
