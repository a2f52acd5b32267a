/**
 * Looking inside: what the engine has made, for the developer who asks by environment, and silence for everyone else.
 *
 *   DEBUG=1  device and memory plans    2  and kernel timelines    3  and graphs after each pass    4  and WGSL
 *   DUMP=folder  writes all of it, numbered in the order in which it was made, so that a refactoring can be diffed
 *
 * The one file of the engine that reads the environment, and only where that is permitted: nobody is asked for a permission.
 */
import type { Graph } from "./ir/graph.ts";
import { graphText, programText } from "./ir/print.ts";
import type { Program } from "./ir/program.ts";

const LEVELS = { device: 1, memory: 1, timeline: 2, graph: 3, wgsl: 4 } as const;
type Subject = keyof typeof LEVELS;

const level = Number(setting("DEBUG")) || 0;
const folder = setting("DUMP");
let files = 0;

function setting(variable: string): string {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) ?? "" : "";
}

/** Whether anyone wants to hear of it: ask before making what is dear to make, as a timeline is. */
export function debugs(subject: Subject): boolean {
  return folder !== "" || level >= LEVELS[subject];
}

/** Tells of it whoever asked: on stderr, and as `007-title.txt` in the folder. */
export function debug(subject: Subject, title: string, text: string): void {
  if (level >= LEVELS[subject]) console.error(`--- ${title}\n${text}`);
  if (folder === "") return;
  Deno.mkdirSync(folder, { recursive: true });
  const ending = subject === "wgsl" ? "wgsl" : "txt";
  Deno.writeTextFileSync(`${folder}/${fileName(title)}.${ending}`, text);
}

/** `0007-title`: numbered in the order in which things were made. */
function fileName(title: string): string {
  return `${String(files++).padStart(4, "0")}-${title.replaceAll(/[^\w.]+/g, "-")}`;
}

/** What a compilation is watched with, unless the caller watches it. */
export function debugWatch(name: string): (pass: string, graph: Graph) => void {
  return (pass, graph) => {
    if (debugs("graph")) debug("graph", `${name} after ${pass}`, graphText(graph));
  };
}

/** A program that was made: its steps, what it needs of memory, its kernels. */
export function debugProgram(program: Program): void {
  if (debugs("memory")) debug("memory", program.name, `${programText(program)}${memoryText(program)}\n`);
  if (!debugs("wgsl")) return;
  for (const [wgsl, kernel] of new Map(program.steps.map(({ kernel }) => [kernel.wgsl, kernel]))) {
    debug("wgsl", `${program.name} ${kernel.name}`, wgsl);
  }
}

/** `io 0.5 MiB in 2 buffers, scratch 12.0 MiB in 4 buffers` */
function memoryText(program: Program): string {
  const buffers = [...program.buffers.values()];
  const kinds = (["state", "io", "scratch"] as const).map((kind) => {
    const sizes = buffers.filter(({ role }) => role.kind === kind).map(({ bytes }) => bytes);
    const mebibytes = sizes.reduce((a, b) => a + b, 0) / 2 ** 20;
    return `${kind} ${mebibytes.toFixed(1)} MiB in ${sizes.length} buffers`;
  });
  return kinds.join(", ");
}

/** One line a kernel: `matmul  12x  345 us  12.3 GFLOP/s  4.5 GB/s`; what `grouped` of a timeline gives. The trace is for files. */
export function debugTimeline(
  name: string,
  groups: readonly { name: string; count: number; microseconds: number; flops: number; bytes: number }[],
  trace?: string,
): void {
  const rate = (amount: number, microseconds: number) => (amount / (microseconds || 1) / 1000).toFixed(1);
  const lines = groups.map(({ name, count, microseconds, flops, bytes }) =>
    `${name.padEnd(40)} ${count}x  ${microseconds.toFixed(0)} us  ${rate(flops, microseconds)} GFLOP/s  ${
      rate(bytes, microseconds)
    } GB/s`
  );
  debug("timeline", `${name} timeline`, `${lines.join("\n")}\n`);
  if (folder !== "" && trace !== undefined) {
    Deno.writeTextFileSync(`${folder}/${fileName(`${name} trace`)}.json`, trace);
  }
}
