/** What a siege is made of: processes to be killed, and clients that ask again, come back, and write down all they are told. */
import { createParser } from "eventsource-parser";
import { fileURLToPath } from "node:url";
import { encodeImage } from "../../src/images/encode.ts";
import { tinyPicture } from "../support/splice/tiny.ts";
import type { NodeOptions } from "./node.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const picture = await encodeImage(tinyPicture(64, 48, 1), "png");

export interface Process {
  readonly name: string;
  end(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
  /** Killed, where it still runs, and started anew. */
  restart(): Promise<void>;
  /** SIGSTOP. Returns what wakes it. */
  freeze(): () => void;
  /** Resident bytes. */
  memory(): Promise<number>;
}

export function startProcess(options: NodeOptions): Process {
  const args = [
    "run",
    "-A",
    "--no-check",
    `--config=${root}deno.json`,
    `${root}tests/siege/node.ts`,
    JSON.stringify(options),
  ];
  let child = spawn();
  function spawn(): Deno.ChildProcess {
    const stderr = Deno.env.get("SIEGE_LOG") ? "inherit" : "null";
    return new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "null", stderr }).spawn();
  }
  function signal(process: Deno.ChildProcess, name: Deno.Signal): void {
    try {
      process.kill(name);
    } catch {
      // It has ended already.
    }
  }
  async function end(name: "SIGKILL" | "SIGTERM"): Promise<void> {
    signal(child, name);
    await child.status;
  }
  return {
    name: `${options.role} ${options.port}`,
    end,
    async restart() {
      await end("SIGKILL");
      child = spawn();
    },
    freeze() {
      const one = child;
      signal(one, "SIGSTOP");
      return () => signal(one, "SIGCONT");
    },
    async memory() {
      const { stdout } = await new Deno.Command("cat", { args: [`/proc/${child.pid}/status`], stderr: "null" })
        .output();
      const text = new TextDecoder().decode(stdout);
      return 1024 * Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0);
    },
  };
}

/** Resolves when the node knows of so many workers that are ready. */
export async function waitReady(address: string, machines: number): Promise<void> {
  for (;;) {
    const response = await fetch(`${address}/readyz`).catch(() => null);
    const body = await response?.json().catch(() => null);
    if (response?.ok && body.ready >= machines) return;
    await pause(300);
  }
}

/** Creates a job, asking again, at any node, until it is acknowledged: the same key every time, so that there is one. */
export async function submit(
  addresses: readonly string[],
  { seed, steps, onRefusal }: { readonly seed: number; readonly steps: number; onRefusal?(): void },
): Promise<string> {
  const key = crypto.randomUUID();
  for (let tries = 0;; tries++) {
    const address = addresses[(seed + tries) % addresses.length];
    const body = new FormData();
    for (const name of ["structure", "appearance"]) body.append(name, new Blob([picture]), name);
    for (const [name, value] of Object.entries({ seed, steps, preview_every: 0, vit_side: 64 })) {
      body.append(name, String(value));
    }
    try {
      const response = await fetch(`${address}/v1/jobs`, { method: "POST", body, headers: { "Idempotency-Key": key } });
      const answer = await response.json();
      if (response.status === 202) return answer.id;
      if (response.status < 500) throw new Error(`BAD ${response.status} ${JSON.stringify(answer)}`);
    } catch (error) {
      if (String(error).includes("BAD")) throw error;
    }
    onRefusal?.();
    await pause(300);
  }
}

interface Told {
  readonly id: number | null;
  readonly name: string;
}

export interface Following {
  readonly id: string;
  readonly seed: number;
  readonly steps: number;
  readonly told: readonly Told[];
  /** The last event; null where it was left before. */
  readonly ended: string | null;
  readonly connections: number;
  /** The longest time between one event and the next, in ms. */
  readonly silence: number;
  /** Between which events it was. */
  readonly before: string;
}

/** Follows a job to its end, from whichever node answers. */
export async function follow(
  addresses: readonly string[],
  { id, seed, steps, dropping = false, until = Infinity }: {
    readonly id: string;
    readonly seed: number;
    readonly steps: number;
    /** Hangs up at random. */
    readonly dropping?: boolean;
    /** Leaves after so many events. */
    readonly until?: number;
  },
): Promise<Following> {
  const told: Told[] = [];
  let [last, connections, silence, heard] = [0, 0, 0, performance.now()];
  let ended: string | null = null;
  let before = "";
  for (let tries = Math.floor(Math.random() * 2); ended === null && told.length < until; tries++) {
    const leaving = new AbortController();
    try {
      const response = await fetch(`${addresses[tries % addresses.length]}/v1/jobs/${id}/events`, {
        headers: { "Last-Event-ID": String(last) },
        signal: leaving.signal,
      });
      if (response.status === 404) throw new Error(`BAD: ${id} is unknown to ${addresses[tries % addresses.length]}`);
      if (!response.ok || response.body === null || response.status === 204) {
        await response.body?.cancel();
        await pause(200);
        continue;
      }
      connections++;
      const parser = createParser({
        onEvent({ id: given, event: name = "" }) {
          const gap = performance.now() - heard;
          if (gap > silence) [silence, before] = [gap, `${told.at(-1)?.name ?? "nothing"} and ${name}`];
          heard = performance.now();
          const number = given === undefined ? null : Number(given);
          told.push({ id: number, name });
          if (number !== null) last = number;
          if (["succeeded", "failed", "canceled"].includes(name)) ended = name;
          if (told.length >= until || dropping && Math.random() < 0.05) leaving.abort();
        },
      });
      const decoder = new TextDecoder();
      for await (const bytes of response.body) parser.feed(decoder.decode(bytes, { stream: true }));
    } catch (error) {
      if (String(error).includes("BAD")) throw error;
      if (!leaving.signal.aborted) await pause(200);
    }
  }
  return { id, seed, steps, told, ended, connections, silence, before };
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
