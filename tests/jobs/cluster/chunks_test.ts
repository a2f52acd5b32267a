/** Files in a stream: whole or an error, whatever becomes of the servers meanwhile. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join as joinPath } from "node:path";
import { openChunks } from "../../../src/jobs/cluster/chunks.ts";
import type { FileRef } from "../../../src/jobs/cluster/snapshot.ts";
import { Fault } from "../../../src/jobs/model/job.ts";
import { join, type Joined } from "../../support/jobs/cluster.ts";
import { natsTest } from "../../support/nats.ts";

const MB = 2 ** 20;

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const sum = ({ runs }: FileRef) => runs.reduce((all, [, count]) => all + count, 0);
const messages = async ({ connection, names }: Joined) =>
  (await connection.manager.streams.info(names.streams.files)).state.messages;

const isGone = (error: unknown) => error instanceof Fault && error.code === "not_found";

natsTest("chunks: files of every length come back as they were, and go", {}, async (nats) => {
  await using node = await join(nats);
  const chunks = openChunks(node.connection, node.names);
  await inFolder(async (folder) => {
    for (const length of [0, 1, MB / 2 - 1, MB / 2, MB / 2 + 1, 4 * MB, 5 * MB + 12345]) {
      const path = joinPath(folder, "file");
      const bytes = randomBytes(length);
      await Deno.writeFile(path, bytes);
      const file = await chunks.put("job", path);
      assert.equal(file.bytes, length);
      assert.equal(sum(file), Math.max(1, Math.ceil(length / (MB / 2))));
      await chunks.download(file, joinPath(folder, "back"));
      assert.ok(bytes.equals(await Deno.readFile(joinPath(folder, "back"))), `${length} bytes`);
      const stream = await chunks.open(file);
      assert.equal((await new Response(stream).bytes()).length, length);
    }
    const [one, other] = await Promise.all([1, 2].map(() => chunks.put("other", joinPath(folder, "file"))));
    await chunks.removeAll("job");
    await chunks.remove(one);
    await assert.rejects(chunks.open(one), isGone);
    assert.equal(await messages(node), sum(other));
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["back", "file"]);
  });
});

natsTest("chunks: a reader who stops has asked for little, and one whose file goes is told", {}, async (nats) => {
  await using node = await join(nats);
  const chunks = openChunks(node.connection, node.names);
  await inFolder(async (folder) => {
    const path = joinPath(folder, "file");
    await Deno.writeFile(path, randomBytes(8 * MB));
    const file = await chunks.put("job", path);
    const before = node.connection.nats.stats().inBytes;
    const stream = await chunks.open(file);
    await stream.cancel();
    assert.ok(node.connection.nats.stats().inBytes - before < MB);

    const reader = (await chunks.open(file)).getReader();
    await reader.read();
    await chunks.remove(file);
    await assert.rejects(async () => {
      while (!(await reader.read()).done);
    }, isGone);
    await assert.rejects(chunks.download(file, joinPath(folder, "back")), isGone);
  });
});

natsTest("chunks: what is not what was put is an error", {}, async (nats) => {
  await using node = await join(nats);
  const chunks = openChunks(node.connection, node.names);
  await inFolder(async (folder) => {
    const path = joinPath(folder, "file");
    await Deno.writeFile(path, randomBytes(MB));
    const file = await chunks.put("job", path);
    const { seq } = await node.connection.js.publish(file.subject, randomBytes(MB / 2));
    const other = { ...file, runs: [[file.runs[0][0], 1], [seq, 1]] as const };
    await assert.rejects(chunks.download(other, joinPath(folder, "back")), /is not what was stored/);
    await assert.rejects(Deno.stat(joinPath(folder, "back")), Deno.errors.NotFound);
  });
});

natsTest("chunks: a full store takes nothing more and says so, and nothing of the file stays", {
  maxFile: "8M",
}, async (nats) => {
  await using node = await join(nats);
  const chunks = openChunks(node.connection, node.names);
  await inFolder(async (folder) => {
    const path = joinPath(folder, "file");
    await Deno.writeFile(path, randomBytes(20 * MB));
    const full = (error: unknown) =>
      error instanceof Fault && error.code === "unavailable" && /full/.test(error.message);
    await assert.rejects(chunks.put("job", path), full);
    assert.equal(await messages(node), 0);
    await Deno.writeFile(path, randomBytes(MB));
    await chunks.put("job", path);
  });
});

natsTest("chunks: whoever stops does not wait for a server that is away", {}, async (nats) => {
  await using node = await join(nats);
  const chunks = openChunks(node.connection, node.names);
  await inFolder(async (folder) => {
    const path = joinPath(folder, "file");
    await Deno.writeFile(path, randomBytes(5 * MB));
    await nats.servers[0].freeze();
    try {
      const stopping = new AbortController();
      const put = chunks.put("job", path, { signal: stopping.signal }).catch((error) => error);
      await new Promise((resolve) => setTimeout(resolve, 200));
      const stopped = performance.now();
      stopping.abort(new Error("the process stops"));
      assert.equal((await put).message, "the process stops");
      assert.ok(performance.now() - stopped < 1000);
    } finally {
      nats.servers[0].thaw();
    }
  });
});

natsTest("chunks: a put and a get outlive the death of their leader", { servers: 3 }, async (nats) => {
  await using node = await join(nats);
  const chunks = openChunks(node.connection, node.names);
  await inFolder(async (folder) => {
    const path = joinPath(folder, "file");
    const bytes = randomBytes(25 * MB);
    await Deno.writeFile(path, bytes);
    const leader = (await nats.leader(node.names.streams.files))!;
    // An election that takes longer than anyone waits is an answer too, to be asked again after.
    const patiently = <T>(ask: () => Promise<T>): Promise<T> =>
      ask().catch((error) => error instanceof Fault && error.code === "unavailable" ? ask() : Promise.reject(error));
    const putting = patiently(() => chunks.put("job", path));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await leader.end();
    const file = await putting;
    await leader.start();
    await nats.settled();
    const getting = patiently(() => chunks.download(file, joinPath(folder, "back")));
    await (await nats.leader(node.names.streams.files))!.end();
    await getting;
    assert.ok(bytes.equals(await Deno.readFile(joinPath(folder, "back"))));
  });
});
