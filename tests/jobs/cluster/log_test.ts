/** The log of a job: whoever goes on from a message that is not the last writes nothing. */
import assert from "node:assert/strict";
import { type At, Fenced } from "../../../src/jobs/cluster/log.ts";
import { canceled, claimed, eventOf, progressed, started } from "../../../src/jobs/cluster/snapshot.ts";
import { firstSnapshot, join } from "../../support/jobs/cluster.ts";
import { natsTest } from "../../support/nats.ts";

const pace = { step: 1, steps: 100, losses: { total: 1 }, steps_per_second: 2, eta_seconds: 50 };

natsTest("log: a job is what its last message says", {}, async (nats) => {
  await using node = await join(nats);
  const { log } = node;
  const first = firstSnapshot();
  assert.equal(await log.last(first.id), null);
  assert.equal(await log.next(0), null);
  const queued = await log.append(null, first);
  const running = await log.append(queued, claimed(queued.snap, "me"));
  const begun = await log.append(
    running,
    started(running.snap, { adapter: "a", model: "m", steps: 100, step: 0 }, new Date(0)),
  );
  const going = await log.append(begun, progressed(begun.snap, pace, [0.5]));
  assert.deepEqual((await log.last(first.id))?.snap, going.snap);
  assert.deepEqual([going.snap.v, going.snap.n, going.snap.number], [4, 3, queued.seq]);

  const read: At[] = [];
  for (let at = await log.next(0, first.id); at !== null; at = await log.next(at.seq + 1, first.id)) read.push(at);
  assert.deepEqual(read.map(({ snap }) => snap), [queued, running, begun, going].map(({ snap }) => snap));
  assert.deepEqual(
    read.flatMap(({ snap }) => eventOf(snap) ?? []).map(({ id, name, data }) => [id, name, JSON.parse(data)]),
    [
      [1, "queued", { id: first.id, position: 1 }],
      [2, "started", { adapter: "a", model: "m", steps: 100, step: 0 }],
      [3, "progress", pace],
    ],
  );
});

natsTest("log: a writer that comes late is refused, and told how things are", {}, async (nats) => {
  await using node = await join(nats);
  await using other = await join(nats);
  const queued = await node.log.append(null, firstSnapshot());
  await assert.rejects(other.log.append(null, firstSnapshot({ id: queued.snap.id })), Fenced);
  const mine = await node.log.append(queued, claimed(queued.snap, "me"));
  const theirs = await other.log.append(mine, claimed(mine.snap, "they"));
  const late = node.log.append(mine, progressed(mine.snap, pace, []));
  await assert.rejects(late, (error) => error instanceof Fenced && error.now?.snap.owner === "they");
  const end = await node.log.append(theirs, canceled(theirs.snap, new Date()));
  await assert.rejects(other.log.append(theirs, progressed(theirs.snap, pace, [])), Fenced);
  assert.deepEqual(await other.log.last(queued.snap.id).then((at) => at?.snap), end.snap);
});

for (const servers of [1, 3] as const) {
  natsTest(`log: of many who go on from one message one wins (${servers})`, { servers }, async (nats) => {
    await using node = await join(nats);
    const others = [node, await join(nats), await join(nats), await join(nats)];
    try {
      let at = await node.log.append(null, firstSnapshot());
      for (let round = 0; round < 30; round++) {
        const tries = await Promise.allSettled(
          Array.from({ length: 12 }, (_, i) => others[i % 4].log.append(at, claimed(at.snap, `${round}.${i}`))),
        );
        const won = tries.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
        assert.equal(won.length, 1);
        for (const result of tries) if (result.status === "rejected") assert.ok(result.reason instanceof Fenced);
        at = won[0];
        assert.equal((await node.log.last(at.snap.id))?.snap.owner, at.snap.owner);
      }
      assert.equal(at.snap.v, 31);
    } finally {
      for (const other of others.slice(1)) await other.connection.close();
    }
  });
}

natsTest(
  "log: a chain goes on through the death of its server, nothing lost and nothing twice",
  { servers: 3 },
  async (nats) => {
    await using node = await join(nats);
    const { log, names } = node;
    let at = await log.append(null, firstSnapshot());
    const deadline = Date.now() + 4000;
    const killed = (async () => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      const leader = await nats.leader(names.streams.jobs);
      await leader!.end();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await leader!.start();
    })();
    let longest = 0;
    while (Date.now() < deadline || at.snap.n < 50) {
      const begun = performance.now();
      at = await log.append(at, progressed(at.snap, pace, []), { patience: Infinity });
      longest = Math.max(longest, performance.now() - begun);
    }
    await killed;
    const ids: number[] = [];
    for (let read = await log.next(0); read !== null; read = await log.next(read.seq + 1)) ids.push(read.snap.n);
    assert.deepEqual(ids, Array.from({ length: at.snap.n }, (_, i) => i + 1));
    console.log(`${ids.length} events, longest pause ${longest.toFixed(0)} ms`);
  },
);
