/**
 * `deno task package`: one executable file for Linux on x86-64 that needs neither Deno nor Node nor a network: package_header.sh, then a compressed archive of Deno itself, the
 * program bundled into modules (the reader of pictures apart, for it is large and not always needed), and what it ships with. The same sources give the same bytes. Built on Linux, by the Deno that will be in it.
 *
 *   deno task package [--out FILE]     default: out/splice-linux-x64
 */
import { createHash } from "node:crypto";
import { dirname, join, relative, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import config from "../deno.json" with { type: "json" };
import { assets, buildPage, notices, output, root, threads } from "./assets.ts";

/** What the header needs of a checkout, at the same places. */
export const launching = ["src/cli/launch.sh", "src/cli/launch.txt"];

/** Builds the package from this checkout. Resolves to its size in bytes. */
export async function buildPackage(out: string): Promise<number> {
  const folder = await Deno.makeTempDir({ prefix: "splice-package-" });
  try {
    await buildPage();
    await stage(folder);
    return await pack(folder, out);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes the folder, which has a program `deno` and what package_header.sh needs, as one executable file. Resolves to its size in bytes. */
export async function pack(folder: string, out: string): Promise<number> {
  const archive = await archiveOf(folder);
  const compressed = gzipSync(archive, { level: 9 });
  const header = fillHeader(await Deno.readTextFile(join(root, "tools/package_header.sh")), {
    id: createHash("sha256").update(compressed).digest("hex").slice(0, 16),
    files: (await filesUnder(folder)).length,
    megabytes: Math.ceil(archive.length / 1e6),
    archiveBytes: compressed.length,
  });
  await Deno.mkdir(dirname(out), { recursive: true });
  await Deno.writeFile(`${out}.part`, concat([header, compressed]));
  await Deno.chmod(`${out}.part`, 0o755);
  await Deno.rename(`${out}.part`, out);
  return header.length + compressed.length;
}

/** Fills the folder with what the user's cache will hold. */
async function stage(folder: string): Promise<void> {
  const how = ["--quiet", "--frozen", "--platform", "deno", "--minify", "--code-splitting", "--outdir", folder];
  await output(["bundle", ...how, "main.ts", ...threads]);
  await Deno.rename(join(folder, "main.js"), join(folder, "splice.js"));
  for (const path of [...launching, ...assets]) await copy(join(root, path), join(folder, path));
  await Deno.writeTextFile(join(folder, "NOTICES.txt"), await notices());
  await Deno.copyFile(Deno.execPath(), join(folder, "deno"));
  await Deno.chmod(join(folder, "deno"), 0o755);
}

async function copy(from: string, to: string): Promise<void> {
  if ((await Deno.stat(from)).isDirectory) {
    for await (const { name } of Deno.readDir(from)) await copy(join(from, name), join(to, name));
  } else {
    await Deno.mkdir(dirname(to), { recursive: true });
    await Deno.writeFile(to, await Deno.readFile(from), { mode: 0o644 });
  }
}

/** A tar archive that depends on names and contents alone. */
async function archiveOf(folder: string): Promise<Uint8Array> {
  const { code, stdout, stderr } = await new Deno.Command("tar", {
    args: ["--create", "--format=ustar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]
      .concat("--mode=u=rwX,go=rX", "--directory", folder, "."),
  }).output();
  if (code !== 0) throw new Error(`Cannot pack: tar failed\n${new TextDecoder().decode(stderr)}`);
  return stdout;
}

interface Facts {
  readonly id: string;
  readonly files: number;
  readonly megabytes: number;
  readonly archiveBytes: number;
}

/** The header with its @NAMES@ filled in; its own length is one of them, at a fixed width. */
function fillHeader(template: string, { id, files, megabytes, archiveBytes }: Facts): Uint8Array {
  const encode = (bytes: number) =>
    new TextEncoder().encode(
      template.replace("@ID@", id).replace("@VERSION@", config.version)
        .replace("@LINE@", String(template.split("\n").length)).replace("@BYTES@", String(bytes).padEnd(12))
        .replace("@FILES@", String(files)).replace("@MEGABYTES@", String(megabytes)),
    );
  return encode(encode(0).length + archiveBytes);
}

async function filesUnder(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) found.push(...await filesUnder(join(folder, name)));
    else found.push(name);
  }
  return found;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

if (import.meta.main) {
  const [flag, file] = Deno.args;
  if (flag !== undefined && (flag !== "--out" || file === undefined)) {
    console.error("usage: deno task package [--out FILE]");
    Deno.exit(2);
  }
  const out = resolve(file ?? join(root, "out/splice-linux-x64"));
  const bytes = await buildPackage(out);
  console.log(`${relative(Deno.cwd(), out)}: ${(bytes / 1e6).toFixed(1)} MB`);
}
