/**
 * The program as something that is started: where its own files lie and where the user's, how it starts itself as another process, and what a command may do. Its
 * three shapes are a checkout (src/cli/launch.ts under the root), the package (everything bundled into ROOT/splice.js) and a binary of `deno compile` (a checkout in
 * a file system of its own). Permissions come from launch.txt alone, which launch.sh reads too; the two must find the same folders.
 */
import { join, resolve } from "node:path";
import table from "./launch.txt" with { type: "text" };

const bundled = !import.meta.url.endsWith("/src/cli/launch.ts");

/** The folder that holds models/ and examples/, as they came with the program. */
export function programFolder(): string {
  const here = import.meta.dirname ?? ".";
  return bundled ? here : join(here, "../..");
}

/** The user's own models: as given, absolute, or SPLICE_MODELS, or a folder of the data home. Null where there is no home. */
export function ownModels(given?: string): string | null {
  if (given !== undefined) return resolve(given);
  const home = dataHome();
  return Deno.env.get("SPLICE_MODELS") || (home && join(home, "splice/models"));
}

/** The server's folder, absolute: as given, or a folder of the data home, or of the working directory where there is no home. */
export function dataFolder(given?: string): string {
  return resolve(given ?? join(dataHome() ?? ".", "splice/server"));
}

function dataHome(): string | null {
  const home = Deno.env.get("HOME");
  return Deno.env.get("XDG_DATA_HOME") || (home && join(home, ".local/share")) || Deno.env.get("LOCALAPPDATA") || null;
}

/** What a command was given of these, where it was: --data and --models, --cluster, --cluster-credentials and --cluster-ca. */
export interface Places {
  readonly data: string;
  readonly models?: string | undefined;
  readonly cluster?: string | undefined;
  readonly credentials?: string | undefined;
  readonly authority?: string | undefined;
}

export interface SelfCommand {
  readonly command: string;
  readonly args: string[];
}

/**
 * What to start for `splice ARGS` in a process of its own, with the permissions of that command in these folders. A binary of `deno compile` carries
 * its permissions within it: its child has the same, until `confine` gives up what the command does not need.
 */
export function selfCommand(
  args: readonly string[],
  { standalone = Deno.build.standalone, ...places }: Places & { standalone?: boolean },
): SelfCommand {
  const command = Deno.execPath();
  if (standalone) return { command, args: [...args] };
  const program = programFolder();
  const flags = [...flagsOf(bundled ? "{package}" : "{checkout}", places), ...flagsOf(args[0], places)];
  return { command, args: ["run", "--quiet", ...flags, join(program, bundled ? "splice.js" : "main.ts"), ...args] };
}

/** What stands for several things, with commas between them. */
const LISTS: readonly string[] = ["{env}", "{keys}", "{cluster}", "{secrets}"];

/** nats://user:password@a,tls://b:1 are a:4222,b:1, as launch.sh has it too. */
function serversOf(addresses: string): string {
  return addresses.split(",").map((address) => {
    const host = address.replace(/^.*?:\/\//, "").replace(/^.*@/, "").replace(/\/.*$/, "");
    return /\]:|^[^[].*:/.test(host) ? host : `${host}:4222`;
  }).join();
}

/** The flags of a line of launch.txt, this program's or that of the one in `program`, its {names} filled in. @throws if a folder's name has a comma: Deno would take it for two. */
export function flagsOf(
  name: string,
  { data, models, cluster, credentials, authority, program = programFolder(), table }: Places & {
    readonly program?: string;
    readonly table?: string;
  },
): string[] {
  const places: Record<string, string> = {
    "{env}": lineOf("{env}", table).join(),
    // Another program's list may be older than this one's names.
    "{keys}": table?.includes("\n{keys} ") === false ? "" : lineOf("{keys}", table).join(),
    "{cluster}": serversOf(cluster ?? "127.0.0.1"),
    "{secrets}": [credentials, authority].map((file) => file === undefined ? program : resolve(file)).join(),
    "{program}": program,
    "{deno}": Deno.execPath(),
    "{models}": ownModels(models) ?? join(program, "models"),
    "{data}": resolve(data),
  };
  return lineOf(name, table).map((flag) =>
    flag.replaceAll(/\{\w+\}/g, (place) => {
      const path = places[place];
      if (!LISTS.includes(place) && path.includes(",")) {
        throw new Error(`Cannot use the folder ${path}: permissions cannot name a folder with a comma. Rename it.`);
      }
      return path;
    })
  );
}

/** The words behind a name of launch.txt, as they stand there. @throws where there is no such line. */
export function lineOf(name: string, lines = table): string[] {
  const line = lines.split("\n").find((line) => line.startsWith(`${name} `));
  if (line === undefined) throw new Error(`Bug: launch.txt has no line of ${name}`);
  return line.split(/ +/).slice(1);
}

/** The commands that launch.txt knows. */
export function listedCommands(): string[] {
  return table.split("\n").flatMap((line) => /^[a-z]+(?= )/.exec(line)?.[0] ?? []);
}

/** What a process may give up of its own will. */
const KINDS = ["read", "write", "net", "run", "sys"] as const;

/**
 * In a binary of `deno compile`, whose permissions are those of all commands together: gives up the kinds that this command does not need, for the rest of the
 * process. Elsewhere the process was started with the right ones, and nothing happens.
 */
export async function confine(command: string, standalone = Deno.build.standalone): Promise<void> {
  if (!standalone) return;
  const line = listedCommands().includes(command) ? lineOf(command) : lineOf("help");
  for (const kind of unneeded(line)) await Deno.permissions.revoke({ name: kind });
}

/** The kinds of permission that a line of launch.txt does not grant. */
export function unneeded(line: readonly string[]): (typeof KINDS)[number][] {
  return KINDS.filter((kind) => !line.some((flag) => new RegExp(`^--allow-${kind}\\b`).test(flag)));
}
