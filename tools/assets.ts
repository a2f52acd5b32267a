/**
 * What is shipped beside the code, in the package and in compiled binaries: the bundled model, the photographs, and whose work all of it is. Files are listed, not
 * found: a model that somebody has put beside the bundled one stays at home.
 */
import { join } from "node:path";

export const root = join(import.meta.dirname!, "..");

/** Files and folders, from the root; they keep their places. */
export const assets: readonly string[] = [
  "LICENSE",
  "examples",
  "models/MODEL_CARD.md",
  "models/manifest.json",
  "models/splice-tiny8.safetensors",
  "models/what-to-expect.png",
  "src/web/dist",
];

/** Programs of threads: no module imports them. */
export const threads: readonly string[] = ["src/images/thread.ts"];

/** Outlines of a typeface, and its licence within. */
const lettersFile = "src/images/letters.json";

/** Modules whose packages are in what is shipped. */
const shipped = ["main.ts", "src/web/app.tsx", "tools/build_web.ts"];

export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  readonly localPath: string;
  readonly dependencies: readonly string[];
}

/** What `deno info --json` says, as far as it is read here. */
interface Info {
  readonly modules: readonly { readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<Record<string, NpmPackage>>;
}

/** Builds the page, which is among the assets. */
export async function buildPage(): Promise<void> {
  await output(["task", "web"]);
}

/** The packages that are in what is shipped, by name and version. */
export async function shippedPackages(): Promise<Map<string, NpmPackage>> {
  const packages = new Map<string, NpmPackage>();
  for (const entry of shipped) {
    const { modules, npmPackages }: Info = JSON.parse(await output(["info", "--json", entry]));
    const queue = modules.flatMap(({ npmPackage }) => npmPackage ?? []);
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
      const { name, version, dependencies } = npmPackages[id];
      if (!packages.has(`${name} ${version}`)) queue.push(...dependencies);
      packages.set(`${name} ${version}`, npmPackages[id]);
    }
  }
  return new Map([...packages].toSorted(([a], [b]) => a < b ? -1 : 1));
}

/** The licences of everything that is in the shipped files and not of this project. */
export async function notices(): Promise<string> {
  const own = await Deno.readTextFile(join(root, "LICENSE"));
  const parts = [
    `Deno ${Deno.version.deno}\n\n${own.replace(/^Copyright .*$/m, "Copyright 2018 and later, the Deno authors")}`,
    `Inter, the letters on pictures\n\n${JSON.parse(await Deno.readTextFile(join(root, lettersFile))).licence}`,
  ];
  for (const [title, { localPath }] of await shippedPackages()) {
    const files = Array.from(Deno.readDirSync(localPath), ({ name }) => name);
    const texts = files.filter((name) => /^(licen[sc]e|notice|copying)/i.test(name)).toSorted();
    if (texts.length === 0) {
      const { license } = JSON.parse(await Deno.readTextFile(join(localPath, "package.json")));
      if (!license) throw new Error(`Cannot ship ${title}: it does not say under what licence it is`);
      parts.push(`${title}\n\nLicence: ${license}`);
    } else {
      const whole = texts.map((name) => Deno.readTextFileSync(join(localPath, name)).trim());
      parts.push([title, ...whole].join("\n\n"));
    }
  }
  const head = "What Splice is made of besides its own code. The photographs' authors are named in examples/README.md.";
  return [head, ...parts].map((part) => part.trim()).join(`\n\n${"-".repeat(80)}\n\n`) + "\n";
}

/** What a run of Deno at the root prints. @throws with its messages if it fails. */
export async function output(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: [...args], cwd: root }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (code !== 0) throw new Error(`deno ${args[0]} failed\n${decode(stderr)}`);
  return decode(stdout);
}
