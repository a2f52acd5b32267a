/** The store of jobs on many nodes: what one writes all see, and what several do at once is done once. */
import assert from "node:assert/strict";
import { openChunks } from "../../../src/jobs/cluster/chunks.ts";
import * as steps from "../../../src/jobs/cluster/snapshot.ts";
import { Fault, jobSchema } from "../../../src/jobs/model/job.ts";
import { newJob, serve, until } from "../../support/jobs/cluster.ts";
import { natsTest } from "../../support/nats.ts";

const pace = (step: number) => ({ step, steps: 100, losses: { total: 1 }, steps_per_second: 2, eta_seconds: 50 });
const startedEvent = { adapter: "a", model: "m", steps: 100, step: 0 };
const fault = (code: string) => (error: unknown) => error instanceof Fault && error.code === code;
const queue = 1000;

natsTest("cluster store: a job from its creation to its end, seen from another node", {}, async (nats) => {
  await using a = await serve(nats);
  await using b = await serve(nats);
  const { record, replayed } = await a.store.create(newJob(), { queue });
  const { id } = record.job;
  assert.deepEqual([replayed, record.job.status, record.job.position], [false, "queued", 1]);
  jobSchema.parse(record.job);
  assert.deepEqual(await b.store.get(id), record, "at once");
  assert.deepEqual(await b.store.sight(id), { record, first: 1, last: 1 });

  await b.write(id, (snap) => steps.claimed(snap, "w"));
  await b.write(id, (snap) => steps.started(snap, startedEvent, new Date()));
  await b.write(id, (snap) => steps.progressed(snap, pace(10), [0.5, 0.25]));
  const file = newJob().adopted.inputs.structure!.file;
  await b.write(id, (snap) => steps.previewed(snap, 10, file));
  const running = (await a.store.get(id))!;
  jobSchema.parse(running.job);
  assert.deepEqual([running.job.status, running.job.step, running.previewStep, running.job.attempts], [
    "running",
    10,
    10,
    1,
  ]);
  await b.write(id, (snap) => steps.succeeded(snap, { files: { result: file }, bytes: 77, at: new Date() }));
  const done = (await a.store.get(id))!;
  jobSchema.parse(done.job);
  assert.deepEqual([done.job.status, done.job.step, done.bytes, done.number], ["succeeded", 100, 77, record.number]);
  for (const node of [a, b]) {
    assert.deepEqual((await node.told(id)).map(({ id, name }) => `${id} ${name}`), [
      "1 queued",
      "2 started",
      "3 progress",
      "4 succeeded",
    ]);
    assert.deepEqual((await node.store.events(id, { after: 2, limit: 1 })).map(({ id }) => id), [3]);
    await until(() => node.store.counts().succeeded === 1 && node.counted.length === 2);
    assert.deepEqual(node.counted, [{ what: "steps", seconds: [0.5, 0.25] }, { what: "ended", outcome: "succeeded" }]);
    assert.ok(node.heard.includes(id) && node.heard.includes(null));
  }
  for (const unknown of [crypto.randomUUID(), "nothing", "*", "a.b", ">", ""]) {
    assert.equal(await a.store.get(unknown), null);
    assert.equal(await a.store.sight(unknown), null);
    assert.deepEqual(await a.store.events(unknown, { after: 0, limit: 9 }), []);
    assert.equal(await a.store.cancel(unknown), null);
    assert.equal(await a.store.remove(unknown), false);
  }
});

natsTest("cluster store: a key makes one job, whoever is asked, and goes with it", {}, async (nats) => {
  await using a = await serve(nats, { mourning: 0 });
  await using b = await serve(nats);
  const keyed = () => newJob({ idempotency: { key: "k with spaces", digest: "d" } });
  const made = await Promise.all(
    Array.from({ length: 20 }, (_, i) => [a, b][i % 2].store.create(keyed(), { queue })),
  );
  const [{ record: { job: { id } } }] = made;
  assert.deepEqual(new Set(made.map(({ record }) => record.job.id)), new Set([id]));
  assert.equal(made.filter(({ replayed }) => !replayed).length, 1);
  const full = await b.store.create(keyed(), { queue: 1 });
  assert.deepEqual([full.replayed, full.record.job.id], [true, id], "though the queue is full");
  assert.equal((await b.store.find({ key: "k with spaces", digest: "d" }))?.job.id, id);
  assert.equal(await b.store.find({ key: "other", digest: "d" }), null);
  const other = { key: "k with spaces", digest: "e" };
  await assert.rejects(b.store.find(other), fault("idempotency_conflict"));
  await assert.rejects(a.store.create(newJob({ idempotency: other }), { queue }), fault("idempotency_conflict"));

  await a.store.cancel(id);
  assert.equal(await b.store.remove(id), true);
  assert.equal(await a.store.find({ key: "k with spaces", digest: "e" }), null);
  const again = await a.store.create(newJob({ idempotency: other }), { queue });
  assert.deepEqual([again.replayed, again.record.job.id !== id], [false, true]);
});

natsTest(
  "cluster store: a node that dies between key and job leaves the key to whoever comes next",
  {},
  async (nats) => {
    await using a = await serve(nats);
    const idempotency = { key: "k", digest: "d" };
    const dead = crypto.randomUUID();
    const token = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode("k"))).toHex();
    await a.connection.js.publish(a.names.key(token), JSON.stringify({ id: dead, digest: "d" }));
    assert.equal(await a.store.find(idempotency), null);
    const job = newJob({ idempotency });
    const { record, replayed } = await a.store.create(job, { queue });
    assert.deepEqual([record.job.id, replayed], [dead, false]);
    assert.equal((await a.log.last(dead))?.snap.folder, job.id, "its files are where they were put");
  },
);

natsTest("cluster store: a full queue refuses, and says when to come back", {}, async (nats) => {
  await using a = await serve(nats);
  await using b = await serve(nats);
  const { record: { job: { id } } } = await a.store.create(newJob(), { queue: 1 });
  await assert.rejects(a.store.create(newJob(), { queue: 1 }), fault("queue_full"), "its own job it knows at once");
  await until(() => b.store.counts().queued === 1);
  await assert.rejects(b.store.create(newJob(), { queue: 1 }), fault("queue_full"));
  await b.write(id, (snap) => steps.claimed(snap, "w"));
  await b.write(id, (snap) => steps.progressed(snap, { ...pace(1), eta_seconds: 41.2 }, []));
  await until(async () => (await b.store.list({ limit: 1 }))[0].job.step === 1);
  const wait = await b.store.create(newJob(), { queue: 0 }).catch((error) => error.retryAfter);
  assert.equal(wait, 42);
});

natsTest("cluster store: places in the queue, pages, and what expires", {}, async (nats) => {
  let clock = Date.parse("2026-01-01T00:00:00Z");
  await using a = await serve(nats, { now: () => new Date(clock) });
  await using b = await serve(nats);
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) ids.push((await a.store.create(newJob(), { queue })).record.job.id);
  await until(() => b.store.counts().queued === 5);
  const places = () => Promise.all(ids.map(async (id) => (await b.store.get(id))!.job.position));
  assert.deepEqual(await places(), [1, 2, 3, 4, 5]);
  await a.write(ids[0], (snap) => steps.claimed(snap, "w"));
  assert.equal(await a.store.cancel(ids[2]), "queued");
  assert.equal(await b.store.cancel(ids[2]), null);
  await until(async () => String(await places()) === String([null, 1, null, 2, 3]));
  await a.write(ids[0], (snap) => steps.requeued(snap, { died: true }));
  await until(async () => String(await places()) === String([1, 2, null, 3, 4]));
  assert.equal((await b.store.get(ids[0]))!.deaths, 1);

  const page = async (options: Parameters<typeof b.store.list>[0]) =>
    (await b.store.list(options)).map(({ job }) => ids.indexOf(job.id));
  assert.deepEqual(await page({ limit: 2 }), [4, 3]);
  assert.deepEqual(await page({ limit: 9, before: (await b.store.get(ids[3]))!.number }), [2, 1, 0]);
  assert.deepEqual(await page({ limit: 9, status: "canceled" }), [2]);

  await a.write(ids[1], (snap) => steps.claimed(snap, "w"));
  for (const i of [0, 1]) {
    clock += 1000;
    assert.equal(await a.store.cancel(ids[i]), i === 0 ? "queued" : "running");
  }
  await until(() => b.store.counts().canceled === 3);
  const expired = async (seconds: number, mostBytes: number) =>
    (await b.store.expired({ endedBefore: new Date(clock - seconds * 1000), mostBytes })).map((id) => ids.indexOf(id));
  assert.deepEqual(await expired(100, Infinity), []);
  assert.deepEqual(await expired(1, Infinity), [2]);
  assert.deepEqual(await expired(100, 49), [2]);
  assert.deepEqual(await expired(100, 0), [2, 0, 1], "active jobs stay");

  const removals = await Promise.all([2, 2, 0, 3].flatMap((i) => [a, b].map(({ store }) => store.remove(ids[i]))));
  assert.equal(removals.filter(Boolean).length, 2, "each once, and no active one");
  for (const node of [a, b]) {
    await until(() => node.store.counts().canceled === 1);
    assert.equal(await node.store.get(ids[2]), null);
    assert.deepEqual((await node.store.list({ limit: 9 })).map(({ job }) => ids.indexOf(job.id)), [4, 3, 1]);
  }
});

natsTest("cluster store: whoever cancels, a worker that goes on writes nothing", {}, async (nats) => {
  await using a = await serve(nats);
  const { record: { job: { id } } } = await a.store.create(newJob(), { queue });
  let at = await a.write(id, (snap) => steps.claimed(snap, "w"));
  const writing = (async () => {
    for (let step = 1;; step++) {
      at = await a.log.append(at, steps.progressed(at.snap, pace(step), []));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  writing.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(await a.store.cancel(id), "running");
  await assert.rejects(writing, /has been changed by another/);
  const told = await a.told(id);
  assert.deepEqual(told.map(({ id }) => id), told.map((_, i) => i + 1));
  assert.deepEqual(told.at(-1)?.name, "canceled");
});

natsTest("cluster store: a full storage is told at once, and room helps at once", { maxFile: "12M" }, async (nats) => {
  await using a = await serve(nats);
  const { record } = await a.store.create(newJob(), { queue });
  const { js, manager } = a.connection;
  const filled = js.publish.bind(js, a.names.file("filler", "x"), new Uint8Array(500_000));
  await assert.rejects(async () => {
    for (;;) await filled();
  }, /insufficient resources/);
  const begun = performance.now();
  const refused = await a.store.create(newJob(), { queue }).catch((error) => error);
  assert.ok(fault("unavailable")(refused) && refused.retryAfter === 60, String(refused));
  assert.match(refused.message, /the cluster's storage is full. Try again later, or ask its operator to make room/);
  assert.ok(performance.now() - begun < 1000);
  assert.equal((await a.store.get(record.job.id))?.job.status, "queued", "what is there can be read");
  await manager.streams.purge(a.names.streams.files);
  assert.equal((await a.store.create(newJob(), { queue })).record.job.position, 2);
});

natsTest(
  "cluster store: a full storage lets go of what has ended, which makes room",
  { maxFile: "12M" },
  async (nats) => {
    await using a = await serve(nats);
    const { record: { job: { id } } } = await a.store.create(newJob(), { queue });
    const chunks = openChunks(a.connection, a.names);
    const path = await Deno.makeTempFile();
    await Deno.writeFile(path, new Uint8Array(2_000_000));
    const file = await chunks.put((await a.log.last(id))!.snap.folder, path);
    await Deno.remove(path);
    await a.write(id, (snap) => steps.claimed(snap, "w"));
    await a.write(id, (snap) => steps.succeeded(snap, { files: { result: file }, bytes: file.bytes, at: new Date() }));
    const filled = () => a.connection.js.publish(a.names.file("filler", "x"), new Uint8Array(500_000));
    await assert.rejects(async () => {
      for (;;) await filled();
    }, /insufficient resources/);
    await assert.rejects(a.store.create(newJob(), { queue }), /storage is full/);
    assert.equal(await a.store.remove(id), true);
    assert.equal(await a.store.get(id), null);
    assert.equal((await a.store.create(newJob(), { queue })).record.job.status, "queued");
  },
);

natsTest("cluster store: without its server it says so, and goes on when it is back", {}, async (nats) => {
  await using a = await serve(nats, { complain: () => {} });
  const { record: { job: { id } } } = await a.store.create(newJob(), { queue });
  await nats.servers[0].end();
  const asked = a.store.get(id).catch((error) => error);
  const canceled = a.store.cancel(id);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await nats.servers[0].start();
  assert.equal((await asked).job.status, "queued");
  assert.equal(await canceled, "queued");
});
