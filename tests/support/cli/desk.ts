/** A user's desk: a folder with two small pictures, and the program started in it through the launcher, as a process of its own. */
import { fileURLToPath } from "node:url";
import { encodeImage } from "../../../src/images/encode.ts";
import { tinyModel, tinyPicture } from "../splice/tiny.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function start(args: readonly string[], cwd: string): Deno.ChildProcess {
  return new Deno.Command("sh", {
    args: [`${root}splice`, ...args],
    cwd,
    env: { NO_COLOR: "1", DEBUG: "", SPLICE_MODELS: `${cwd}/models` },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

export async function ended(child: Deno.ChildProcess): Promise<Ended> {
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

export interface Desk {
  readonly folder: string;
  splice(...args: string[]): Promise<Ended>;
  start(...args: string[]): Deno.ChildProcess;
  has(name: string): boolean;
}

/** A folder with two small pictures, a.png and b.png. */
export async function atDesk(use: (desk: Desk) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${folder}/a.png`, await encodeImage(tinyPicture(60, 44, 1), "png"));
    await Deno.writeFile(`${folder}/b.png`, await encodeImage(tinyPicture(40, 48, 2), "png"));
    await use({
      folder,
      splice: (...args) => ended(start(args, folder)),
      start: (...args) => start(args, folder),
      has(name) {
        try {
          return Deno.statSync(`${folder}/${name}`).size > 0;
        } catch {
          return false;
        }
      },
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export const pair = ["--structure", "a.png", "--appearance", "b.png"];
export const small = ["--model", tinyModel, "--vit-side", "32", "--size", "48", "--entire-every", "4"];

/** One JSON object a line. */
export function jsonLines(text: string): ReturnType<typeof JSON.parse>[] {
  return text.trim().split("\n").map((line) => JSON.parse(line));
}
