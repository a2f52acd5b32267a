/** The data folder: files whole or not at all, ids that are no ids, and one server at a time. */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import fc from "fast-check";
import { type DataFiles, openFiles } from "../../../src/jobs/local/files.ts";
import { isFault } from "../../support/jobs/job_store.ts";

async function atFolder(use: (files: DataFiles) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(openFiles(`${folder}/data`));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const names = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("files: an upload becomes a job's folder, and goes with the job", () =>
  atFolder(async (files) => {
    assert.deepEqual(names(files.folder), ["jobs", "uploads"]);
    for (const path of [files.folder, `${files.folder}/jobs`, `${files.folder}/uploads`]) {
      assert.equal(Deno.statSync(path).mode! & 0o777, 0o700, path);
    }
    const id = crypto.randomUUID();
    const upload = await files.openUpload();
    await upload.write("structure", bytes("abc"));
    await upload.write("appearance", bytes("defgh"));
    await upload.write("appearance", bytes("de"));
    assert.deepEqual(names(upload.folder), ["appearance", "structure"], "nothing half-written stays");
    await files.adopt(upload, id);
    assert.equal(files.jobFolder(id), `${files.folder}/jobs/${id}`);
    assert.equal(Deno.readTextFileSync(files.jobFile(id, "appearance")), "de");
    assert.equal(await files.sizeOf(id), 5);
    assert.deepEqual(names(`${files.folder}/uploads`), []);
    await upload.discard();
    assert.equal(await files.sizeOf(id), 5, "what a job took over stays");

    openFiles(files.folder);
    await files.removeJob(id);
    await files.removeJob(id);
    assert.equal(await files.sizeOf(id), 0);
    assert.deepEqual([names(`${files.folder}/jobs`), names(`${files.folder}/uploads`)], [[], []]);
  }));

Deno.test("files: what no job took over is discarded", () =>
  atFolder(async (files) => {
    const [one, two] = [await files.openUpload(), await files.openUpload()];
    await one.write("image", bytes("x"));
    await one.discard();
    assert.equal(names(`${files.folder}/uploads`).length, 1);
    await two.discard();
    await two.discard();
    await assert.rejects(one.write("image", bytes("x")), Deno.errors.NotFound);
  }));

Deno.test("files: a start sweeps away what belongs to nobody", () =>
  atFolder(async (files) => {
    const [kept, lost] = [crypto.randomUUID(), crypto.randomUUID()];
    for (const id of [kept, lost]) {
      const upload = await files.openUpload();
      await upload.write("structure", bytes("abc"));
      await files.adopt(upload, id);
    }
    await (await files.openUpload()).write("structure", bytes("abc"));
    Deno.writeTextFileSync(`${files.folder}/jobs/stray`, "");
    await files.sweep([kept, crypto.randomUUID()]);
    assert.deepEqual([names(`${files.folder}/jobs`), names(`${files.folder}/uploads`)], [[kept], []]);
    assert.equal(await files.sizeOf(kept), 3);
  }));

Deno.test("files: what is no id never becomes a path, nor what is no name", () =>
  atFolder(async (files) => {
    const id = crypto.randomUUID();
    const known = ["structure", "checkpoint.safetensors", "preview.jpg", "result.png", "generator.safetensors"];
    for (const name of known) assert.equal(files.jobFile(id, name), `${files.folder}/jobs/${id}/${name}`);
    const bad = ["", ".", "..", "../..", `${id}/..`, `../${id}`, id.toUpperCase(), `${id}\n`, `${id}\0`, `{${id}}`];
    for (const name of bad) {
      assert.throws(() => files.jobFolder(name), isFault("unknown_job", /no job/), name);
      assert.throws(() => files.jobFile(id, name === id.toUpperCase() ? "A" : name), /is no name|unknown/, name);
    }
    const upload = await files.openUpload();
    await assert.rejects(upload.write("../lock", bytes("x")), /is no name/);
    await assert.rejects(files.adopt(upload, "../../x"), isFault("unknown_job"));
    await assert.rejects(files.removeJob(".."), isFault("unknown_job"));
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
      for (const path of [() => files.jobFolder(text), () => files.jobFile(id, text)]) {
        try {
          assert.ok(/^[a-z0-9_-]+(\.[a-z0-9]+)?$/.test(path().split("/").at(-1)!));
        } catch (error) {
          if ((error as Error).name === "AssertionError") throw error;
        }
      }
    }));
  }));

Deno.test("files: a folder that cannot be made says what to do", () =>
  atFolder((files) => {
    Deno.writeTextFileSync(`${files.folder}/file`, "");
    assert.throws(() => openFiles(`${files.folder}/file/data`), /Cannot use the data folder .*\/file\/data: .*--data/);
    return Promise.resolve();
  }));

Deno.test("files: one server a data folder, until it ends, however it ends", () =>
  atFolder(async (files) => {
    const held = files.lockData();
    const inUse = (error: Error) =>
      error.message.includes(files.folder) && /another splice server is using it; stop that one/.test(error.message);
    assert.throws(() => openFiles(files.folder).lockData(), inUse);
    held.release();
    openFiles(files.folder).lockData().release();

    // The holder starts a process of its own, which outlives it, must not hold the lock, and ends with what it reads.
    const script = `
      import { openFiles } from ${JSON.stringify(new URL("../../../src/jobs/local/files.ts", import.meta.url).href)};
      openFiles(Deno.args[0]).lockData();
      new Deno.Command("sh", { args: ["-c", "echo here; read line"], stdin: "inherit", stdout: "inherit" }).spawn();
      setTimeout(() => {}, 60_000);
    `;
    const path = `${files.folder}/holder.ts`;
    await Deno.writeTextFile(path, script);
    const config = fileURLToPath(new URL("../../../deno.json", import.meta.url));
    const flags = ["--no-lock", "--no-check", "--config", config, "--allow-read", "--allow-write", "--allow-run=sh"];
    const holder = new Deno.Command(Deno.execPath(), {
      args: ["run", ...flags, path, files.folder],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const output = holder.stdout.pipeThrough(new TextDecoderStream()).getReader();
    try {
      assert.match((await output.read()).value!, /here/);
      assert.throws(() => files.lockData(), inUse);
      holder.kill("SIGKILL");
      await holder.status;
      files.lockData().release();
    } finally {
      await holder.stdin.close();
      assert.equal((await output.read()).done, true, "the process that outlived it has ended");
    }
  }));
