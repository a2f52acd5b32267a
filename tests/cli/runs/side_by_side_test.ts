import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { compareBuilds } from "../../../src/cli/runs/side_by_side.ts";
import { flagsOf, lineOf } from "../../../src/cli/launch.ts";
import { UsageError } from "../../../src/cli/terminal/usage.ts";

const signal = new AbortController().signal;
const options = { sizes: [32], signal, onTurn: () => {} };
const launchTable = fileURLToPath(new URL("../../../src/cli/launch.txt", import.meta.url));

/** A folder with a program that is started as a checkout is, and pretends to train: so many ms a step. */
async function standIn(main: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  await Deno.mkdir(`${folder}/src/cli`, { recursive: true });
  await Deno.copyFile(launchTable, `${folder}/src/cli/launch.txt`);
  await Deno.writeTextFile(`${folder}/deno.json`, "{}");
  await Deno.writeTextFile(`${folder}/main.ts`, main);
  return folder;
}

Deno.test("side by side: a folder that is no checkout is refused before anything runs", async () => {
  const folder = await Deno.makeTempDir();
  await assert.rejects(compareBuilds(folder, options), (error) => {
    assert.ok(error instanceof UsageError);
    assert.match(error.message, /^Cannot compare with --against .*name the folder of another checkout of Splice$/);
    return true;
  });
  await Deno.remove(folder);
});

Deno.test("side by side: what a run says when it fails is passed on", async () => {
  const folder = await standIn(`console.error("Cannot run: no adapter"); Deno.exit(1);`);
  await assert.rejects(compareBuilds(folder, options), { message: "Cannot time a run: Cannot run: no adapter" });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("side by side: another checkout is started with the permissions it lists itself", () => {
  const table = "{env} A,B\n{checkout} --config={program}/x.json\nrun --allow-env={env}\n";
  const flags = (name: string) => flagsOf(name, { data: ".", program: "/elsewhere", table });
  assert.deepEqual(lineOf("run", table), ["--allow-env={env}"]);
  assert.deepEqual(flags("run"), ["--allow-env=A,B"]);
  assert.deepEqual(flags("{checkout}"), ["--config=/elsewhere/x.json"]);
});
