/** Jobs out of a cluster's queue: whose they are, what workers make of them, and what becomes of those whose owner is gone. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { nanos } from "@nats-io/nats-core";
import { join as joinPath } from "node:path";
import { openChunks } from "../../../../src/jobs/cluster/chunks.ts";
import { type At } from "../../../../src/jobs/cluster/log.ts";
import { canceled, created, eventOf, type Snapshot } from "../../../../src/jobs/cluster/snapshot.ts";
import { openSource } from "../../../../src/jobs/cluster/machines/source.ts";
import { CONSUMERS } from "../../../../src/jobs/cluster/streams.ts";
import type { Lease } from "../../../../src/jobs/model/ports.ts";
import { join, type Joined, newJob } from "../../../support/jobs/cluster.ts";
import { type Nats, natsTest } from "../../../support/nats.ts";

const event = { adapter: "a", model: "m", steps: 100, step: 0 };
const pace = (step: number) => ({ step, steps: 100, losses: { total: 1 }, steps_per_second: 2, eta_seconds: 50 });
const never = new AbortController().signal;

/** A machine that works, and its own scratch folder. */
async function machine(nats: Nats, { checkpointEvery = 0, has = true } = {}) {
  const node = await join(nats);
  const folder = await Deno.makeTempDir();
  const chunks = openChunks(node.connection, node.names);
  const closing = new AbortController();
  const remarks: string[] = [];
  const source = openSource({
    ...node,
    chunks,
    folder,
    hasModel: () => Promise.resolve(has),
    closing: closing.signal,
    now: () => new Date(),
    checkpointEvery,
    complain: (text) => remarks.push(text),
  });
  return {
    ...node,
    chunks,
    folder,
    source,
    remarks,
    closing,
    async [Symbol.asyncDispose]() {
      closing.abort();
      await node.connection.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}
type Machine = Awaited<ReturnType<typeof machine>>;

/** Queues a job with pictures. */
async function queue({ connection, names, log, chunks, folder }: Machine, words = "a picture"): Promise<string> {
  const job = newJob();
  const path = joinPath(folder, "picture");
  await Deno.writeTextFile(path, words);
  const file = await chunks.put(job.id, path);
  const input = { file, type: "image/png", upright: true };
  const adopted = { bytes: 2 * file.bytes, folder: job.id, inputs: { structure: input, appearance: input } };
  await log.append(null, created({ ...job, adopted }, { place: 1, key: null, at: new Date() }));
  await connection.js.publish(names.queue(job.id));
  return job.id;
}

const write = (lease: Lease, name: string, content: string | Uint8Array) =>
  Deno.writeFile(
    joinPath(lease.folder, name),
    typeof content === "string" ? new TextEncoder().encode(content) : content,
  );
const count = async ({ connection, names }: Joined, stream: "queue" | "files") =>
  (await connection.manager.streams.info(names.streams[stream])).state.messages;
const snapOf = async ({ log }: Joined, id: string): Promise<Snapshot> => (await log.last(id))!.snap;

async function until(what: string, holds: () => Promise<boolean> | boolean, patience = 20_000): Promise<void> {
  for (const deadline = Date.now() + patience; !await holds();) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function eventsOf({ log }: Joined, id: string): Promise<[number, string][]> {
  const read: At[] = [];
  for (let at = await log.next(0, id); at !== null; at = await log.next(at.seq + 1, id)) read.push(at);
  return read.flatMap(({ snap }) => eventOf(snap) ?? []).map(({ id, name }) => [id, name]);
}

natsTest("source: a job is worked on from its pictures to its result, and nothing else stays", {}, async (nats) => {
  await using here = await machine(nats);
  const id = await queue(here);
  const later = await queue(here);
  const lease = (await here.source.next(never))!;
  assert.equal(lease.record.job.id, id);
  assert.deepEqual([lease.record.job.status, lease.record.job.attempts], ["running", 1]);
  assert.equal(await Deno.readTextFile(joinPath(lease.folder, "structure")), "a picture");
  assert.deepEqual([...Deno.readDirSync(lease.folder)].map(({ name }) => name).sort(), ["appearance", "structure"]);

  lease.started(event);
  for (let step = 1; step <= 50; step++) lease.progress(pace(step), [0.01 * step]);
  await until("progress is kept", async () => (await snapOf(here, id)).step === 50);
  for (const step of [50, 60]) {
    await write(lease, "preview.jpg", `preview ${step}`);
    lease.preview(step);
    await write(lease, "checkpoint.safetensors", randomBytes(2 ** 20));
    lease.saved(step);
    await until("files are kept", async () => {
      const { checkpoint, preview_step } = await snapOf(here, id);
      return checkpoint?.step === step && preview_step === step;
    });
  }
  await until("older ones go", async () => await count(here, "files") === 2 + 3);
  for (const name of ["result.png", "generator.safetensors"]) await write(lease, name, name);
  lease.progress(pace(100), [0.5]);
  await lease.succeed();

  const snap = await snapOf(here, id);
  assert.deepEqual([snap.status, snap.step, snap.checkpoint], ["succeeded", 100, null]);
  assert.deepEqual(Object.keys(snap.files).sort(), ["generator", "preview", "result"]);
  assert.equal(snap.bytes, 2 * 9 + "preview 60result.pnggenerator.safetensors".length);
  assert.equal(await new Response(await here.chunks.open(snap.files.result!)).text(), "result.png");
  assert.equal(await count(here, "files"), 2 + 3);
  assert.equal(await count(here, "queue"), 1);
  await assert.rejects(Deno.stat(lease.folder), Deno.errors.NotFound);
  const events = await eventsOf(here, id);
  assert.deepEqual(events.map(([n]) => n), events.map((_, i) => i + 1));
  assert.deepEqual([events[0][1], events[1][1], events.at(-1)![1]], ["queued", "started", "succeeded"]);
  const seconds = [];
  for (let at = await here.log.next(0, id); at !== null; at = await here.log.next(at.seq + 1, id)) {
    seconds.push(...at.snap.seconds);
  }
  assert.deepEqual(seconds, [...Array.from({ length: 50 }, (_, i) => 0.01 * (i + 1)), 0.5]); // none is lost with a progress that is

  const second = (await here.source.next(never))!;
  assert.equal(second.record.job.id, later);
  await second.fail({ type: "t", title: "T", status: 422, detail: "no" });
  assert.equal((await snapOf(here, later)).error?.detail, "no");
  assert.equal(await count(here, "queue"), 0);
});

natsTest(
  "source: what is given back goes on elsewhere before newer ones, and fails at its third death",
  {},
  async (nats) => {
    await using here = await machine(nats, { checkpointEvery: 1e9 });
    await using there = await machine(nats);
    const id = await queue(here);
    const first = (await here.source.next(never))!;
    const other = await queue(here);
    await write(first, "checkpoint.safetensors", "so far");
    first.started(event);
    first.progress(pace(7), []);
    first.saved(7);
    await first.giveBack({ died: false });
    const second = (await there.source.next(never))!;
    assert.equal(second.record.job.id, id);
    assert.equal(await Deno.readTextFile(joinPath(second.folder, "checkpoint.safetensors")), "so far");
    await second.giveBack({ died: true });
    await (await here.source.next(never))!.giveBack({ died: true });
    const fourth = (await here.source.next(never))!;
    assert.deepEqual([fourth.record.job.id, fourth.record.deaths, fourth.record.job.attempts], [id, 2, 4]);
    await fourth.giveBack({ died: true });
    const { status, error } = await snapOf(here, id);
    assert.deepEqual([status, error?.type], ["failed", "/problems/crashed"]);
    assert.match(error!.detail, /after step 7/);
    assert.equal((await there.source.next(never))!.record.job.id, other);
    assert.equal(await count(here, "files"), 2);
  },
);

natsTest("source: who cancels a job ends it, whoever works on it", {}, async (nats) => {
  await using here = await machine(nats);
  for (const write of [true, false]) {
    const id = await queue(here);
    const lease = (await here.source.next(never))!;
    const at = (await here.log.last(id))!;
    await here.log.append(at, canceled(at.snap, new Date()));
    if (write) lease.progress(pace(1), []); // else the next heartbeat finds it
    await until("the lease has ended", () => lease.ended.aborted);
    assert.equal(lease.ended.reason, "canceled");
    await lease.letGo();
    assert.equal((await snapOf(here, id)).status, "canceled");
    assert.equal(await count(here, "queue"), 0);
    await assert.rejects(Deno.stat(lease.folder), Deno.errors.NotFound);
  }
});

natsTest("source: of whoever falls silent the job is taken, and the late one can write nothing", {}, async (nats) => {
  await using here = await machine(nats);
  await using there = await machine(nats);
  const id = await queue(here);
  const { manager } = here.connection;
  // Shorter than the heartbeats: all are silent.
  await manager.consumers.update(here.names.streams.queue, CONSUMERS.workers, { ack_wait: nanos(1000) });
  const first = (await here.source.next(never))!;
  const second = (await there.source.next(never))!;
  assert.deepEqual([second.record.job.id, second.record.job.attempts, second.record.deaths], [id, 2, 0]);
  second.progress(pace(5), []);
  await until("progress is kept", async () => (await snapOf(here, id)).step === 5);
  await write(first, "result.png", "late");
  await first.succeed();
  assert.equal(first.ended.reason, "lost");
  assert.equal((await snapOf(here, id)).status, "running");
  assert.match(here.remarks.join(), /taken over by another machine/);
  assert.equal(await count(here, "queue"), 1);

  await write(second, "checkpoint.safetensors", "further");
  second.saved(9);
  await until("the checkpoint is kept", async () => (await snapOf(here, id)).checkpoint?.step === 9);
  assert.equal((await snapOf(here, id)).silences, 0);
  const third = (await here.source.next(never))!;
  assert.equal(await Deno.readTextFile(joinPath(third.folder, "checkpoint.safetensors")), "further");
  const fourth = (await there.source.next(never))!;
  assert.equal((await snapOf(here, id)).silences, 2);
  const leaving = new AbortController();
  const idle = here.source.next(leaving.signal);
  await until("the third silence fails it", async () => (await snapOf(here, id)).status === "failed");
  leaving.abort();
  assert.equal(await idle, null);
  assert.equal((await snapOf(here, id)).error?.type, "/problems/crashed");
  for (const lease of [third, fourth]) {
    lease.progress(pace(10), []);
    await until("the lease has ended", () => lease.ended.aborted);
    await lease.letGo();
  }
  await second.letGo();
});

natsTest("source: whoever leaves takes nothing, and a job waits for a machine that has its model", {}, async (nats) => {
  await using here = await machine(nats, { has: false });
  await using there = await machine(nats);
  const leaving = new AbortController();
  const idle = there.source.next(leaving.signal);
  await new Promise((resolve) => setTimeout(resolve, 100));
  leaving.abort();
  assert.equal(await idle, null);
  const id = await queue(here);
  const wanting = here.source.next(leaving.signal);
  assert.equal(await wanting, null);
  const stop = new AbortController();
  const lacking = here.source.next(stop.signal);
  const lease = (await there.source.next(never))!;
  assert.deepEqual([lease.record.job.id, lease.record.job.attempts], [id, 1]);
  stop.abort();
  assert.equal(await lacking, null);
  await lease.giveBack({ died: false });
});

natsTest(
  "source: where the cluster is away, a machine that stops does not wait for it, and the job goes on later",
  {},
  async (nats) => {
    let id: string;
    {
      await using here = await machine(nats, { checkpointEvery: 1e9 });
      id = await queue(here);
      const lease = (await here.source.next(never))!;
      await nats.servers[0].end();
      const given = lease.giveBack({ died: false }).then(() => "given back");
      const late = () => new Promise((resolve) => setTimeout(resolve, 1000, "still trying"));
      assert.equal(await Promise.race([given, late()]), "still trying");
      here.closing.abort(new Error("the process stops"));
      assert.equal(await Promise.race([given, late()]), "given back");
      await assert.rejects(Deno.stat(lease.folder), Deno.errors.NotFound);
    }
    await nats.servers[0].start();
    await using there = await machine(nats);
    const lease = (await there.source.next(never))!;
    assert.deepEqual([lease.record.job.id, lease.record.job.attempts, lease.record.deaths], [id, 2, 0]);
    await lease.giveBack({ died: false });
  },
);

natsTest(
  "source: where there is no room for a claim, one line says so, and with room jobs come in their order",
  { maxFile: "12M" },
  async (nats) => {
    await using here = await machine(nats);
    const ids = [await queue(here), await queue(here), await queue(here)];
    const { connection: { js, manager }, names } = here;
    const filled: number[] = [];
    await assert.rejects(async () => {
      for (;;) filled.push((await js.publish(names.file("filler", "x"), new Uint8Array(500_000))).seq);
    }, /insufficient resources/);
    const wanted = here.source.next(never);
    await until("it asked twice", async () => {
      const { delivered } = await manager.consumers.info(names.streams.queue, CONSUMERS.workers);
      return delivered.consumer_seq >= 2;
    });
    for (const seq of filled) await manager.streams.deleteMessage(names.streams.files, seq, false);
    const lease = (await wanted)!;
    assert.equal(lease.record.job.id, ids[0]);
    assert.equal(here.remarks.length, 1, here.remarks.join("\n"));
    assert.match(here.remarks[0], /^A job cannot be taken: .*storage is full/);
    await lease.giveBack({ died: false });
  },
);
