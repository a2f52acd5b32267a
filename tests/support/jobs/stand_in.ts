/** How to start the worker that stands in for a GPU worker; with `--inspect`, the real inspector. */
import { fileURLToPath } from "node:url";

export function standIn(args: readonly string[] = []): { command: string; args: string[] } {
  const root = fileURLToPath(new URL("../../../", import.meta.url));
  const flags = [
    "--no-prompt",
    `--config=${root}deno.json`,
    "--allow-read",
    "--allow-write",
    "--allow-env",
    "--allow-sys",
  ];
  return { command: Deno.execPath(), args: ["run", ...flags, `${root}tests/support/jobs/stand_in_worker.ts`, ...args] };
}
