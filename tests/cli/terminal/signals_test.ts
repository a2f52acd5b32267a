/** Real processes whose terminal is closed: under nohup they live on, every command and the server with its workers; without it they save and stop. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { atDesk, ended, pair, small } from "../../support/cli/desk.ts";

const launcher = fileURLToPath(new URL("../../../splice", import.meta.url));

/** Starts the launcher in a shell that ignores SIGHUP, as nohup does, or in one that does not. */
function start(args: readonly string[], { cwd, nohup }: { cwd: string; nohup: boolean }): Deno.ChildProcess {
  return new Deno.Command("sh", {
    args: ["-c", `${nohup ? 'trap "" HUP; ' : ""}exec sh "$0" "$@"`, launcher, ...args],
    cwd,
    env: { NO_COLOR: "1", DEBUG: "", SPLICE_MODELS: `${cwd}/models`, SPLICE_NOHUP: "stale" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

const training = ["run", ...pair, ...small, "--preview-every", "0", "--out", "out.png", "--metrics", "steps.jsonl"];

async function untilThere(has: (name: string) => boolean, name: string): Promise<void> {
  while (!has(name)) await new Promise((done) => setTimeout(done, 20));
}

Deno.test("a closed terminal: under nohup a training goes on to its end", async () => {
  await atDesk(async ({ folder, has }) => {
    const child = start([...training, "--steps", "6"], { cwd: folder, nohup: true });
    const result = ended(child);
    await untilThere(has, "steps.jsonl");
    child.kill("SIGHUP");
    child.kill("SIGHUP");
    const { code, err } = await result;
    assert.equal(code, 0, err);
    assert.ok(has("out.png"));
  });
});

Deno.test("a closed terminal: without nohup a training is saved, however often it is told", async () => {
  await atDesk(async ({ folder, has }) => {
    const args = [...training, "--steps", "1000000", "--checkpoint", "c.ckpt"];
    const child = start(args, { cwd: folder, nohup: false });
    const result = ended(child);
    await untilThere(has, "steps.jsonl");
    child.kill("SIGHUP");
    await new Promise((done) => setTimeout(done, 50));
    child.kill("SIGHUP");
    const { code, err } = await result;
    assert.equal(code, 130, err);
    assert.doesNotMatch(err, /Hangup/);
    assert.match(err, /^Stopped after \d+ of 1000000 steps/m);
    assert.ok(has("c.ckpt"));
  });
});

Deno.test("a closed terminal: the server lives on under nohup, and stops in order without", async () => {
  for (const nohup of [true, false]) {
    const data = await Deno.makeTempDir();
    try {
      const child = start(["serve", "--port", "0", "--data", data], { cwd: data, nohup });
      const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let said = "";
      while (!said.includes("Jobs are kept")) said += (await lines.read()).value ?? assert.fail(said);
      const address = /http:\S+/.exec(said)![0];
      child.kill("SIGHUP");
      if (nohup) {
        await new Promise((done) => setTimeout(done, 300));
        assert.ok((await fetch(`${address}healthz`).then((answer) => answer.text())).length > 0);
        child.kill("SIGTERM");
      }
      const [{ code }, err] = await Promise.all([child.status, new Response(child.stderr).text()]);
      assert.equal(code, 0, err);
      await lines.cancel();
    } finally {
      await Deno.remove(data, { recursive: true });
    }
  }
});
