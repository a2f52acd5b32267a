/** A user's desk with a weight file in both namings and a store of models, and the program started there through the launcher. */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { type Ended, ended } from "./desk.ts";
import { asHuggingFace, madeUpVit, small, torchFile } from "../weights/vit_files.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const published = madeUpVit(small);
export const [pth, bin] = [torchFile(published), torchFile(asHuggingFace(published))];

export interface Desk {
  readonly folder: string;
  start(args: readonly string[], options?: { env?: Record<string, string>; before?: string }): Deno.ChildProcess;
  models(...args: string[]): Promise<Ended>;
}

/** A folder with vit.pth and vit.bin, the store in its `store`. */
export async function atDesk(use: (desk: Desk) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const start: Desk["start"] = (args, { env = {}, before = "" } = {}) =>
    new Deno.Command("sh", {
      args: ["-c", `${before}exec "$0" "$@"`, `${root}splice`, ...args],
      cwd: folder,
      env: { NO_COLOR: "1", DEBUG: "", SPLICE_MODELS: `${folder}/store`, NO_PROXY: "", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  try {
    await Deno.writeFile(`${folder}/vit.pth`, pth);
    await Deno.writeFile(`${folder}/vit.bin`, bin);
    await use({ folder, start, models: (...args) => ended(start(["models", ...args])) });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The message is one line. */
export function isOneLine(text: string): void {
  assert.equal(text.trim().split("\n").length, 1, text);
}
