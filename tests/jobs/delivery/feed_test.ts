/** Readers of events: every one of them gets the stored sequence without gaps or repeats, whenever it comes, goes and comes back. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { openFeeds } from "../../../src/jobs/delivery/feed.ts";
import type { Feed, FeedEvent } from "../../../src/jobs/model/service.ts";
import { eventSchemas, Fault } from "../../../src/jobs/model/job.ts";
import { atBench, type Bench, isFault, pace, startedEvent } from "../../support/jobs/job_store.ts";

/** All that the feed has until it ends, or has nothing for 0 ms. */
async function drain(feed: Feed): Promise<{ events: FeedEvent[]; ended: boolean }> {
  const events: FeedEvent[] = [];
  for (;;) {
    const batch = await feed.next(0);
    if (batch === null || batch.length === 0) return { events, ended: batch === null };
    events.push(...batch);
  }
}

const brief = (events: readonly FeedEvent[]) => events.map(({ id, name }) => `${id ?? "-"} ${name}`);

/** A running job with 5 progress events. */
function run({ add, ledger }: Bench): string {
  const { id } = add().job;
  ledger.claim();
  ledger.started(id, startedEvent);
  for (let step = 1; step <= 5; step++) ledger.progress(id, pace(step), []);
  return id;
}

Deno.test("feed: replay, then what happens, then the end", () =>
  atBench(async (bench) => {
    const { ledger, store } = bench;
    const id = run(bench);
    const feed = await openFeeds(store).open(id, 4);
    assert.equal(feed.exhausted(), false);
    assert.deepEqual(brief((await feed.next(1000))!), ["5 progress", "6 progress", "7 progress"]);
    const pending = feed.next(10_000);
    ledger.progress(id, pace(6), []);
    const [event] = (await pending)!;
    assert.deepEqual([event.id, event.name, JSON.parse(event.data)], [8, "progress", pace(6)]);
    assert.deepEqual(await feed.next(3), [], "nothing happens: time for a heartbeat");
    const last = feed.next(10_000);
    ledger.succeed(id, 1);
    assert.deepEqual(brief((await last)!), ["9 succeeded"]);
    assert.equal(await feed.next(10_000), null);
    assert.equal(await feed.next(10_000), null);
    assert.deepEqual([feed.interrupted(), feed.exhausted()], [false, false]);
    feed.close();
  }));

Deno.test("feed: at the end of an ended job nothing will ever come, and unknown jobs never look done", () =>
  atBench(async (bench) => {
    const { ledger, store } = bench;
    const feeds = openFeeds(store);
    const id = run(bench);
    assert.equal((await feeds.open(id, 7)).exhausted(), false, "it runs");
    ledger.fail(id, new Fault("untrainable", "x").problem);
    const exhausted = async (after: number) => (await feeds.open(id, after)).exhausted();
    assert.deepEqual(await Promise.all([7, 8, 9].map(exhausted)), [false, true, false]);
    assert.deepEqual(await drain(await feeds.open(id, 8)), { events: [], ended: true });
    assert.deepEqual(brief((await drain(await feeds.open(id, 7))).events), ["8 failed"]);
    for (const unknown of [crypto.randomUUID(), "", "../x"]) {
      await assert.rejects(feeds.open(unknown, 0), isFault("unknown_job"));
    }
  }));

Deno.test("feed: the newest preview or none, and one for who comes later", () =>
  atBench(async (bench) => {
    const { ledger, store } = bench;
    const feeds = openFeeds(store);
    const id = run(bench);
    const early = await feeds.open(id, 7);
    for (const step of [10, 20, 30]) ledger.preview(id, step);
    const [preview] = (await early.next(0))!;
    assert.deepEqual([preview.id, preview.name, eventSchemas.preview.parse(JSON.parse(preview.data))], [
      null,
      "preview",
      { step: 30, url: `/v1/jobs/${id}/preview` },
    ]);
    assert.deepEqual(await early.next(0), [], "once");
    ledger.preview(id, 20);
    ledger.progress(id, pace(20), []);
    assert.deepEqual(
      brief((await early.next(0))!),
      ["8 progress", "- preview"],
      "an older one, after a resumption, is new",
    );
    assert.deepEqual(brief((await (await feeds.open(id, 6)).next(0))!), ["7 progress", "8 progress", "- preview"]);
    ledger.succeed(id, 1);
    assert.deepEqual(
      brief((await drain(await feeds.open(id, 7))).events),
      ["8 progress", "9 succeeded"],
      "the last event is the last",
    );
  }));

Deno.test("feed: a resync where events are gone, or never were", () =>
  atBench(async (bench) => {
    const { ledger, store } = bench;
    const feeds = openFeeds(store);
    const id = run(bench);
    const slow = await feeds.open(id, 4);
    assert.deepEqual([ledger.sight(id)!.first, ledger.sight(id)!.last], [4, 7]);
    assert.deepEqual(brief((await (await feeds.open(id, 3)).next(0))!), [
      "4 progress",
      "5 progress",
      "6 progress",
      "7 progress",
    ]);
    for (const after of [0, 2, 8, 1e9]) {
      const feed = await feeds.open(id, after);
      const [event, ...more] = (await feed.next(0))!;
      assert.deepEqual([event.id, event.name, more], [7, "resync", []]);
      assert.deepEqual(eventSchemas.resync.parse(JSON.parse(event.data)).job, ledger.get(id)!.job);
      assert.deepEqual(await feed.next(0), []);
    }
    for (let step = 6; step < 20; step++) ledger.progress(id, pace(step), []);
    assert.deepEqual(brief((await slow.next(0))!), ["21 resync"], "it fell too far behind");
    ledger.succeed(id, 0);
    assert.deepEqual(brief((await drain(slow)).events), ["22 succeeded"]);
    assert.deepEqual(await drain(await feeds.open(id, 1)).then(({ events, ended }) => [brief(events), ended]), [
      ["22 resync"],
      true,
    ]);
  }, { eventsKept: 4 }));

Deno.test("feed: a stop ends all feeds whose job goes on, a removal those of the job", () =>
  atBench(async (bench) => {
    const { ledger, store } = bench;
    const feeds = openFeeds(store);
    const [done, gone, going] = [run(bench), run(bench), run(bench)];
    ledger.succeed(done, 0);
    const [finished, unfinished, other] = [
      await feeds.open(done, 0),
      await feeds.open(done, 0),
      await feeds.open(gone, 7),
    ];
    await finished.next(0);
    const removed = other.next(10_000);
    ledger.cancel(gone);
    assert.deepEqual(brief((await removed)!), ["8 canceled"]);
    const late = await feeds.open(gone, 0);
    ledger.remove(gone);
    assert.deepEqual([await late.next(10_000), late.interrupted()], [null, false]);

    const waiting = await Promise.all(Array.from({ length: 5 }, () => feeds.open(going, 7)));
    const closed = await feeds.open(going, 7);
    const pending = waiting.map((feed) => feed.next(10_000));
    const closing = closed.next(10_000);
    closed.close();
    assert.equal(await closing, null, "a close answers too");
    feeds.interrupt();
    assert.deepEqual(await Promise.all(pending), Array(5).fill(null));
    ledger.close();
    for (const feed of [...waiting, unfinished, finished]) assert.equal(await feed.next(10_000), null);
    assert.ok(waiting.every((feed) => feed.interrupted()));
    assert.deepEqual([finished.interrupted(), unfinished.interrupted()], [false, true]);
  }));

Deno.test("feed: one question at a time", () =>
  atBench(async (bench) => {
    const feed = await openFeeds(bench.store).open(run(bench), 7);
    const first = feed.next(10_000);
    await assert.rejects(feed.next(0), /asks for more before/);
    feed.close();
    assert.equal(await first, null);
  }));

Deno.test("feed: a thousand readers are one listener, and cost one another nothing", () =>
  atBench(async (bench) => {
    const { ledger, store } = bench;
    let listeners = 0;
    let questions = 0;
    const counted = <A extends unknown[], T>(ask: (...values: A) => T) => (...values: A): T => {
      questions++;
      return ask(...values);
    };
    const feeds = openFeeds({
      ...store,
      sight: counted(store.sight),
      events: counted(store.events),
      onChange(listener) {
        listeners++;
        return store.onChange(listener);
      },
    });
    const id = run(bench);
    const all = await Promise.all(Array.from({ length: 1000 }, () => feeds.open(id, 7)));
    const silent = all.slice(500);
    const reading = all.slice(0, 500).map(async (feed) => (await drain500(feed)).length);
    for (let step = 6; step <= 55; step++) {
      ledger.progress(id, pace(step), []);
      await new Promise<void>((resolve) => queueMicrotask(resolve));
    }
    ledger.succeed(id, 0);
    assert.deepEqual(new Set(await Promise.all(reading)), new Set([51]));
    assert.deepEqual(brief((await silent[7].next(0))!).length, 51, "it asks late and misses nothing");
    assert.equal(listeners, 1);
    assert.ok(questions < 600, `the store was asked ${questions} times for 50 events`);
    all.forEach((feed) => feed.close());

    async function drain500(feed: Feed): Promise<FeedEvent[]> {
      const events: FeedEvent[] = [];
      for (let batch = await feed.next(10_000); batch; batch = await feed.next(10_000)) events.push(...batch);
      return events;
    }
  }));

Deno.test("feed: any history, any readers that drop and come back: no gaps, no repeats", async () => {
  const act = fc.constantFrom(
    "progress",
    "progress",
    "progress",
    "preview",
    "requeue",
    "read",
    "read",
    "drop",
    "restart",
  );
  const end = fc.constantFrom("succeed", "fail", "cancel");
  const history = fc.array(fc.tuple(act, fc.nat(5)), { maxLength: 120 });
  await fc.assert(
    fc.asyncProperty(
      history,
      end,
      fc.array(fc.nat(4), { minLength: 1, maxLength: 4 }),
      (acts, end, afters) =>
        atBench(async (bench) => {
          const { id } = bench.add().job;
          bench.ledger.claim();
          for (let step = 1; step < 4; step++) bench.ledger.progress(id, pace(step), []);
          bench.ledger.requeue(id, { died: true });
          let feeds = openFeeds(bench.store);
          const readers = await Promise.all(
            afters.map(async (after) => ({ after, got: [] as FeedEvent[], feed: await feeds.open(id, after) })),
          );
          const comeBack = async (reader: typeof readers[number]) => {
            reader.feed.close();
            reader.feed = await feeds.open(id, reader.got.findLast((event) => event.id !== null)?.id ?? reader.after);
          };
          const read = async ({ feed, got }: typeof readers[number]) => got.push(...await feed.next(0) ?? []);
          let step = 0;
          for (const [name, who] of acts) {
            const reader = readers[who % readers.length];
            bench.ledger.claim();
            if (name === "progress") {
              for (let more = 0; more <= who * 8; more++) bench.ledger.progress(id, pace(step++ % 100), []);
            }
            if (name === "preview") bench.ledger.preview(id, step);
            if (name === "requeue") bench.ledger.requeue(id, { died: false });
            if (name === "read") await read(reader);
            if (name === "drop") await comeBack(reader);
            if (name === "restart") {
              feeds.interrupt();
              bench.reopen();
              feeds = openFeeds(bench.store);
              await Promise.all(readers.map(comeBack));
            }
          }
          const pending = readers.map((reader) => read(reader));
          bench.ledger.claim();
          if (end === "succeed") bench.ledger.succeed(id, 0);
          if (end === "fail") bench.ledger.fail(id, new Fault("internal", "x").problem);
          if (end === "cancel") bench.ledger.cancel(id);
          await Promise.all(pending);
          const stored = bench.ledger.events(id, { after: 0, limit: 1e6 });
          for (const reader of readers) {
            reader.got.push(...(await drain(reader.feed)).events);
            const counted = reader.got.filter((event) => event.id !== null);
            assert.deepEqual(counted, stored.slice(reader.after));
            const previews = reader.got.filter((event) => event.id === null);
            assert.ok(previews.every(({ name }) => name === "preview" || name === "queued"));
            await comeBack(reader);
            assert.equal(reader.feed.exhausted(), true);
          }
        }),
    ),
    { numRuns: 30 },
  );
});
