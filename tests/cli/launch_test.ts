/**
 * How the program starts itself: src/cli/launch.ts against src/cli/launch.sh, which must read the same list in the same way, and processes started with what
 * `selfCommand` says, in a checkout and in a bundle.
 */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import {
  dataFolder,
  flagsOf,
  lineOf,
  listedCommands,
  ownModels,
  programFolder,
  selfCommand,
  unneeded,
} from "../../src/cli/launch.ts";

const root = fileURLToPath(new URL("../../", import.meta.url)).replace(/\/$/, "");
const launch = new URL("../../src/cli/launch.ts", import.meta.url).href;
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** What launch.sh makes of a line, one flag a line. */
async function shellFlags(name: string, args: readonly string[], env: Record<string, string>): Promise<string[]> {
  const script = `set -eu; . "$program/src/cli/launch.sh"; print() { printf '%s\\n' "$@"; }; with_flags print "$@"`;
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", script, "sh", name, ...args],
    env: { program: root, deno: Deno.execPath(), ...env },
  }).output();
  assert.equal(code, 0, decode(stderr));
  return decode(stdout).trimEnd().split("\n");
}

Deno.test("launch: shell and program read the same list in the same way", async () => {
  const shape = flagsOf("{checkout}", { data: "." });
  for (const command of listedCommands()) {
    const expected = [...shape, ...flagsOf(command, { data: dataFolder() })];
    assert.deepEqual(await shellFlags(command, [], {}), expected, command);
  }
  const data = dataFolder("some where");
  assert.deepEqual(
    await shellFlags("worker", ["worker", "--data", "some where"], {}),
    [...shape, ...flagsOf("worker", { data }), "worker", "--data", "some where"],
  );
  const args = ["serve", "--data=d", "--models", "my models"];
  const places = { data: dataFolder("d"), models: "my models" };
  assert.deepEqual(await shellFlags("serve", args, {}), [...shape, ...flagsOf("serve", places), ...args]);
  const cluster = "nats://me:p@ss@a,tls://b:1/,[::1],[::2]:3,c";
  const away = [...["work", `--cluster=${cluster}`, "--data", "/d"], ...[
    "--cluster-ca",
    "my ca",
    "--cluster-credentials",
    "/c",
  ]];
  const there = { data: "/d", cluster, authority: "my ca", credentials: "/c" };
  assert.deepEqual(await shellFlags("work", away, {}), [...shape, ...flagsOf("work", there), ...away]);
  assert.ok(flagsOf("work", there).includes("--allow-net=a:4222,b:1,[::1]:4222,[::2]:3,c:4222"));
  assert.ok(flagsOf("work", there).some((flag) => flag.endsWith(`,/d,/c,${Deno.cwd()}/my ca`)));
  assert.ok(flagsOf("serve", places).some((flag) => flag.includes(`,${Deno.cwd()}/my models,`)));
});

Deno.test("launch: shell and program find the same folders", async () => {
  const print = `import { dataFolder, flagsOf } from "${launch}";
console.log(JSON.stringify(flagsOf("worker", { data: dataFolder() })));`;
  const environments: Record<string, string>[] = [
    {},
    { HOME: "/home/me" },
    { HOME: "/home/me", XDG_DATA_HOME: "/data" },
    { HOME: "/home/me", SPLICE_MODELS: "/my models" },
    { XDG_DATA_HOME: "/data" },
  ];
  const shape = flagsOf("{checkout}", { data: "." });
  const [PATH, DENO_DIR] = [Deno.env.get("PATH")!, Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`];
  const script = `. "$program/src/cli/launch.sh"; print() { printf '%s\n' "$@"; }; with_flags print worker`;
  for (const env of environments) {
    const own = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-lock", print],
      clearEnv: true,
      env: { PATH, DENO_DIR, ...env },
    }).output();
    assert.ok(own.success, decode(own.stderr));
    const shell = await new Deno.Command("sh", {
      args: ["-euc", script],
      clearEnv: true,
      env: { PATH, program: root, deno: Deno.execPath(), ...env },
    }).output();
    assert.deepEqual(
      decode(shell.stdout).trimEnd().split("\n"),
      [...shape, ...JSON.parse(decode(own.stdout))],
      decode(shell.stderr),
    );
  }
});

Deno.test("launch: a worker sees models and its data, and has neither network nor other programs", () => {
  const { command, args } = selfCommand(["worker", "--data", "/var/splice"], { data: "/var/splice" });
  assert.equal(command, Deno.execPath());
  assert.equal(args[0], "run");
  assert.deepEqual(args.slice(-4), [`${root}/main.ts`, "worker", "--data", "/var/splice"]);
  const models = ownModels() ?? `${root}/models`;
  const granted = args.filter((flag) => flag.startsWith("--allow"));
  assert.deepEqual(granted.map((flag) => flag.split("=")[0]), [
    "--allow-read",
    "--allow-write",
    "--allow-sys",
    "--allow-env",
  ]);
  assert.ok(granted.includes(`--allow-read=${root},${models},/var/splice`));
  assert.ok(granted.includes("--allow-write=/var/splice"));
  assert.ok(!granted.some((flag) => flag.includes("SPLICE_API_KEYS")));
});

Deno.test("launch: no line grants everything, and each grants only what is named", () => {
  for (const name of [...listedCommands(), "{tests}"]) {
    for (const flag of lineOf(name)) assert.doesNotMatch(flag, /^(-A|--allow-all|--allow-(ffi|run|sys)$)/, name);
  }
  assert.deepEqual(unneeded(lineOf("run")), ["net", "run"]);
  assert.deepEqual(unneeded(lineOf("doctor")), ["write", "run"]);
  assert.deepEqual(unneeded(lineOf("serve")), []);
  assert.deepEqual(unneeded(lineOf("worker")), ["net", "run"]);
  assert.deepEqual(unneeded(lineOf("work")), []);
  assert.throws(() => lineOf("nothing"), /Bug: launch\.txt has no line of nothing/);
  assert.throws(() => flagsOf("worker", { data: "/a,b" }), /Cannot use the folder \/a,b: .*Rename it/);
});

Deno.test("launch: a compiled binary starts itself, and gives up what its command does not need", async () => {
  const args = ["worker", "--data", "/d"];
  assert.deepEqual(selfCommand(args, { data: "/d", standalone: true }), { command: Deno.execPath(), args });
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${folder}/confined.ts`,
      `import { confine } from "${launch}";
const kinds = ["read", "write", "net", "run", "sys"] as const;
const granted = () => kinds.filter((name) => Deno.permissions.querySync({ name }).state === "granted");
await confine(Deno.args[0], false);
const before = granted();
await confine(Deno.args[0], true);
console.log(JSON.stringify([before, granted()]));`,
    );
    const all = ["read", "write", "net", "run", "sys"];
    const left: Record<string, string[]> = {
      worker: ["read", "write", "sys"],
      serve: ["read", "write", "net", "run", "sys"],
      doctor: ["read", "net", "sys"],
      work: ["read", "write", "net", "run", "sys"],
      help: ["read"],
      "no such command": ["read"],
    };
    for (const [command, kept] of Object.entries(left)) {
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-prompt", "--no-lock", ...all.map((kind) => `--allow-${kind}`)]
          .concat(`${folder}/confined.ts`, command),
      }).output();
      assert.deepEqual(JSON.parse(decode(stdout) || "null"), [all, kept], `${command}: ${decode(stderr)}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("launch: a checkout starts itself", async () => {
  assert.equal(programFolder(), root);
  const { command, args } = selfCommand(["help"], { data: "/nowhere" });
  const { code, stdout, stderr } = await new Deno.Command(command, { args: args.filter((flag) => flag !== "--frozen") })
    .output();
  assert.equal(code, 0, decode(stderr));
  assert.match(decode(stdout), /^Usage: splice /);
});

Deno.test("launch: a bundle starts itself, with the same permissions", async () => {
  const folder = Deno.realPathSync(await Deno.makeTempDir());
  try {
    const entry = `import { programFolder, selfCommand } from "${launch}";
if (Deno.args[0] === "worker") {
  const may = (descriptor: Deno.PermissionDescriptor) => Deno.permissions.querySync(descriptor).state === "granted";
  console.log(JSON.stringify([may({ name: "net" }), may({ name: "write", path: Deno.args[1] }), may({ name: "write" })]));
} else {
  console.log(programFolder());
  const { command, args } = selfCommand(["worker", Deno.args[0]], { data: Deno.args[0] });
  await new Deno.Command(command, { args }).spawn().status;
}`;
    await Deno.writeTextFile(`${folder}/entry.ts`, entry);
    const bundle = await new Deno.Command(Deno.execPath(), {
      args: ["bundle", "--quiet", "--no-lock", "--platform", "deno", "--minify", "-o", "splice.js", "entry.ts"],
      cwd: folder,
    }).output();
    assert.equal(bundle.code, 0, decode(bundle.stderr));
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--allow-env", `--allow-run=${Deno.execPath()}`, "splice.js", folder],
      cwd: folder,
    }).output();
    assert.deepEqual(decode(stdout).trimEnd().split("\n"), [folder, "[false,true,false]"], decode(stderr));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
