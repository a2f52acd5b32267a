/** Events: ids count 1, 2, 3, ... in each job, whatever happens to it and to whoever tells them, and what is told stays as it was told. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Fault, isFinal } from "../../../src/jobs/model/job.ts";
import type { Lease } from "../../../src/jobs/model/ports.ts";
import {
  add,
  type Bench,
  finish,
  job,
  namesOf,
  none,
  type Open,
  pace,
  record,
  start,
  startedEvent,
  step,
  take,
  test,
  told,
  until,
} from "./bench.ts";

export function events(name: string, open: Open): void {
  test(`${name}: ids have no gaps, through deaths, requeues and restarts`, open, async (bench) => {
    const { id } = (await add(bench.backend)).job;
    const before: unknown[] = [];
    /** What was told stays told. */
    const check = async () => {
      const events = await told(bench.backend.store, id);
      assert.deepEqual(events.map(({ id }) => id), events.map((_, index) => index + 1));
      assert.deepEqual(events.slice(0, before.length), before);
      const { first, last } = (await bench.backend.store.sight(id))!;
      assert.deepEqual([first, last], [1, events.length]);
      before.splice(0, Infinity, ...events);
    };
    const attempt = async (from: number) => {
      const lease = await take(bench.backend);
      await start(bench.backend, lease, from);
      await step(bench.backend, lease, from + 1);
      await Deno.writeTextFile(`${lease.folder}/preview.jpg`, "a preview");
      lease.preview(from + 1);
      await step(bench.backend, lease, from + 2);
      await check();
      return lease;
    };
    await (await attempt(0)).giveBack({ died: true });
    await check();
    await (await attempt(2)).giveBack({ died: false });
    await check();
    await bench.reopen();
    await check();
    await attempt(4);
    await bench.kill();
    await check();
    await finish(await attempt(6));
    await bench.reopen();
    await check();
    assert.deepEqual(await namesOf(bench.backend.store, id), [
      "queued",
      ...Array(4).fill(["started", "progress", "progress"]).flat(),
      "succeeded",
    ]);
    const starts = (await told(bench.backend.store, id)).filter(({ name }) => name === "started");
    assert.deepEqual(starts.map(({ data }) => data), [0, 2, 4, 6].map((from) => ({ ...startedEvent, step: from })));
    const { attempts } = await job(bench.backend.store, id);
    assert.equal(attempts, 4);
  });

  test(`${name}: what came after an event is told exactly, so much at a time as is asked for`, open, async (bench) => {
    const { backend } = bench;
    const [{ job: { id } }, { job: { id: other } }] = [await add(backend), await add(backend)];
    const lease = await take(backend);
    await start(backend, lease);
    for (let at = 1; at <= 10; at++) await step(backend, lease, at);
    const check = async (last: number) => {
      const { store } = bench.backend;
      const range = async (after: number, limit: number) =>
        (await store.events(id, { after, limit })).map(({ id }) => id);
      const from = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
      assert.deepEqual(await range(0, 1000), from(1, last));
      assert.deepEqual(await range(4, 3), [5, 6, 7]);
      assert.deepEqual(await range(0, 1), [1]);
      assert.deepEqual(await range(last - 1, 10), [last]);
      assert.deepEqual(await range(last, 10), []);
      assert.deepEqual(await range(last + 100, 10), []);
      let seen: number[] = [];
      for (let after = 0; after < last; after = seen.at(-1)!) seen = [...seen, ...await range(after, 5)];
      assert.deepEqual(seen, from(1, last));
      assert.deepEqual(await namesOf(store, other), ["queued"]);
    };
    await check(12);
    await finish(lease);
    await check(13);
    await bench.reopen();
    await check(13);
  });

  test(`${name}: steps told faster than they are kept leave no gap, and the newest is kept`, open, async (bench) => {
    const { backend, backend: { store } } = bench;
    const { id } = (await add(backend)).job;
    const lease = await take(backend);
    await Deno.writeTextFile(`${lease.folder}/preview.jpg`, "a preview");
    lease.started(startedEvent);
    for (let at = 1; at <= 99; at++) {
      lease.progress(pace(at), [0.01]);
      if (at % 10 === 0) lease.preview(at);
    }
    await until("the last step is seen", async () => (await job(store, id)).step === 99);
    await until("the last preview is seen", async () => (await record(store, id)).previewStep === 90);
    await finish(lease);
    const events = await told(store, id);
    assert.deepEqual(events.map(({ id }) => id), events.map((_, index) => index + 1));
    const names = events.map(({ name }) => name);
    assert.deepEqual([names.slice(0, 2), names.at(-1)], [["queued", "started"], "succeeded"]);
    const steps = events.flatMap((event) => event.name === "progress" ? [event.data.step] : []);
    assert.deepEqual(steps, steps.toSorted((a, b) => a - b));
    assert.equal(steps.at(-1), 99);
  });

  test(`${name}: whatever happens, places, events and states agree`, open, async (bench) => {
    const act = fc.constantFrom<Act[]>(...ACTS);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(act, fc.nat()), { maxLength: 25 }), (acts) => play(bench, acts)),
      { numRuns: 8 },
    );
  });
}

const ACTS = [
  "create",
  "create",
  "create",
  "take",
  "take",
  "progress",
  "succeed",
  "fail",
  "cancel",
  "give back",
  "die",
  "remove",
  "reopen",
] as const;
type Act = typeof ACTS[number];

/** One life of a bench, whose jobs from lives before have all ended. */
async function play(bench: Bench, acts: readonly (readonly [Act, number])[]): Promise<void> {
  const ids: string[] = [];
  let leases: Lease[] = [];
  const pick = <T>(from: readonly T[], at: number): T | undefined => from[at % from.length];
  const drop = (lease: Lease) => void (leases = leases.filter((one) => one !== lease));

  async function end(lease: Lease, how: (lease: Lease) => Promise<void>): Promise<void> {
    drop(lease);
    await how(lease);
  }

  async function perform(name: Act, at: number): Promise<void> {
    const { store } = bench.backend;
    const [id, lease] = [pick(ids, at) ?? "none", pick(leases, at)];
    if (name === "create") ids.push((await add(bench.backend)).job.id);
    else if (name === "take") {
      const waits = await Promise.all(ids.map(async (id) => (await store.get(id))?.job.status === "queued"));
      if (waits.includes(true)) leases.push(await take(bench.backend));
    } else if (name === "cancel") {
      await store.cancel(id);
      const held = leases.find(({ record }) => record.job.id === id);
      if (held) await end(held, (lease) => lease.letGo());
    } else if (name === "remove") await store.remove(id);
    else if (name === "reopen") {
      for (const lease of leases) await end(lease, (lease) => lease.giveBack({ died: false }));
      await bench.reopen();
    } else if (lease) {
      if (name === "progress") await step(bench.backend, lease, 1 + at % 99);
      if (name === "succeed") await end(lease, (lease) => lease.succeed());
      if (name === "fail") await end(lease, (lease) => lease.fail(new Fault("internal", "x").problem));
      if (name === "give back") await end(lease, (lease) => lease.giveBack({ died: false }));
      if (name === "die") await end(lease, (lease) => lease.giveBack({ died: true }));
    }
  }

  for (const [name, at] of acts) {
    await perform(name, at);
    await checkAll(bench, ids);
  }
  for (const lease of leases) await lease.succeed();
  for (const id of ids) await bench.backend.store.cancel(id);
  await checkAll(bench, ids);
  await none((signal) => bench.backend.source.next(signal));
}

/** What must hold of all jobs at all times. */
async function checkAll({ backend: { store } }: Bench, ids: readonly string[]): Promise<void> {
  let place = 0;
  for (const id of ids) {
    const now = await store.get(id);
    const events = await told(store, id);
    if (now === null) {
      assert.deepEqual(events, []);
      continue;
    }
    const { status, finished_at } = now.job;
    const wanted = status === "queued" ? ++place : null;
    await until(`its place is ${wanted}`, async () => (await job(store, id)).position === wanted || null);
    assert.deepEqual(events.map(({ id }) => id), events.map((_, index) => index + 1), "no gaps");
    const ends = events.filter(({ name }) => ["succeeded", "failed", "canceled"].includes(name));
    assert.deepEqual(ends.map(({ name }) => name), isFinal(status) ? [status] : []);
    if (isFinal(status)) assert.equal(events.at(-1), ends[0], "the end comes last");
    assert.equal(finished_at !== null, isFinal(status));
  }
}
