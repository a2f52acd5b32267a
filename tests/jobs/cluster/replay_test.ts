/** Events that are read again, from any place, while more come, on nodes that were not there when they happened. */
import assert from "node:assert/strict";
import type { At, Log } from "../../../src/jobs/cluster/log.ts";
import { openReplay } from "../../../src/jobs/cluster/replay.ts";
import * as steps from "../../../src/jobs/cluster/snapshot.ts";
import { MESSAGES_KEPT } from "../../../src/jobs/cluster/streams.ts";
import { firstSnapshot, join, type Joined, serve, until } from "../../support/jobs/cluster.ts";
import { natsTest } from "../../support/nats.ts";

const pace = (step: number) => ({ step, steps: 100, losses: { total: 1 }, steps_per_second: 2, eta_seconds: 50 });

/** Writes the messages of a job that runs, many at once: in this test nobody else does. */
async function run({ connection, names }: Joined, at: At, messages: number, silent = 0): Promise<void> {
  const acks: Promise<unknown>[] = [];
  let snap = at.snap;
  for (let i = 1; i <= messages; i++) {
    snap = {
      ...i % 10 < silent ? steps.claimed(snap, "w") : steps.progressed(snap, pace(i), []),
      v: snap.v + 1,
    };
    acks.push(connection.js.publish(names.job(snap.id), JSON.stringify(snap), { msgID: `${snap.id}.${snap.v}` }));
    if (acks.length % 500 === 0) await Promise.all(acks.splice(0));
  }
  await Promise.all(acks);
}

async function running(node: Joined): Promise<At> {
  const queued = await node.log.append(null, firstSnapshot());
  return await node.log.append(queued, steps.claimed(queued.snap, "w"));
}

async function readAll(log: Log, id: string, from: number, limit = 64): Promise<number[]> {
  const replay = openReplay(log);
  const last = (await log.last(id))!;
  const ids: number[] = [];
  for (let after = from; after < last.snap.n;) {
    const events = await replay.read(last, { after, limit });
    assert.ok(events.length > 0 && events.length <= limit);
    ids.push(...events.map(({ id }) => id));
    after = ids.at(-1)!;
  }
  return ids;
}

const upTo = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

natsTest("replay: from any place, among other jobs, without gaps or repeats", {}, async (nats) => {
  await using node = await join(nats);
  const jobs = [await running(node), await running(node), await running(node)];
  await Promise.all(jobs.map((at, i) => run(node, at, [1500, 400, 30][i], i)));
  for (const [i, { snap: { id } }] of jobs.entries()) {
    const { n } = (await node.log.last(id))!.snap;
    for (const from of [0, 1, 2, Math.floor(n / 3), n - 65, n - 2, n - 1, n].filter((from) => from >= 0)) {
      assert.deepEqual(await readAll(node.log, id, from), upTo(from + 1, n), `${i} from ${from} of ${n}`);
    }
  }
  const last = (await node.log.last(jobs[0].snap.id))!;
  const all = await openReplay(node.log).read(last, { after: 0, limit: 1e6 });
  assert.deepEqual(all.map(({ id }) => id), upTo(1, last.snap.n), "as many as are wanted");
  const begun = performance.now();
  await readAll(node.log, jobs[0].snap.id, 500);
  console.log(`replay of 1,000 events: ${(performance.now() - begun).toFixed(0)} ms`);
});

natsTest("replay: many readers at many places, while the job goes on", {}, async (nats) => {
  await using node = await serve(nats);
  const begun = await running(node);
  const { id } = begun.snap;
  const writing = (async () => {
    let at = begun;
    for (let step = 1; step <= 400; step++) at = await node.log.append(at, steps.progressed(at.snap, pace(step), []));
  })();
  const readers = Array.from({ length: 30 }, async (_, i) => {
    const ids: number[] = [];
    while ((ids.at(-1) ?? 0) < 401) {
      const events = await node.store.events(id, { after: ids.at(-1) ?? 0, limit: 1 + i });
      ids.push(...events.map(({ id }) => id));
      if (events.length === 0) await new Promise((resolve) => setTimeout(resolve, i));
    }
    return ids;
  });
  for (const ids of await Promise.all(readers)) assert.deepEqual(ids, upTo(1, 401));
  await writing;
});

natsTest("replay: what is no longer kept is told, and the rest is there", {}, async (nats) => {
  await using node = await serve(nats);
  const begun = await running(node);
  const { id } = begun.snap;
  await run(node, begun, MESSAGES_KEPT + 200, 1);
  await until(async () => (await node.store.get(id))!.job.step === MESSAGES_KEPT + 199);
  const sight = (await node.store.sight(id))!;
  assert.ok(sight.first > 100 && sight.last > 9000, `${sight.first} to ${sight.last}`);
  const ids: number[] = [];
  for (let after = sight.first - 1; after < sight.last;) {
    const events = await node.store.events(id, { after, limit: 1000 });
    ids.push(...events.map(({ id }) => id));
    after = ids.at(-1)!;
  }
  assert.deepEqual(ids, upTo(sight.first, sight.last));
  const [oldest] = await node.store.events(id, { after: 0, limit: 1 });
  assert.equal(oldest.id, sight.first, "before them there is nothing");
});
