/**
 * The one file to ship, from outside: the header of the package around a stand-in for Deno, in everything that can go wrong at a first start; and what `deno compile`
 * is called with. The real package is run in tests/tools/package_bare_test.ts.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { assets, buildPage, root, threads } from "../../tools/assets.ts";
import { compileArguments, permissions, superfluous, targets } from "../../tools/compile.ts";
import { launching, pack } from "../../tools/package.ts";

const standIn = `#!/bin/sh
if [ "$1" = --version ]; then echo "deno 0.0.0"; exit; fi
echo "from $(dirname "$0")" && printf '%s\\n' "$@" && echo "cache $XDG_CACHE_HOME"
exit 7
`;

interface Ship {
  /** A folder of the test's own. */
  readonly home: string;
  readonly file: string;
  readonly cache: string;
  run(args?: readonly string[], env?: Record<string, string>): Promise<{ code: number; out: string; err: string }>;
}

async function withPackage(use: (ship: Ship) => Promise<void>): Promise<void> {
  const home = Deno.realPathSync(await Deno.makeTempDir());
  try {
    const folder = `${home}/staged`;
    await Deno.mkdir(`${folder}/src/cli`, { recursive: true });
    for (const path of launching) await Deno.copyFile(join(root, path), join(folder, path));
    await Deno.writeTextFile(`${folder}/splice.js`, "//");
    await Deno.writeTextFile(`${folder}/deno`, standIn, { mode: 0o755 });
    const [file, cache] = [`${home}/a b/splice-linux-x64`, `${home}/cache`];
    await pack(folder, file);
    await use({ home, file, cache, run: (args = ["run"], env = {}) => start(file, args, { home, cache, env }) });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

async function start(
  file: string,
  args: readonly string[],
  { home, cache, env }: { home: string; cache: string; env: Record<string, string> },
): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", 'exec "$@"', "sh", file, ...args],
    cwd: home,
    clearEnv: true,
    env: { PATH: Deno.env.get("PATH")!, HOME: home, TMPDIR: home, XDG_CACHE_HOME: cache, VK_DRIVER_FILES: "-", ...env },
  }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

const folders = (path: string) => Array.from(Deno.readDirSync(path), ({ name }) => name).toSorted();

Deno.test("package: the first start unpacks, every start hands over with the command's permissions and exit code", async () => {
  await withPackage(async ({ cache, run }) => {
    const first = await run(["doctor", "--verbose", "a b"]);
    assert.equal(first.code, 7, first.err);
    assert.match(first.err, /^splice: unpacking \d+\.\d+\.\d+ into .*\/cache\/splice \(once, \d+ MB\)\n$/);
    const [id] = folders(`${cache}/splice`);
    const home = `${cache}/splice/${id}`;
    const lines = first.out.trimEnd().split("\n");
    assert.deepEqual([lines[0], lines.at(-1)], [`from ${home}`, `cache ${cache}`]);
    assert.deepEqual(lines.slice(-5, -1), [`${home}/splice.js`, "doctor", "--verbose", "a b"]);
    assert.deepEqual(lines.slice(1, 8), [
      "run",
      "--quiet",
      "--no-prompt",
      "--no-config",
      "--no-lock",
      "--no-remote",
      "--no-npm",
    ]);
    assert.deepEqual(lines.slice(8, -5).map((flag) => flag.split("=")[0]), [
      "--allow-read",
      "--allow-net",
      "--allow-sys",
      "--allow-env",
      "--ignore-env",
    ]);
    const second = await run(["doctor", "--verbose", "a b"]);
    assert.deepEqual(second, { ...first, err: "" });
    const worker = await run(["worker", "--data=/d"]);
    assert.match(worker.out, new RegExp(`\\n--allow-read=${home},[^,]*,/d\\n--allow-write=/d\\n`));
    assert.doesNotMatch(worker.out, /--allow-(net|run)/);
  });
});

Deno.test("package: the same files give the same bytes", async () => {
  await withPackage(async ({ home, file }) => {
    const before = await Deno.readFile(file);
    await pack(`${home}/staged`, `${home}/again`);
    assert.deepEqual(await Deno.readFile(`${home}/again`), before);
  });
});

Deno.test("package: first starts at the same time get along", async () => {
  await withPackage(async ({ cache, run }) => {
    const starts = await Promise.all(Array.from({ length: 6 }, () => run()));
    for (const { code, err } of starts) assert.equal(code, 7, err);
    assert.equal(folders(`${cache}/splice`).length, 1, "nothing is left beside the one folder");
  });
});

Deno.test("package: what is not whole is not used", async () => {
  await withPackage(async ({ home, cache, file, run }) => {
    await run();
    const [id] = folders(`${cache}/splice`);
    await Deno.remove(`${cache}/splice/${id}/splice.js`);
    const swept = await run();
    assert.equal(swept.code, 7, swept.err);
    assert.match(swept.err, /unpacking/);
    assert.deepEqual(folders(`${cache}/splice`), [id]);
    assert.ok((await Deno.stat(`${cache}/splice/${id}/splice.js`)).isFile);

    const whole = await Deno.readFile(file);
    const fresh = { XDG_CACHE_HOME: `${home}/other` };
    await Deno.writeFile(file, whole.subarray(0, -100));
    const short = await run(["run"], fresh);
    assert.equal(short.code, 1);
    assert.match(
      short.err,
      new RegExp(`it has ${whole.length - 100} of ${whole.length} bytes\\. Fetch it again\\.\\n$`),
    );
    const damaged = whole.slice();
    damaged.set([1, 2, 3, 4], damaged.length - 1000);
    await Deno.writeFile(file, damaged);
    const broken = await run(["run"], fresh);
    assert.equal(broken.code, 1);
    assert.match(broken.err, /it is damaged\. Fetch it again\.\n$/);
    assert.deepEqual(folders(`${home}/other/splice`), []);
  });
});

Deno.test("package: without a cache to write to, it unpacks into a temporary folder of its user alone", async () => {
  await withPackage(async ({ home, run }) => {
    const nowhere = { XDG_CACHE_HOME: "/proc/none" };
    const first = await run(["run"], nowhere);
    assert.equal(first.code, 7, first.err);
    const [temporary] = folders(home).filter((name) => name.startsWith("splice-"));
    const place = `${home}/${temporary}`;
    assert.match(first.out, new RegExp(`^from ${place}/[0-9a-f]{16}\\n[^]*\\ncache ${place}\\n$`));
    assert.equal((await Deno.stat(place)).mode! & 0o777, 0o700);
    assert.equal((await run(["run"], nowhere)).out, first.out);

    await Deno.rename(place, `${home}/elsewhere`);
    await Deno.symlink(`${home}/elsewhere`, place);
    const planted = await run(["run"], nowhere);
    assert.equal(planted.code, 1, "what another user may have planted is not run");
    assert.match(
      planted.err,
      /^splice: Cannot unpack: neither .* can be written\. Set XDG_CACHE_HOME to a folder of yours\.\n$/,
    );
  });
});

Deno.test("compile: every target has its arguments, and what they include exists", async () => {
  for (const [target, name] of Object.entries(targets)) {
    const args = compileArguments(target, { out: name, left: [] });
    assert.equal(args.at(-1), "main.ts");
    assert.equal(args[args.indexOf("--target") + 1], target);
    const included = args.flatMap((arg, at) => args[at - 1] === "--include" ? [arg] : []);
    assert.deepEqual(included, [...assets, ...threads]);
  }
  await buildPage();
  for (const path of [...assets, "main.ts"]) await Deno.stat(join(root, path));
  const granted = permissions();
  assert.ok(!granted.some((flag) => /^(-A|--allow-(all|ffi|import))/.test(flag)));
  assert.ok(granted.some((flag) => /^--allow-sys=.*systemMemoryInfo/.test(flag)));
  assert.ok(granted.some((flag) => /^--allow-env=.*HOME.*,SPLICE_API_KEYS/.test(flag)));
});

Deno.test("compile: Deno accepts the arguments, and everything is embedded", async () => {
  const folder = await Deno.makeTempDir();
  try {
    // Deno itself stands in for the base binary that would be fetched: what comes out does not run, but all that goes in is there.
    const args = compileArguments(Object.keys(targets)[0], { out: `${folder}/splice`, left: await superfluous() });
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["compile", "--no-check", ...args.slice(1)],
      cwd: root,
      env: { DENORT_BIN: Deno.execPath(), NO_COLOR: "1" },
    }).output();
    const listing = new TextDecoder().decode(stderr);
    assert.equal(code, 0, listing);
    for (const path of ["LICENSE", "examples", "models", "dist", "main.ts", "launch.txt", "zod"]) {
      assert.match(listing, new RegExp(`[ /]${path.replace(".", "\\.")}[/ ]`), `${path} is embedded`);
    }
    assert.ok((await Deno.stat(`${folder}/splice`)).size > (await Deno.stat(Deno.execPath())).size + 5e6);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
