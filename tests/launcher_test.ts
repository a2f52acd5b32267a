/**
 * The launcher, run as a caller runs it, in a copy of its own with stand-ins for main.ts, npm and the tests. Nothing is fetched or installed: the PATH holds only the
 * few tools it may use, and VK_DRIVER_FILES tells it that drivers are seen to.
 */
import assert from "node:assert/strict";

const tools = [
  "awk",
  "cat",
  "dirname",
  "find",
  "grep",
  "head",
  "id",
  "ln",
  "mkdir",
  "mkfifo",
  "mktemp",
  "mv",
  "readlink",
  "rm",
  "sed",
  "sh",
  "sort",
  "tee",
  "uname",
];
const launcher = ["splice", "src/cli/launch.sh", "src/cli/launch.txt"];
const shell = await whereIs("sh"); // a bare name would be looked up in the PATH given to the child

interface Checkout {
  readonly folder: string;
  /** Starts the launcher with these arguments, from the folder above the checkout unless told otherwise. */
  start(args: string[], options?: { path?: string; cwd?: string; env?: Record<string, string> }): Deno.ChildProcess;
  run(
    args: string[],
    options?: { path?: string; cwd?: string; env?: Record<string, string> },
  ): Promise<{ code: number; out: string; err: string }>;
  write(name: string, text: string): void;
}

/** A checkout with the launcher and `main`, under a folder with a space, an accent, % and # in its name; `deno` on its PATH is the one that runs this test. */
async function withCheckout(main: string, use: (checkout: Checkout) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir();
  const folder = `${home}/a ü#100% checkout`;
  for (const name of [`${folder}/tests`, `${folder}/tools`, `${folder}/src/cli`, `${home}/bin`, `${home}/with-deno`]) {
    Deno.mkdirSync(name, { recursive: true });
  }
  for (const tool of tools) Deno.symlinkSync(await whereIs(tool), `${home}/bin/${tool}`);
  Deno.symlinkSync(Deno.execPath(), `${home}/with-deno/deno`);
  for (const file of launcher) Deno.copyFileSync(new URL(`../${file}`, import.meta.url), `${folder}/${file}`);
  const start: Checkout["start"] = (args, { path = `${home}/with-deno:${home}/bin`, cwd = home, env = {} } = {}) =>
    new Deno.Command(shell, {
      args: [`${folder}/splice`, ...args],
      cwd,
      clearEnv: true,
      env: { PATH: path, HOME: home, VK_DRIVER_FILES: "none", NO_COLOR: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  const run: Checkout["run"] = async (args, options) => {
    const { code, stdout, stderr } = await start(args, options).output();
    return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
  };
  const write = (name: string, text: string) => Deno.writeTextFileSync(`${folder}/${name}`, text);
  write("main.ts", main);
  write("tools/build_web.ts", 'Deno.mkdirSync("src/web/dist", { recursive: true }); console.log("built");');
  write("deno.json", '{ "test": { "include": ["tests/"] } }');
  try {
    await use({ folder, start, run, write });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

async function whereIs(tool: string): Promise<string> {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", `command -v ${tool}`] }).output();
  return new TextDecoder().decode(stdout).trim();
}

const echo = "console.log(JSON.stringify({ args: Deno.args, cwd: Deno.cwd() })); Deno.exit(5);";

Deno.test("launcher: arguments, the caller's folder and the exit code pass through", async () => {
  await withCheckout(echo, async ({ folder, run }) => {
    const { code, out, err } = await run(["run", "--out", "a b.png", ""]);
    assert.equal(code, 5, err);
    const { args, cwd } = JSON.parse(out);
    assert.deepEqual(args, ["run", "--out", "a b.png", ""]);
    assert.equal(cwd, Deno.realPathSync(`${folder}/..`));
  });
});

Deno.test("launcher: it can be called through a symlink", async () => {
  await withCheckout(echo, async ({ folder }) => {
    Deno.symlinkSync("a ü#100% checkout/splice", `${folder}/../link`);
    const { code, stderr } = await new Deno.Command(shell, {
      args: ["../link", "run"],
      cwd: folder,
      clearEnv: true,
      env: { PATH: `${folder}/../with-deno:${folder}/../bin`, HOME: folder, VK_DRIVER_FILES: "none" },
    }).output();
    assert.equal(code, 5, new TextDecoder().decode(stderr));
  });
});

Deno.test("launcher: SIGTERM reaches the program", async () => {
  const main = 'Deno.addSignalListener("SIGTERM", () => Deno.exit(7)); console.log("up"); setInterval(() => {}, 1000);';
  await withCheckout(main, async ({ start }) => {
    const child = start(["run"]);
    const reader = child.stdout.getReader();
    assert.match(new TextDecoder().decode((await reader.read()).value), /up/);
    child.kill("SIGTERM");
    assert.equal((await child.status).code, 7);
    await reader.cancel();
    await child.stderr.cancel();
  });
});

Deno.test("launcher: each command has the permissions it needs and no others", async () => {
  const main = `const state = (name) => Deno.permissions.querySync({ name }).state === "granted";
console.log(["read", "write", "net", "env", "run", "ffi", "sys"].filter(state).join(" "));
console.log(Deno.env.get("DEBUG"), Deno.env.get("SECRET"));`;
  await withCheckout(main, async ({ run }) => {
    const granted = async (command: string) =>
      (await run([command], { env: { DEBUG: "1", SECRET: "x" } })).out.trimEnd().split("\n");
    for (const command of ["run", "apply", "features", "pca", "invert", "demo", "bench"]) {
      assert.deepEqual(await granted(command), ["read write", "1 undefined"]);
    }
    assert.deepEqual(await granted("doctor"), ["read", "1 undefined"]);
    assert.deepEqual(await granted("models"), ["read net", "1 undefined"]);
    assert.deepEqual(await granted("help"), ["", "1 undefined"]);
    for (const name of ["{env}", "{tests}", "checkout", "a b", ".*"]) {
      assert.deepEqual(await granted(name), ["", "1 undefined"], name);
    }
  });
});

Deno.test("launcher: the server sees its own folders and secrets, starts Deno alone, and its workers have no network", async () => {
  const main = `const may = (descriptor) => Deno.permissions.querySync(descriptor).state === "granted";
const [command, ...paths] = Deno.args.filter((word) => !/^--(data|models)=/.test(word));
console.log(JSON.stringify({
  net: may({ name: "net" }),
  deno: may({ name: "run", command: Deno.execPath() }),
  shell: may({ name: "run", command: "/bin/sh" }),
  read: paths.filter((path) => may({ name: "read", path })),
  write: paths.filter((path) => may({ name: "write", path })),
  keys: Deno.env.get("SPLICE_API_KEYS") ?? null,
}));`;
  await withCheckout(main, async ({ folder, run }) => {
    const home = Deno.realPathSync(`${folder}/..`);
    const program = Deno.realPathSync(folder);
    const own = `${home}/.local/share/splice/server`;
    const models = `${home}/.local/share/splice/models`;
    async function granted(args: string[], env: Record<string, string> = {}) {
      const paths = [program, models, own, `${home}/data`, `${home}/own models`, "/etc"];
      const { code, out, err } = await run([...args, ...paths], { env: { SPLICE_API_KEYS: "secret", ...env } });
      assert.equal(code, 0, err);
      return JSON.parse(out);
    }
    const server = { net: true, deno: true, shell: false, keys: "secret" };
    const worker = { net: false, deno: false, shell: false, keys: null };
    assert.deepEqual(await granted(["serve"]), { ...server, read: [program, models, own], write: [own] });
    const elsewhere = { read: [program, `${home}/data`, `${home}/own models`], write: [`${home}/data`] };
    const env = { SPLICE_MODELS: `${home}/own models` };
    assert.deepEqual(await granted(["serve", "--data=data"], env), { ...server, ...elsewhere });
    assert.deepEqual(await granted(["worker", `--data=${home}/data`], env), { ...worker, ...elsewhere });
    const named = ["--data=data", "--models=own models"];
    assert.deepEqual(await granted(["serve", ...named]), { ...server, ...elsewhere });
    assert.deepEqual((await granted(["models", "--models=own models"])).write, [`${home}/own models`]);
    assert.ok(Deno.statSync(`${folder}/src/web/dist`).isDirectory, "the page is built first");
    const refused = await run(["serve", "--data", "a,b"]);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /splice: Cannot use the folder .*a,b: .*Rename it\.\n$/);
  });
});

Deno.test("launcher: test ends with the counts in one line, and with the tests' exit code", async () => {
  await withCheckout("", async ({ folder, run, write }) => {
    write(
      "tests/good_test.ts",
      'Deno.test("a", () => {}); Deno.test("b", () => {}); Deno.test({ name: "c", ignore: true, fn() {} });',
    );
    const good = await run(["test"]);
    assert.equal(good.code, 0, good.out + good.err);
    assert.equal(good.out.trimEnd().split("\n").at(-1), "2 passed, 0 failed, 1 skipped");
    write("tests/bad_test.ts", 'Deno.test("d", async (t) => { await t.step("e", () => {}); throw new Error("no"); });');
    const bad = await run(["test"]);
    assert.equal(bad.code, 1);
    assert.equal(bad.out.trimEnd().split("\n").at(-1), "2 passed, 1 failed, 1 skipped");
    const one = await run(["test", "good_test.ts", "--filter", "a"], { cwd: `${folder}/tests` });
    assert.equal(one.out.trimEnd().split("\n").at(-1), "1 passed, 0 failed");
  });
});

Deno.test("launcher: without Deno or npm it says what to install", async () => {
  await withCheckout(echo, async ({ folder, run }) => {
    const { code, out, err } = await run(["run"], { path: `${folder}/../bin` });
    assert.equal(code, 1);
    assert.equal(out, "");
    assert.match(err, /^splice: Cannot find Deno: .*Install Node 20/);
  });
});

Deno.test("launcher: where Deno is missing or old it is fetched through npm, once", async () => {
  await withCheckout(echo, async ({ folder, run }) => {
    const bin = `${folder}/../bin`;
    const script = (name: string, text: string) =>
      Deno.writeTextFileSync(`${bin}/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    script("deno", "echo deno 2.9.4 '(stable)'");
    script(
      "npm",
      `while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/@deno/platform"
ln -s '${Deno.execPath()}' "$2/node_modules/@deno/platform/deno"
echo "npm $*" >&2`,
    );
    const first = await run(["run"], { path: bin });
    assert.equal(first.code, 5, first.err);
    assert.match(first.err, /fetching Deno 2\.9\.6 through npm[^]*deno@2\.9\.6/);
    assert.equal(first.out.trim().split("\n").length, 1);
    const second = await run(["run"], { path: bin });
    assert.equal(second.code, 5);
    assert.doesNotMatch(second.err, /npm/);
  });
});

Deno.test("launcher: packages are fetched in one line, once for each deno.lock", async () => {
  await withCheckout(echo, async ({ run, write }) => {
    write("deno.lock", '{ "version": "5" }\n');
    const first = await run(["help"]);
    assert.equal(first.code, 5, first.err);
    assert.equal(first.err, "splice: fetching the packages that deno.lock names through npm (once)\n");
    assert.equal((await run(["help"])).err, "");
    write("deno.lock", '{ "version": "5", "specifiers": {} }\n');
    assert.match((await run(["help"])).err, /^splice: fetching the packages/);
  });
});

Deno.test("launcher: a JavaScript wrapper on the PATH is passed by for the binary behind it", async () => {
  await withCheckout("console.log(Deno.ppid);", async ({ folder, start }) => {
    const bin = `${folder}/../bin`;
    Deno.writeTextFileSync(`${bin}/deno`, `#!/bin/sh\n'${Deno.execPath()}' "$@"\n`, { mode: 0o755 });
    const { stdout, stderr } = await start(["run"], { path: bin }).output();
    assert.equal(new TextDecoder().decode(stdout).trim(), String(Deno.pid), new TextDecoder().decode(stderr));
  });
});
