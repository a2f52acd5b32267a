/**
 * `deno task compile`: binaries of `deno compile` for five platforms, into out/. Each needs a base binary that Deno fetches from its own site, so this needs the
 * internet; where there is none, `deno task package` makes the one file for Linux. A compiled binary has one set of permissions for all commands, those of
 * src/cli/launch.txt together; each command gives up the kinds it does not need before it begins (`confine` in src/cli/launch.ts).
 *
 *   deno task compile [TARGET...]     default: all of them
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { lineOf, listedCommands } from "../src/cli/launch.ts";
import { assets, buildPage, root, shippedPackages, threads } from "./assets.ts";

/** Deno's names of platforms, and the files made for them. */
export const targets: Readonly<Record<string, string>> = {
  "x86_64-unknown-linux-gnu": "splice-linux-x64-compiled",
  "aarch64-unknown-linux-gnu": "splice-linux-arm64",
  "x86_64-apple-darwin": "splice-macos-x64",
  "aarch64-apple-darwin": "splice-macos-arm64",
  "x86_64-pc-windows-msvc": "splice-windows-x64.exe",
};

/** Folders that packages bring and nobody needs. In one of them lies a file on which `deno compile` overflows its stack: https://github.com/denoland/deno/issues/36746. */
export async function superfluous(): Promise<string[]> {
  const folders = Array.from((await shippedPackages()).values(), ({ localPath }) => join(localPath, "test"));
  return folders.filter((folder) => existsSync(folder));
}

/** What `deno` is called with, at the root; `left` is what stays out of the binary. */
export function compileArguments(target: string, { out, left }: { out: string; left: readonly string[] }): string[] {
  return [
    "compile",
    "--frozen",
    "--no-prompt",
    "--exclude-unused-npm",
    "--target",
    target,
    "--output",
    out,
    ...permissions(),
    ...[...assets, ...threads].flatMap((path) => ["--include", path]),
    ...left.flatMap((path) => ["--exclude", path]),
    "main.ts",
  ];
}

/** The permissions of all commands together. Folders are known only when the binary runs, so files, network and programs are not narrowed further. */
export function permissions(): string[] {
  const kinds = new Map<string, Set<string> | "all">();
  for (const flag of listedCommands().flatMap((command) => lineOf(command))) {
    const [kind, list] = flag.split("=");
    if (kind === "--ignore-env") continue;
    const before = kinds.get(kind);
    if (list === undefined || before === "all" || /\{(?!env\}|keys\})/.test(list)) kinds.set(kind, "all");
    else {
      const names = list.replaceAll(/\{(env|keys)\}/g, (name) => lineOf(name).join());
      kinds.set(kind, new Set([...before ?? [], ...names.split(",")]));
    }
  }
  const flags = Array.from(kinds, ([kind, names]) => names === "all" ? kind : `${kind}=${[...names].join()}`);
  return [...flags.toSorted(), "--ignore-env"];
}

if (import.meta.main) {
  const wanted = Deno.args.length > 0 ? Deno.args : Object.keys(targets);
  const unknown = wanted.filter((target) => !(target in targets));
  if (unknown.length > 0) {
    console.error(`Cannot compile for ${unknown.join(", ")}: the targets are ${Object.keys(targets).join(", ")}`);
    Deno.exit(2);
  }
  await buildPage();
  const left = await superfluous();
  const failed: string[] = [];
  for (const target of wanted) {
    const args = compileArguments(target, { out: join("out", targets[target]), left });
    const { success } = await new Deno.Command(Deno.execPath(), { args, cwd: root }).spawn().status;
    if (!success) failed.push(target);
  }
  if (failed.length > 0) {
    console.error(
      `Not compiled: ${failed.join(", ")}, see above. Without the internet, deno task package makes a file for Linux.`,
    );
    Deno.exit(1);
  }
}
