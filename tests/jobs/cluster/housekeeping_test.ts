/** What is done for those who died in between: by any node, by several at once. */
import assert from "node:assert/strict";
import * as steps from "../../../src/jobs/cluster/snapshot.ts";
import type { StreamName } from "../../../src/jobs/cluster/streams.ts";
import { newJob, serve, type Serving, until } from "../../support/jobs/cluster.ts";
import { natsTest } from "../../support/nats.ts";

const queue = 1000;

async function subjects({ connection, names }: Serving, stream: StreamName): Promise<string[]> {
  const { state } = await connection.manager.streams.info(names.streams[stream], { subjects_filter: ">" });
  return Object.keys(state.subjects ?? {}).sort();
}

natsTest("housekeeping: what waits is queued, what runs only once its owner is silent", {}, async (nats) => {
  await using a = await serve(nats);
  await using b = await serve(nats);
  const [waits, runs, ended] = await Promise.all(
    Array.from({ length: 3 }, async () => (await a.store.create(newJob(), { queue })).record.job.id),
  );
  let at = await a.write(runs, (snap) => steps.claimed(snap, "w"));
  await a.store.cancel(ended);
  await until(() => b.store.counts().running === 1 && b.store.counts().canceled === 1);
  await a.connection.manager.streams.purge(a.names.streams.queue);
  await Promise.all([a.housekeeping.look(), b.housekeeping.look()]);
  assert.deepEqual(await subjects(a, "queue"), [a.names.queue(waits)]);
  at = await a.log.append(at, steps.checkpointed(at.snap, { step: 1, file: newJob().adopted.inputs.structure!.file }));
  await until(async () => (await b.store.list({ limit: 9, status: "running" })).length === 1);
  await a.housekeeping.look();
  assert.deepEqual(await subjects(a, "queue"), [a.names.queue(waits)], "it is alive");
  await a.housekeeping.look();
  await a.housekeeping.look();
  assert.deepEqual(await subjects(a, "queue"), [a.names.queue(waits), a.names.queue(runs)].sort());
});

natsTest("housekeeping: a removal that stopped half way is finished, and buried at last", {}, async (nats) => {
  await using a = await serve(nats, { mourning: 0 });
  const idempotency = { key: "k", digest: "d" };
  const { record: { job: { id } } } = await a.store.create(newJob({ idempotency }), { queue });
  await a.connection.js.publish(a.names.file(id, "x"), "bytes");
  await a.connection.js.publish(a.names.hook(id, 1), "");
  await a.store.cancel(id);
  await a.write(id, steps.removed);
  await until(() => a.store.counts().canceled === 0);
  assert.equal(await a.store.find({ key: "k", digest: "other" }), null, "its key is free at once");
  const again = await a.store.create(newJob({ idempotency }), { queue });
  await a.housekeeping.look();
  await a.housekeeping.look();
  assert.deepEqual(await subjects(a, "jobs"), [a.names.job(again.record.job.id)]);
  assert.deepEqual(await subjects(a, "queue"), [a.names.queue(again.record.job.id)]);
  for (const stream of ["files", "hooks"] as const) assert.deepEqual(await subjects(a, stream), []);
  assert.equal((await subjects(a, "keys")).length, 1, "the key that came to stand in its place stays");
});

natsTest("housekeeping: files and keys that no job names go, when they are old", {}, async (nats) => {
  await using a = await serve(nats);
  await using impatient = await serve(nats, { patience: -1 });
  const job = newJob();
  const named = {
    ...job.adopted.inputs.structure!,
    file: { ...job.adopted.inputs.structure!.file, subject: a.names.file(job.id, "x") },
  };
  const adopted = { ...job.adopted, inputs: { structure: named } };
  await a.store.create({ ...job, adopted, idempotency: { key: "k", digest: "d" } }, { queue });
  const token = "f".repeat(64);
  await a.connection.js.publish(a.names.key(token), JSON.stringify({ id: crypto.randomUUID(), digest: "d" }));
  await a.connection.js.publish(a.names.key("webhook-secret"), "s");
  for (const [folder, name] of [[job.id, "x"], [job.id, "y"], [crypto.randomUUID(), "z"], ["call-1", "w"]]) {
    await a.connection.js.publish(a.names.file(folder, name), "bytes");
  }
  await a.housekeeping.sweep();
  assert.equal((await subjects(a, "files")).length, 4);
  assert.equal((await subjects(a, "keys")).length, 3);
  await Promise.all([impatient.housekeeping.sweep(), impatient.housekeeping.sweep()]);
  assert.deepEqual(await subjects(a, "files"), [a.names.file(job.id, "x")]);
  assert.equal((await subjects(a, "keys")).length, 2);

  // A job that this version cannot read may name anything.
  const foreign = crypto.randomUUID();
  await a.connection.js.publish(a.names.job(foreign), JSON.stringify({ schema: 99 }));
  await a.connection.js.publish(a.names.file(foreign, "x"), "bytes");
  await impatient.housekeeping.sweep();
  assert.equal((await subjects(a, "files")).length, 2);
  await assert.rejects(a.store.get(foreign), /written by a newer version of splice; update this server/);
  await using late = await serve(nats);
  assert.equal(late.store.counts().queued, 1);
});
