/** A node's roster: true at its start, and true again after whatever it missed. */
import assert from "node:assert/strict";
import * as steps from "../../../src/jobs/cluster/snapshot.ts";
import { newJob, serve, until } from "../../support/jobs/cluster.ts";
import { natsTest } from "../../support/nats.ts";

const pace = { step: 1, steps: 100, losses: { total: 1 }, steps_per_second: 2, eta_seconds: 50 };
const queue = 1000;

natsTest("tail: a node that joins knows all jobs, and counts what happens from then on", {}, async (nats) => {
  await using a = await serve(nats);
  const ids: string[] = [];
  for (let i = 0; i < 40; i++) ids.push((await a.store.create(newJob(), { queue })).record.job.id);
  await a.write(ids[0], (snap) => steps.claimed(snap, "w"));
  await a.write(ids[0], (snap) => steps.progressed(snap, pace, [1]));
  await a.store.cancel(ids[1]);
  await using b = await serve(nats);
  assert.deepEqual(b.store.counts(), { queued: 38, running: 1, succeeded: 0, failed: 0, canceled: 1 });
  assert.deepEqual(await b.store.list({ limit: 100 }), await a.store.list({ limit: 100 }));
  await a.write(ids[0], (snap) => steps.progressed(snap, pace, [2]));
  await a.write(ids[0], (snap) => steps.failed(snap, { type: "t", title: "t", status: 500, detail: "d" }, new Date()));
  await until(() => b.counted.length === 2 && a.counted.length === 4);
  assert.deepEqual(b.counted, [{ what: "steps", seconds: [2] }, { what: "ended", outcome: "failed" }]);
});

natsTest("tail: two namespaces on one server do not see each other", {}, async (nats) => {
  await using a = await serve(nats, { namespace: "one" });
  await using b = await serve(nats, { namespace: "two" });
  const { record: { job: { id } } } = await a.store.create(newJob(), { queue });
  assert.equal(await b.store.get(id), null);
  assert.deepEqual(await b.store.list({ limit: 9 }), []);
});

natsTest("tail: a change is heard of soon, before and after the server's death", {}, async (nats) => {
  await using a = await serve(nats);
  await using b = await serve(nats, { complain: () => {} });
  const { record: { job: { id } } } = await a.store.create(newJob(), { queue });
  const begun = performance.now();
  for (let i = 0; i < 20; i++) {
    await a.write(id, (snap) => steps.progressed(steps.claimed(snap, "w"), { ...pace, step: i }, []));
    await until(async () => (await b.store.list({ limit: 1 }))[0]?.job.step === i);
  }
  const each = (performance.now() - begun) / 20;
  assert.ok(each < 200, `${each} ms`);
  await nats.servers[0].end();
  const waiting = a.store.create(newJob(), { queue });
  await new Promise((resolve) => setTimeout(resolve, 300));
  await nats.servers[0].start();
  await waiting;
  await until(() => b.store.counts().queued === 1);
  await a.store.cancel(id);
  await until(() => b.store.counts().canceled === 1);
});

natsTest("tail: a node that missed a removal, or that everything is another, finds out", {}, async (nats) => {
  const complaints: string[] = [];
  await using a = await serve(nats);
  await using b = await serve(nats, { complain: (text) => complaints.push(text) });
  const { record: { job: { id } } } = await a.store.create(newJob(), { queue });
  await a.store.create(newJob(), { queue });
  await until(() => b.store.counts().queued === 2);
  await a.connection.manager.streams.purge(a.names.streams.jobs, { filter: a.names.job(id) });
  assert.equal(b.store.counts().queued, 2);
  await b.housekeeping.look();
  assert.equal(b.store.counts().queued, 1);

  const config = (await a.connection.manager.streams.info(a.names.streams.jobs)).config;
  await a.connection.manager.streams.delete(a.names.streams.jobs);
  await a.connection.manager.streams.add(config);
  await b.housekeeping.look();
  assert.equal(b.store.counts().queued, 0);
  assert.match(complaints.join(), /another than before/);
  await a.housekeeping.look();
  const { record } = await a.store.create(newJob(), { queue });
  await until(() => b.store.counts().queued === 1);
  assert.equal((await b.store.list({ limit: 1 }))[0].job.id, record.job.id);
});

natsTest("tail: a log that lost its end is read anew as soon as its server is back", {}, async (nats) => {
  await using a = await serve(nats, { complain: () => {} });
  const { record: { job: { id } } } = await a.store.create(newJob(), { queue });
  await a.write(id, (snap) => steps.claimed(snap, "w"));
  const last = await a.write(id, (snap) => steps.progressed(snap, pace, []));
  await until(async () => (await a.store.list({ limit: 1 }))[0].job.step === 1);
  // As after a power cut: the server has the first message alone.
  const { config } = await a.connection.manager.streams.info(a.names.streams.jobs);
  const first = (await a.log.next(0, id))!;
  await a.connection.manager.streams.delete(a.names.streams.jobs);
  await a.connection.manager.streams.add(config);
  await a.connection.js.publish(a.names.job(id), JSON.stringify(first.snap));
  await nats.servers[0].end();
  await nats.servers[0].start();
  await until(async () => (await a.store.list({ limit: 1 }))[0]?.job.status === "queued");
  assert.ok((await a.log.last(id))!.seq < last.seq);
});
