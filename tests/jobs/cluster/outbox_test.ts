/** Webhooks of a cluster: each event that is to be told becomes one delivery, in order, whichever nodes there are. */
import assert from "node:assert/strict";
import { nanos } from "@nats-io/nats-core";
import { openOutbox } from "../../../src/jobs/cluster/outbox.ts";
import { canceled, claimed, progressed, started } from "../../../src/jobs/cluster/snapshot.ts";
import { CONSUMERS } from "../../../src/jobs/cluster/streams.ts";
import type { Due } from "../../../src/jobs/model/ports.ts";
import { firstSnapshot, join } from "../../support/jobs/cluster.ts";
import { type Nats, natsTest } from "../../support/nats.ts";

const never = new AbortController().signal;
const pace = { step: 1, steps: 100, losses: { total: 1 }, steps_per_second: 2, eta_seconds: 50 };

async function server(nats: Nats) {
  const node = await join(nats);
  const closing = new AbortController();
  const outbox = openOutbox({ ...node, closing: closing.signal, complain: console.log });
  return {
    ...node,
    outbox,
    async [Symbol.asyncDispose]() {
      closing.abort();
      await node.connection.close();
    },
  };
}
type Server = Awaited<ReturnType<typeof server>>;

/** A job's whole life, with two events that its webhook is told. */
async function live({ log }: Server, webhookUrl: string | null = "https://example.com/hook"): Promise<string> {
  let at = await log.append(null, firstSnapshot({ webhookUrl }));
  at = await log.append(at, claimed(at.snap, "me"));
  at = await log.append(at, started(at.snap, { adapter: "a", model: "m", steps: 100, step: 0 }, new Date()));
  at = await log.append(at, progressed(at.snap, pace, []));
  at = await log.append(at, canceled(at.snap, new Date()));
  return at.snap.id;
}

const told = (due: Due) => {
  const { event, delivered_id, job } = JSON.parse(due.body);
  return [due.job, event, delivered_id, job.status, due.tries];
};

natsTest("outbox: a job's deliveries go out in order, over all nodes, until they have arrived", {}, async (nats) => {
  await using here = await server(nats);
  await using there = await server(nats);
  await live(here, null);
  const id = await live(there);
  const first = (await here.outbox.next(never))!;
  assert.deepEqual(told(first), [id, "started", `${id}.2`, "running", 0]);
  assert.equal(first.url, "https://example.com/hook");

  await first.putBack();
  const again = (await here.outbox.next(never))!;
  assert.deepEqual(told(again), [id, "started", `${id}.2`, "running", 0]);
  const began = performance.now();
  await again.later(700);
  const third = (await here.outbox.next(never))!;
  assert.ok(performance.now() - began > 650);
  assert.deepEqual(told(third), [id, "started", `${id}.2`, "running", 1]);
  const second = there.outbox.next(never);
  assert.equal(await Promise.race([second, new Promise((resolve) => setTimeout(resolve, 300, "waits"))]), "waits");
  await third.delivered();
  const last = (await second)!;
  assert.deepEqual(told(last), [id, "canceled", `${id}.4`, "canceled", 0]);
  await last.delivered();

  const leaving = new AbortController();
  const idle = here.outbox.next(leaving.signal);
  setTimeout(() => leaving.abort(), 300);
  assert.equal(await idle, null);
  const { state } = await here.connection.manager.streams.info(here.names.streams.hooks);
  assert.equal(state.messages, 0);
});

natsTest("outbox: what a node took and did not bring to an end, another does", {}, async (nats) => {
  await using here = await server(nats);
  await here.connection.manager.consumers.update(here.names.streams.hooks, CONSUMERS.deliver, {
    ack_wait: nanos(1000),
  });
  let id: string;
  let late: Due;
  {
    await using lost = await server(nats);
    const { connection: { manager }, names } = lost;
    await manager.consumers.update(names.streams.hooks, CONSUMERS.deliver, { ack_wait: nanos(1000) });
    id = await live(lost);
    late = (await lost.outbox.next(never))!;
    const again = (await here.outbox.next(never))!;
    assert.deepEqual(told(again), told(late));
    await again.later(0);
    await late.later(60_000); // too late to change anything
  }
  const third = (await here.outbox.next(never))!;
  assert.deepEqual(told(third), [id, "started", `${id}.2`, "running", 1]);
  await third.delivered();
  const last = (await here.outbox.next(never))!;
  assert.equal(told(last)[1], "canceled");
  await last.delivered();
});

natsTest("outbox: the secret is made once", {}, async (nats) => {
  await using here = await server(nats);
  await using there = await server(nats);
  const secrets = await Promise.all([here, there, here, there].map(({ outbox }) => outbox.secret()));
  assert.equal(new Set(secrets).size, 1);
  assert.match(secrets[0], /^[0-9a-f]{64}$/);
});

natsTest(
  "outbox: many jobs, three nodes, one of which goes: each delivery once, each job's in order",
  {},
  async (nats) => {
    await using here = await server(nats);
    await using there = await server(nats);
    const heard = new Map<string, string[]>();
    const stop = new AbortController();
    async function send({ outbox }: Server): Promise<void> {
      for (let due = await outbox.next(stop.signal); due !== null; due = await outbox.next(stop.signal)) {
        const { event } = JSON.parse(due.body);
        if (Math.random() < 0.2 && due.tries < 3) await due.later(50);
        else {
          heard.set(due.job, [...heard.get(due.job) ?? [], event]);
          await due.delivered();
        }
      }
    }
    const ids: string[] = [];
    {
      await using third = await server(nats);
      const living = Promise.all(Array.from({ length: 30 }, async () => ids.push(await live(third))));
      await living;
    }
    const sending = Promise.all([send(here), send(there), send(here)]);
    const deadline = Date.now() + 40_000;
    while ([...heard.values()].flat().length < 2 * ids.length) {
      assert.ok(Date.now() < deadline, "all are sent");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    stop.abort();
    await sending;
    for (const id of ids) assert.deepEqual(heard.get(id), ["started", "canceled"]);
  },
);
