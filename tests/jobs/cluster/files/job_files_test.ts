/** Jobs' files in a cluster, as servers see them: what another server stored, what is replaced, what is gone. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join as joinPath } from "node:path";
import { openCache } from "../../../../src/jobs/cluster/files/cache.ts";
import { openChunks } from "../../../../src/jobs/cluster/chunks.ts";
import { openClusterFiles } from "../../../../src/jobs/cluster/files/job_files.ts";
import { canceled, created, previewed, recordOfSnapshot, removed } from "../../../../src/jobs/cluster/snapshot.ts";
import { Fault } from "../../../../src/jobs/model/job.ts";
import { join, type Joined, newJob } from "../../../support/jobs/cluster.ts";
import { natsTest } from "../../../support/nats.ts";

const PNG = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0]);

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function open({ connection, names, log }: Joined, folder: string) {
  const chunks = openChunks(connection, names);
  return { chunks, files: await openClusterFiles({ log, chunks, folder, cacheBytes: 2 ** 20 }) };
}

const text = async (stream: ReadableStream<Uint8Array>) => await new Response(stream).text();
const isGone = (error: unknown) => error instanceof Fault && error.code === "not_found";

natsTest("files: pictures that one server took are on every other", {}, async (nats) => {
  await using here = await join(nats);
  await using there = await join(nats);
  await inFolder(async (folder) => {
    const { files } = await open(here, joinPath(folder, "a"));
    const other = (await open(there, joinPath(folder, "b"))).files;
    const upload = await files.openUpload();
    await upload.write("structure", PNG);
    await upload.write("appearance", randomBytes(3 * 2 ** 20));
    const job = newJob();
    const adopted = await files.adopt(upload, job.id, ["structure", "appearance"]);
    await upload.discard();
    assert.equal(adopted.bytes, PNG.length + 3 * 2 ** 20);
    const at = await here.log.append(null, created({ ...job, adopted }, { place: 1, key: null, at: new Date() }));
    const record = recordOfSnapshot(at.snap, 1)!;

    const structure = (await other.input(record, "structure"))!;
    assert.deepEqual([structure.type, structure.bytes, await structure.upright()], ["image/png", PNG.length, true]);
    const opened = await structure.open();
    assert.equal(opened.tag, structure.tag);
    assert.deepEqual(new Uint8Array(await new Response(opened.stream).arrayBuffer()), PNG);
    assert.equal((await other.input(record, "appearance"))!.type, "application/octet-stream");
    assert.equal(await other.input(record, "image"), null);
    assert.equal(await other.open(record, "result"), null);
    assert.equal(await other.use(record, "structure", async (path) => (await Deno.stat(path)).size), PNG.length);
    await assert.rejects(other.use(record, "generator", () => Promise.resolve()), isGone);

    await files.drop(job.id);
    await assert.rejects(structure.open(), isGone);
    await assert.rejects(files.adopt(await files.openUpload(), job.id, ["structure"]), Deno.errors.NotFound);
  });
});

natsTest("files: a preview is the newest, and a format is made once", {}, async (nats) => {
  await using node = await join(nats);
  await inFolder(async (folder) => {
    const { files, chunks } = await open(node, folder);
    const put = async (words: string) => {
      await Deno.writeTextFile(joinPath(folder, "file"), words);
      return await chunks.put("job", joinPath(folder, "file"));
    };
    let at = await node.log.append(null, created(newJob(), { place: 1, key: null, at: new Date() }));
    const first = await put("first");
    at = await node.log.append(at, previewed(at.snap, 10, first));
    const record = recordOfSnapshot(at.snap, 1)!;
    const preview = (await files.open(record, "preview"))!;
    at = await node.log.append(at, previewed(at.snap, 20, await put("second")));
    await chunks.remove(first);
    const opened = await preview.open();
    assert.notEqual(opened.tag, preview.tag);
    assert.equal(await text(opened.stream), "second");

    let made = 0;
    const convert = () =>
      files.converted(record, "preview", {
        suffix: "webp",
        type: "image/webp",
        async make(from, to) {
          made++;
          await Deno.writeTextFile(to, `${await Deno.readTextFile(from)} as webp`);
        },
      });
    const converted = await Promise.all([convert(), convert()]);
    for (const one of converted) assert.equal(await text((await one.open()).stream), "second as webp");
    assert.equal(made, 1);
    assert.equal(converted[0].type, "image/webp");

    at = await node.log.append(at, canceled(at.snap, new Date()));
    at = await node.log.append(at, removed(at.snap));
    await chunks.removeAll("job");
    await assert.rejects(preview.open(), isGone);
    await assert.rejects(convert(), isGone);
  });
});

Deno.test("cache: holds what is in use, and no more than its limit of the rest", () =>
  inFolder(async (folder) => {
    const cache = openCache(folder, 10);
    let made = 0;
    const hold = (name: string) =>
      cache.hold(name, async (path) => {
        made++;
        await Deno.writeTextFile(path, name.repeat(6));
        return name;
      });
    const sizes = () => [...Deno.readDirSync(folder)].length;
    {
      using a = await hold("a");
      using b = await hold("b");
      using again = await hold("a");
      assert.equal(await Deno.readTextFile(a.path), "aaaaaa");
      assert.equal(again.path, a.path);
      assert.deepEqual([made, sizes(), b.tag], [2, 2, "b"]);
    }
    while (sizes() > 1) await new Promise((resolve) => setTimeout(resolve, 5));
    (await hold("a"))[Symbol.dispose](); // used last, and kept
    assert.equal(made, 2);
    await assert.rejects(cache.hold("c", () => Promise.reject(new Error("no"))), /no/);
    (await hold("c"))[Symbol.dispose]();
    assert.equal(made, 3);
    while (sizes() > 1) await new Promise((resolve) => setTimeout(resolve, 5)); // what is over the limit is on its way out
  }));
