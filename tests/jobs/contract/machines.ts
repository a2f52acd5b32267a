/** What several processes on the same jobs are to each other, for backends that take several: each sees what the others did, and whoever stood still can write nothing more. */
import assert from "node:assert/strict";
import type { Backend } from "../../../src/jobs/model/ports.ts";
import {
  add,
  addSome,
  adopted,
  becomes,
  bytesOf,
  due,
  filesOf,
  finish,
  isFault,
  job,
  namesOf,
  none,
  pace,
  pictureOf,
  places,
  record,
  runOne,
  start,
  startedEvent,
  step,
  take,
  told,
  until,
} from "./bench.ts";

export interface Machine {
  readonly backend: Backend;
  /** It stands still: nothing that it says arrives, and it hears nothing. */
  freeze(): void;
  thaw(): void;
}

export interface Site extends AsyncDisposable {
  readonly machines: readonly [Machine, Machine];
}

export function machines(name: string, open: () => Promise<Site>): void {
  const test = (what: string, use: (a: Machine, b: Machine) => Promise<void>) =>
    Deno.test(`${name}: ${what}`, async () => {
      await using site = await open();
      await use(...site.machines);
    });

  test("whoever stood still while another took its job over can write nothing more", async (a, b) => {
    const picture = pictureOf(300_000);
    const { id } = (await add(b.backend, { picture })).job;
    const frozen = await take(a.backend);
    await start(a.backend, frozen);
    await step(a.backend, frozen, 4);
    a.freeze();
    // What it does while it stands still is what it had begun: it does not know.
    frozen.progress(pace(5), [0.1]);
    await Deno.writeTextFile(`${frozen.folder}/checkpoint.safetensors`, "of the frozen one");
    frozen.saved(5);
    const ending = finish(frozen, pictureOf(50));
    const taken = await take(b.backend);
    assert.deepEqual([taken.record.job.id, taken.record.job.attempts, taken.record.deaths], [id, 2, 0]);
    assert.deepEqual(await Deno.readFile(`${taken.folder}/structure`), picture);
    await start(b.backend, taken, 4);
    await step(b.backend, taken, 6);
    a.thaw();
    await ending;
    await until("it is told", () => Promise.resolve(frozen.ended.aborted));
    assert.equal(frozen.ended.reason, "lost");
    frozen.started(startedEvent);
    frozen.progress(pace(50), [0.1]);
    await frozen.letGo();
    const running = await record(b.backend.store, id);
    assert.deepEqual([running.job.status, running.job.step], ["running", 6]);
    assert.equal(taken.ended.aborted, false);
    await step(b.backend, taken, 7);
    const result = pictureOf(60);
    await finish(taken, result);
    for (const { backend } of [a, b]) {
      const events = await told(backend.store, id);
      assert.deepEqual(events.map(({ id }) => id), events.map((_, index) => index + 1));
      const steps = events.flatMap((event) => event.name === "progress" ? [event.data.step] : []);
      assert.deepEqual(steps, [4, 6, 7]);
      const served = await backend.files.open(await record(backend.store, id), "result");
      assert.deepEqual(await bytesOf(served!.open()), result);
    }
    await none((signal) => a.backend.source.next(signal));
  });

  test("of twenty requests with one key, at once and anywhere, one makes a job", async (a, b) => {
    for (let round = 0; round < 5; round++) {
      const at = (index: number) => [a, b][index % 2].backend;
      const asked = await Promise.all(Array.from({ length: 20 }, (_, i) => adopted(at(i), { key: `k${round}` })));
      const answers = await Promise.all(asked.map((job, i) => at(i).store.create(job, { queue: 99 })));
      assert.equal(answers.filter(({ replayed }) => !replayed).length, 1);
      const [id, ...others] = new Set(answers.map(({ record }) => record.job.id));
      assert.deepEqual(others, []);
      for (const { backend } of [a, b]) {
        assert.deepEqual(await namesOf(backend.store, id), ["queued"]);
        assert.deepEqual(await filesOf(backend.files, await record(backend.store, id)), ["structure", "appearance"]);
        const other = { key: `k${round}`, digest: "e" };
        await assert.rejects(backend.store.find(other), isFault("idempotency_conflict", new RegExp(id)));
      }
      assert.equal(await runOne(at(round)), id);
      await none((signal) => at(round).source.next(signal));
    }
  });

  test("what one did the other sees: jobs at once, lists and places soon", async (a, b) => {
    const ids = await addSome(a.backend, 3);
    for (const id of ids) assert.equal((await job(b.backend.store, id)).status, "queued");
    await places(b.backend.store, ids, [1, 2, 3]);
    await becomes(async () => (await b.backend.store.list({ limit: 9 })).map(({ job }) => job.id), ids.toReversed());
    const heard = new Set<string | null>();
    const forget = b.backend.store.onChange((id) => heard.add(id));
    const lease = await take(a.backend);
    assert.equal((await job(b.backend.store, ids[0])).status, "running");
    await start(a.backend, lease);
    for (let at = 1; at <= 5; at++) await step(a.backend, lease, at);
    await until("the other is told", () => Promise.resolve(heard.has(ids[0]) && heard.has(null)));
    assert.deepEqual(await told(b.backend.store, ids[0]), await told(a.backend.store, ids[0]));
    assert.equal((await job(b.backend.store, ids[0])).step, 5);
    await becomes(() => b.backend.store.counts(), { queued: 2, running: 1, succeeded: 0, failed: 0, canceled: 0 });
    await finish(lease);
    assert.equal((await job(b.backend.store, ids[0])).status, "succeeded");
    assert.equal(await runOne(b.backend), ids[1]);
    await becomes(async () => (await a.backend.store.list({ limit: 1, status: "queued" })).map(({ job }) => job.id), [
      ids[2],
    ]);
    forget();
  });

  test("a job is canceled from anywhere, whoever works on it, and whoever stands still", async (a, b) => {
    const [first, second] = await addSome(a.backend, 2);
    const lease = await take(a.backend);
    await start(a.backend, lease);
    assert.equal(await b.backend.store.cancel(first), "running");
    await until("it is told", () => Promise.resolve(lease.ended.aborted));
    assert.equal(lease.ended.reason, "canceled");
    await lease.letGo();
    const frozen = await take(a.backend);
    await start(a.backend, frozen);
    a.freeze();
    const begun = performance.now();
    assert.equal(await b.backend.store.cancel(second), "running");
    assert.ok(performance.now() - begun < 2000, "it waited for the one that stands still");
    const ending = finish(frozen);
    assert.equal((await job(b.backend.store, second)).status, "canceled");
    a.thaw();
    await ending;
    await until("it is told", () => Promise.resolve(frozen.ended.aborted));
    await frozen.letGo();
    assert.deepEqual(await namesOf(b.backend.store, second), ["queued", "started", "canceled"]);
    await none((signal) => b.backend.source.next(signal));
  });

  test("three deaths fail a job, on whichever machines", async (a, b) => {
    const { id } = (await add(a.backend)).job;
    for (const { backend } of [a, b, a]) await (await take(backend)).giveBack({ died: true });
    for (const { backend } of [a, b]) {
      const { status, attempts, error } = await job(backend.store, id);
      assert.deepEqual([status, attempts, error?.status], ["failed", 3, 500]);
    }
  });

  test("a checkpoint that one machine gives back is what another goes on from", async (a, b) => {
    const { id } = (await add(a.backend)).job;
    const lease = await take(a.backend);
    await start(a.backend, lease);
    await step(a.backend, lease, 10);
    const checkpoint = pictureOf(2_000_000);
    await Deno.writeFile(`${lease.folder}/checkpoint.safetensors`, checkpoint);
    lease.saved(10);
    await lease.giveBack({ died: false });
    const given = performance.now();
    const next = await take(b.backend);
    assert.ok(performance.now() - given < 3000, `it took ${performance.now() - given} ms`);
    assert.equal(next.record.job.id, id);
    assert.deepEqual(await Deno.readFile(`${next.folder}/checkpoint.safetensors`), checkpoint);
    assert.notEqual(next.folder, lease.folder);
    await finish(next);
  });

  test("jobs are worked off by whoever has time, each once", async (a, b) => {
    const ids = await addSome(a.backend, 12);
    const did: string[] = [];
    await Promise.all([a, b, a, b].map(async ({ backend }) => {
      for (let left = 3; left > 0; left--) did.push(await runOne(backend));
    }));
    assert.deepEqual(did.toSorted(), ids.toSorted());
    const attempts = await Promise.all(ids.map(async (id) => (await job(a.backend.store, id)).attempts));
    assert.deepEqual(attempts, Array(12).fill(1));
  });

  test("webhooks are told once, in order, by whoever has time", async (a, b) => {
    const ids: string[] = [];
    for (const { backend } of [a, b, a, b, a]) {
      ids.push((await add(backend, { webhookUrl: "https://receiver.example/" })).job.id);
      const lease = await take(backend);
      await start(backend, lease);
      await finish(lease);
    }
    const heard = new Map<string, string[]>();
    const deliveries = new Set<string>();
    const senders = [a, b].map(async ({ backend }) => {
      while (deliveries.size < 10) {
        const next = await backend.outbox.next(AbortSignal.timeout(2000));
        if (next === null) continue;
        const { event, delivered_id } = JSON.parse(next.body);
        assert.equal(deliveries.has(delivered_id), false, "it came twice");
        deliveries.add(delivered_id);
        heard.set(next.job, [...heard.get(next.job) ?? [], event]);
        await next.delivered();
      }
    });
    await Promise.all(senders);
    assert.deepEqual([...heard.keys()].toSorted(), ids.toSorted());
    for (const events of heard.values()) assert.deepEqual(events, ["started", "succeeded"]);
    await none((signal) => a.backend.outbox.next(signal));
    assert.equal(await a.backend.outbox.secret(), await b.backend.outbox.secret());
  });

  test("what was being sent by one that stands still is sent by another, the same", async (a, b) => {
    await add(b.backend, { webhookUrl: "https://receiver.example/" });
    await start(b.backend, await take(b.backend));
    const held = await due(a.backend);
    a.freeze();
    const again = await due(b.backend);
    assert.equal(again.body, held.body);
    await again.delivered();
    a.thaw();
    await held.delivered();
    await none((signal) => b.backend.outbox.next(signal));
  });

  test("jobs are removed by several at once, each once and wholly", async (a, b) => {
    const ids = await addSome(a.backend, 19);
    for (const id of ids) await b.backend.store.cancel(id);
    const before = await Promise.all(ids.map((id) => record(a.backend.store, id)));
    const did = await Promise.all([a, b].map(({ backend }) => Promise.all(ids.map((id) => backend.store.remove(id)))));
    for (const [index, id] of ids.entries()) {
      assert.ok(did.some((one) => one[index]), `${id} was removed by nobody`);
      for (const { backend } of [a, b]) {
        assert.deepEqual([await backend.store.get(id), await told(backend.store, id)], [null, []]);
        assert.deepEqual(await filesOf(backend.files, before[index]), []);
        assert.equal(await backend.store.remove(id), false);
      }
    }
    for (const { backend } of [a, b]) await becomes(async () => (await backend.store.list({ limit: 99 })).length, 0);
  });
}
