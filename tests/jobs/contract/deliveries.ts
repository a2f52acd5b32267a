/** Webhooks that are due: written with what they tell of, given out in order and one at a time, and none lost. */
import assert from "node:assert/strict";
import { jobSchema } from "../../../src/jobs/model/job.ts";
import type { Due } from "../../../src/jobs/model/ports.ts";
import { add, after, due, finish, none, type Open, runOne, start, take, test } from "./bench.ts";

const HOOK = "https://receiver.example/hooks/a?b=c";

/** What a delivery tells, but for when and of which job. */
function tells({ body, url, tries }: Due) {
  const { event, job } = JSON.parse(body);
  return [event, job.status, url, tries];
}

const deliveryId = ({ body }: Due): string => JSON.parse(body).delivered_id;

export function deliveries(name: string, open: Open): void {
  test(`${name}: the start and the end of a job are told, in order, once`, open, async (bench) => {
    const { backend } = bench;
    const { id } = (await add(backend, { webhookUrl: HOOK })).job;
    await add(backend);
    await none((signal) => backend.outbox.next(signal));
    for (const died of [true, false]) {
      const lease = await take(backend);
      await start(backend, lease);
      await lease.giveBack({ died });
    }
    const lease = await take(backend);
    await start(backend, lease);
    await finish(lease);
    await runOne(backend);
    const first = await due(backend);
    assert.deepEqual([first.job, ...tells(first)], [id, "started", "running", HOOK, 0]);
    const { created_at, ...body } = JSON.parse(first.body);
    assert.deepEqual(Object.keys(body), ["event", "delivered_id", "job"]);
    assert.equal(new Date(created_at).toISOString(), created_at);
    assert.equal(jobSchema.parse(body.job).id, id);
    assert.ok(typeof body.delivered_id === "string" && body.delivered_id.length > 8);
    await none((signal) => backend.outbox.next(signal)); // the end waits for the start
    await first.delivered();
    const second = await due(backend);
    assert.deepEqual([second.job, ...tells(second)], [id, "succeeded", "succeeded", HOOK, 0]);
    assert.notEqual(deliveryId(second), deliveryId(first));
    await second.delivered();
    await none((signal) => backend.outbox.next(signal));
    await bench.reopen();
    await none((signal) => bench.backend.outbox.next(signal));
  });

  test(`${name}: a job canceled or failed before it began is told of too`, open, async ({ backend }) => {
    const canceled = (await add(backend, { webhookUrl: HOOK })).job.id;
    await backend.store.cancel(canceled);
    const first = await due(backend);
    assert.deepEqual([first.job, ...tells(first)], [canceled, "canceled", "canceled", HOOK, 0]);
    await first.delivered();
    const poison = (await add(backend, { webhookUrl: HOOK })).job.id;
    for (let death = 0; death < 3; death++) await (await take(backend)).giveBack({ died: true });
    const second = await due(backend);
    assert.deepEqual([second.job, ...tells(second)], [poison, "failed", "failed", HOOK, 0]);
    assert.match(JSON.parse(second.body).job.error.detail, /died 3 times/);
    await second.delivered();
  });

  test(
    `${name}: what was tried in vain comes again, the same, before anything later of its job`,
    open,
    async (bench) => {
      const { backend } = bench;
      await add(backend, { webhookUrl: HOOK });
      const lease = await take(backend);
      await start(backend, lease);
      await finish(lease);
      const first = await due(backend);
      const tried = performance.now();
      await first.later(1000);
      await none((signal) => backend.outbox.next(signal));
      const again = await due(backend);
      assert.ok(performance.now() - tried > 990, "it came too early");
      assert.deepEqual([again.body, again.tries], [first.body, 1]);
      await again.later(50);
      const third = await due(backend);
      assert.deepEqual([third.body, third.tries], [first.body, 2]);
      await third.delivered();
      const end = await due(backend);
      assert.deepEqual(tells(end), ["succeeded", "succeeded", HOOK, 0]);
      await end.delivered();
    },
  );

  test(`${name}: one job's receiver holds up no other's`, open, async ({ backend }) => {
    const slow = (await add(backend, { webhookUrl: HOOK })).job.id;
    await start(backend, await take(backend));
    const held = await due(backend);
    assert.equal(held.job, slow);
    await backend.store.cancel(slow);
    const others = new Set<string>();
    for (let index = 0; index < 3; index++) {
      others.add((await add(backend, { webhookUrl: `${HOOK}&n=${index}` })).job.id);
      const lease = await take(backend);
      await start(backend, lease);
      await finish(lease);
    }
    const told = new Map<string, string[]>();
    for (let count = 0; count < 6; count++) {
      const next = await due(backend);
      assert.ok(others.has(next.job));
      told.set(next.job, [...told.get(next.job) ?? [], JSON.parse(next.body).event]);
      await next.delivered();
    }
    assert.deepEqual([...told.values()], Array(3).fill(["started", "succeeded"]));
    await held.delivered();
    const end = await due(backend);
    assert.deepEqual([end.job, JSON.parse(end.body).event], [slow, "canceled"]);
    await end.delivered();
  });

  test(
    `${name}: what was put back, or in flight when all ended, is due again, and no try is counted`,
    open,
    async (bench) => {
      await add(bench.backend, { webhookUrl: HOOK });
      const lease = await take(bench.backend);
      await start(bench.backend, lease);
      await finish(lease);
      const first = await due(bench.backend);
      await first.putBack();
      const again = await due(bench.backend);
      assert.deepEqual([again.body, again.tries], [first.body, 0]);
      await again.later(1);
      await after(50);
      const tried = await due(bench.backend);
      assert.equal(tried.tries, 1);
      await tried.putBack();
      await bench.reopen();
      const reopened = await due(bench.backend);
      assert.deepEqual([reopened.body, reopened.tries], [first.body, 1]);
      await bench.kill();
      const killed = await due(bench.backend);
      assert.equal(killed.body, first.body, "known to its receiver by its id");
      await killed.delivered();
      const end = await due(bench.backend);
      assert.equal(JSON.parse(end.body).event, "succeeded");
      await end.delivered();
      await bench.kill();
      await none((signal) => bench.backend.outbox.next(signal));
    },
  );

  test(`${name}: deliveries go with their job`, open, async (bench) => {
    const { backend } = bench;
    const ids: string[] = [];
    while (ids.length < 4) ids.push((await add(backend, { webhookUrl: HOOK })).job.id);
    const [before, id, gone, later] = ids;
    for (const one of [before, id, gone]) await backend.store.cancel(one);
    for (const one of [id, gone]) assert.equal(await backend.store.remove(one), true);
    await backend.store.cancel(later);
    for (const other of [before, later]) {
      const next = await due(backend);
      assert.equal(next.job, other, "others' stay");
      await next.delivered();
    }
    await bench.reopen();
    await none((signal) => bench.backend.outbox.next(signal));
  });

  test(`${name}: the secret is made once`, open, async (bench) => {
    const secrets = await Promise.all([1, 2, 3].map(() => bench.backend.outbox.secret()));
    await bench.reopen();
    secrets.push(await bench.backend.outbox.secret());
    await bench.kill();
    secrets.push(await bench.backend.outbox.secret());
    assert.equal(new Set(secrets).size, 1);
    assert.ok(secrets[0].length >= 32);
  });
}
