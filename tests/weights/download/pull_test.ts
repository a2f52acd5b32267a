/** `splice models pull` in processes of its own: kills, two at once, full disks, proxies, and a server that takes what was pulled. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { encodeImage } from "../../../src/images/encode.ts";
import { linesOf } from "../../../src/jobs/workers/channel.ts";
import { ended } from "../../support/cli/desk.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { atDesk, isOneLine, pth } from "../../support/cli/models_desk.ts";
import { fileAnswer, serveRaw, statusAnswer } from "../../support/weights/raw_server.ts";
import { form, startServer } from "../../support/cli/server.ts";
import { tinyPicture } from "../../support/splice/tiny.ts";

Deno.test("models: pull says how far it is, goes on after a kill, and is stopped by Ctrl-C", () =>
  atDesk(async ({ folder, start, models }) => {
    let held = true;
    await using server = serveRaw((asked) => fileAnswer(asked, pth, held ? { cut: 50_000, held } : {}));
    const pull = ["models", "pull", "mine", "--from", `${server.address}/vit.pth`, "--licence", "CC0 1.0"];
    for (const signal of ["SIGKILL", "SIGINT"] as const) {
      const child = start(pull);
      const errors = linesOf(child.stderr);
      assert.match((await errors.next()).value!, /^mine: \d\.\d+ MB of \d\.\d+ MB/);
      while ((await Deno.stat(await partPath(folder)).catch(() => null))?.size !== 50_000) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      child.kill(signal);
      const rest: string[] = [];
      for await (const line of errors) rest.push(line);
      const { code } = await child.status;
      await child.stdout.cancel();
      assert.equal(code, signal === "SIGINT" ? 130 : 137);
      if (signal === "SIGINT") {
        const again = `splice models pull mine --from ${server.address}/vit.pth --licence 'CC0 1.0'`;
        assert.equal(rest.at(-1), `Stopped. The next \`${again}\` goes on from here.`);
      }
      assert.ok(!existsSync(`${folder}/store/mine.safetensors`));
      // After a kill only what is surely on the disk counts, at least the first piece.
      if (signal === "SIGKILL") await Deno.truncate(await partPath(folder), 1000);
    }
    held = false;
    const { code, out, err } = await ended(start(pull));
    assert.equal(code, 0, err);
    assert.match(err, /^mine: 0\.050 MB of 0\.\d+ MB\nmine: (0\.\d+ MB) of \1/);
    assert.match(
      out,
      /^mine is here: \S+\/store\/mine\.safetensors, .* from http:\S+\/vit\.pth \(SHA-256 \w{64}\), licence CC0 1\.0\n$/,
    );
    assert.deepEqual(server.asked.map(({ headers }) => headers.get("range")), [
      undefined,
      "bytes=1000-",
      "bytes=50000-",
    ]);
    assert.match((await ended(start(pull))).out, /^mine is here already: /);
    assert.deepEqual(await ended(start([...pull, "--quiet"])), { code: 0, out: "", err: "" });
    await models("import", "vit.bin", "--name", "taken");
    assert.deepEqual(
      await Deno.readFile(`${folder}/store/taken.safetensors`),
      await Deno.readFile(`${folder}/store/mine.safetensors`),
    );
  }));

async function partPath(folder: string): Promise<string> {
  for await (const { name } of Deno.readDir(`${folder}/store/.fetch`)) {
    if (/^mine-\w{8}\.part$/.test(name)) return `${folder}/store/.fetch/${name}`;
  }
  return `${folder}/store/none yet`;
}

Deno.test("models: two processes that pull at once fetch once", () =>
  atDesk(async ({ start }) => {
    await using server = serveRaw((asked) => fileAnswer(asked, pth, { pause: 20 }));
    const pull = ["models", "pull", "mine", "--from", `${server.address}/vit.pth`];
    const both = await Promise.all([ended(start(pull)), ended(start(pull))]);
    assert.deepEqual(both.map(({ code }) => code), [0, 0]);
    assert.equal(server.asked.length, 1);
    assert.deepEqual(both.map(({ out }) => out.includes("here already")).sort(), [false, true]);
  }));

Deno.test("models: a full disk, a missing file and no network are one clear line each", () =>
  atDesk(async ({ folder, start, models }) => {
    await using server = serveRaw((asked) =>
      asked.path === "/vit.pth" ? fileAnswer(asked, pth) : statusAnswer("404 Not Found")
    );
    // A limit on the size of files is the disk that a test can fill.
    const full = await ended(
      start(["models", "pull", "mine", "--from", `${server.address}/vit.pth`, "--quiet"], {
        before: "trap '' XFSZ; ulimit -f 100; ",
      }),
    );
    assert.equal(full.code, 1);
    assert.match(
      full.err,
      /^splice: Cannot write \S+\.part: .*Make room, check the folder's permissions, and pull again: it goes on from here\.\n$/,
    );
    assert.ok(!existsSync(`${folder}/store/mine.safetensors`));
    const missing = await models("pull", "mine", "--from", `${server.address}/none.pth`, "--quiet");
    assert.equal(missing.code, 1);
    assert.match(
      missing.err,
      /^splice: Cannot fetch mine: http:\S+\/none\.pth answered 404 Not Found\. Without a network here, fetch .* splice models import none\.pth --name mine\n$/,
    );
    isOneLine(missing.err);
  }));

Deno.test("models: proxies are those of the environment", () =>
  atDesk(async ({ start }) => {
    await using proxy = serveRaw((asked) =>
      asked.path.startsWith("http://") ? fileAnswer(asked, pth) : statusAnswer("502 Bad Gateway")
    );
    const pull = (name: string, url: string, env: Record<string, string>) =>
      ended(start(["models", "pull", name, "--from", url, "--quiet"], { env }));
    const plain = await pull("mine", "http://weights.invalid/vit.pth", { HTTP_PROXY: proxy.address });
    assert.deepEqual(plain, { code: 0, out: "", err: "" });
    const tunnel = await pull("yours", "https://weights.invalid/vit.pth", { HTTPS_PROXY: proxy.address });
    assert.equal(tunnel.code, 1);
    assert.match(tunnel.err, /cannot be reached \(.*: the proxy that HTTPS_PROXY names refuses the connection\)/);
    assert.deepEqual(proxy.asked.map(({ path }) => path), [
      "http://weights.invalid/vit.pth",
      ...Array(2).fill("weights.invalid:443"),
    ]);
    const around = { HTTP_PROXY: proxy.address, NO_PROXY: "127.0.0.1" };
    await using server = serveRaw((asked) => fileAnswer(asked, pth));
    assert.equal((await pull("theirs", `${server.address}/vit.pth`, around)).code, 0);
    assert.equal(proxy.asked.length, 3);
  }));

gpuTest("models: a running server takes a model that has just been pulled", () =>
  atDesk(async ({ folder, models }) => {
    await using weights = serveRaw((asked) => fileAnswer(asked, pth));
    const server = await startServer({
      data: `${folder}/data`,
      models: "/nowhere",
      args: ["--models", `${folder}/own`],
    });
    try {
      const named = async (): Promise<{ present: boolean; licence: string | null } | undefined> => {
        const { models } = await (await fetch(`${server.address}/v1/models`)).json();
        return models.find(({ name }: { name: string }) => name === "fresh");
      };
      assert.equal(await named(), undefined);
      const pulled = await models(
        "pull",
        "fresh",
        "--from",
        `${weights.address}/vit.pth`,
        "--half",
        "--licence",
        "MIT",
        "--models",
        "own",
      );
      assert.equal(pulled.code, 0, pulled.err);
      assert.deepEqual(await named(), {
        name: "fresh",
        present: true,
        default: false,
        about: null,
        licence: "MIT",
        megabytes: null,
      });
      const [structure, appearance] = [
        await encodeImage(tinyPicture(52, 44, 1), "png"),
        await encodeImage(tinyPicture(40, 48, 2), "png"),
      ];
      const body = form({ structure, appearance, model: "fresh", steps: 1, vit_side: 32 });
      const response = await fetch(`${server.address}/v1/splice`, { method: "POST", body });
      assert.equal(response.status, 200, await response.clone().text());
      await response.body?.cancel();
    } finally {
      await server.stop();
    }
  }));
