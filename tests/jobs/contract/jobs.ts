/** Jobs as those see them who ask for them: made once, found, listed, canceled, removed. */
import assert from "node:assert/strict";
import { eventSchemas, Fault, jobSchema } from "../../../src/jobs/model/job.ts";
import type { CountedEvent } from "../../../src/jobs/model/job.ts";
import type { ListOptions } from "../../../src/jobs/model/ports.ts";
import { workOf } from "../../../src/jobs/model/work.ts";
import {
  add,
  addSome,
  adopted,
  becomes,
  filesOf,
  finish,
  isFault,
  job,
  namesOf,
  none,
  type Open,
  pace,
  places,
  record,
  runOne,
  start,
  startedEvent,
  step,
  take,
  test,
  told,
  until,
} from "./bench.ts";

/** What is no job's id, and means something to databases, brokers or file systems. */
const ODD = ["", ".", "..", "*", ">", "a.b", "no job", "'; --", "../x", "\0", crypto.randomUUID(), "é".repeat(300)];

export function jobs(name: string, open: Open): void {
  test(`${name}: a job from its creation to its end`, open, async ({ backend }) => {
    const { store } = backend;
    const { job: queued, previewStep } = await add(backend);
    const { id } = queued;
    jobSchema.parse(queued);
    assert.deepEqual([queued.status, queued.position, queued.step, queued.steps, queued.attempts], [
      "queued",
      1,
      0,
      100,
      0,
    ]);
    assert.deepEqual([queued.losses, queued.eta_seconds, queued.started_at, queued.error, previewStep], [
      null,
      null,
      null,
      null,
      null,
    ]);
    assert.deepEqual(queued.urls, {
      self: `/v1/jobs/${id}`,
      events: `/v1/jobs/${id}/events`,
      structure: `/v1/jobs/${id}/structure`,
      appearance: `/v1/jobs/${id}/appearance`,
      image: null,
      preview: null,
      result: null,
      trained: null,
      generator: null,
      apply: null,
    });
    assert.deepEqual(await job(store, id), queued);
    const lease = await take(backend);
    assert.equal(lease.record.job.id, id);
    assert.deepEqual([(await job(store, id)).status, (await job(store, id)).position], ["running", null]);
    await start(backend, lease);
    await step(backend, lease, 10);
    await Deno.writeTextFile(`${lease.folder}/preview.jpg`, "a preview");
    lease.preview(10);
    await until("the preview is seen", async () => (await record(store, id)).previewStep === 10);
    const running = await job(store, id);
    jobSchema.parse(running);
    assert.equal(running.urls.preview, `/v1/jobs/${id}/preview`);
    assert.deepEqual([running.step, running.losses, running.eta_seconds, running.attempts], [
      10,
      { total: 1 / 11 },
      36,
      1,
    ]);
    await finish(lease);
    const done = await job(store, id);
    jobSchema.parse(done);
    assert.deepEqual([done.status, done.step, done.eta_seconds, done.position], ["succeeded", 100, 0, null]);
    const times = [done.created_at, done.started_at!, done.finished_at!];
    assert.deepEqual(times, times.toSorted());
    const { result, trained, generator, apply } = done.urls;
    assert.deepEqual({ result, trained, generator, apply }, {
      result: `/v1/jobs/${id}/result`,
      trained: `/v1/jobs/${id}/trained`,
      generator: `/v1/jobs/${id}/generator`,
      apply: `/v1/generators/${id}/apply`,
    });
    const events = await told(store, id);
    assert.deepEqual(events, [
      { id: 1, name: "queued", data: { id, position: 1 } },
      { id: 2, name: "started", data: startedEvent },
      { id: 3, name: "progress", data: pace(10) },
      { id: 4, name: "succeeded", data: { result: result! } },
    ]);
    for (const { name, data } of events) eventSchemas[name].parse(data);
    const sight = await store.sight(id);
    assert.deepEqual(sight, { record: await record(store, id), first: 1, last: 4 });
  });

  test(`${name}: an inversion comes back as what it is, without what only transfers have`, open, async (bench) => {
    const asked = await adopted(bench.backend, { kind: "invert" });
    const { record: queued } = await bench.backend.store.create(asked, { queue: 9 });
    assert.deepEqual(workOf(jobSchema.parse(queued.job)), workOf(asked));
    await bench.reopen();
    const lease = await take(bench.backend);
    assert.equal(lease.record.job.kind, "invert");
    await finish(lease);
    const done = jobSchema.parse(await job(bench.backend.store, asked.id));
    const { image, structure, appearance, generator, apply, result } = done.urls;
    assert.deepEqual([structure, appearance, generator, apply], [null, null, null, null]);
    assert.deepEqual([image, result], [`/v1/jobs/${asked.id}/image`, `/v1/jobs/${asked.id}/result`]);
  });

  test(`${name}: a job that fails carries its problem`, open, async (bench) => {
    const { id } = (await add(bench.backend)).job;
    const lease = await take(bench.backend);
    const { problem } = new Fault("memory", "Cannot train: too large; use size 512", {
      errors: [{ field: "size", message: "at most 512" }],
    });
    await lease.fail(problem);
    await bench.reopen();
    const { store } = bench.backend;
    const failed = jobSchema.parse(await job(store, id));
    assert.deepEqual([failed.status, failed.error, failed.urls.result], ["failed", problem, null]);
    assert.deepEqual((await told(store, id)).at(-1), { id: 2, name: "failed", data: { error: problem } });
  });

  test(`${name}: the queue moves up; that is told, but is no event`, open, async (bench) => {
    const { backend, backend: { store } } = bench;
    const [a, b, c, d] = await addSome(backend, 4);
    await places(store, [a, b, c, d], [1, 2, 3, 4]);
    let moves = 0;
    const forget = store.onChange((id) => id === null && moves++);
    const lease = await take(backend);
    assert.equal(lease.record.job.id, a);
    await places(store, [a, b, c, d], [null, 1, 2, 3]);
    await until("the move is told", () => Promise.resolve(moves > 0));
    moves = 0;
    assert.equal(await store.cancel(c), "queued");
    await places(store, [a, b, c, d], [null, 1, null, 2]);
    await until("the move is told", () => Promise.resolve(moves > 0));
    await start(backend, lease);
    await step(backend, lease, 5);
    moves = 0;
    await lease.giveBack({ died: false });
    await places(store, [a, b, c, d], [1, 2, null, 3]);
    await until("the move is told", () => Promise.resolve(moves > 0));
    forget();
    await bench.reopen();
    const again = bench.backend.store;
    await places(again, [a, b, c, d], [1, 2, null, 3]);
    for (const id of [a, b, c, d]) {
      const events = await told(again, id);
      assert.deepEqual(events.map(({ id }) => id), events.map((_, index) => index + 1));
      assert.deepEqual(events.filter(({ name }) => name === "queued").map((event) => event.id), [1]);
    }
    assert.equal((await again.sight(b))?.record.job.position, 2, "it is looked at now, not when it was told");
  });

  test(`${name}: pages, newest first; a number is never given twice`, open, async (bench) => {
    const { backend, backend: { store } } = bench;
    const ids = await addSome(backend, 5);
    await store.cancel(ids[1]);
    await store.cancel(ids[3]);
    const numbers = await Promise.all(ids.map(async (id) => (await record(store, id)).number));
    assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b));
    assert.equal(new Set(numbers).size, 5);
    const page = (options: ListOptions, wanted: number[]) =>
      becomes(async () => (await bench.backend.store.list(options)).map(({ job }) => ids.indexOf(job.id)), wanted);
    const check = async () => {
      await page({ limit: 2 }, [4, 3]);
      await page({ limit: 9, before: numbers[3] }, [2, 1, 0]);
      await page({ limit: 9, status: "canceled" }, [3, 1]);
      await page({ limit: 9, status: "canceled", before: numbers[3] }, [1]);
      await page({ limit: 1, status: "queued", before: numbers[4] }, [2]);
      await page({ limit: 9, status: "running" }, []);
    };
    await check();
    await bench.reopen();
    await check();
    await bench.backend.store.cancel(ids[4]);
    await bench.backend.store.remove(ids[4]);
    await page({ limit: 1 }, [3]);
    await bench.reopen();
    assert.ok((await add(bench.backend)).number > numbers[4]);
  });

  test(`${name}: of twenty requests with one key, at once, one makes a job`, open, async (bench) => {
    const { backend, backend: { store, files } } = bench;
    const asked = await Promise.all(Array.from({ length: 20 }, () => adopted(backend, { key: "k" })));
    const answers = await Promise.all(asked.map((job) => store.create(job, { queue: 5 })));
    const [made, ...others] = answers.filter(({ replayed }) => !replayed);
    assert.deepEqual(others, [], "it was made more than once");
    const { id } = made.record.job;
    assert.deepEqual([...new Set(answers.map(({ record }) => record.job.id))], [id]);
    await becomes(async () => (await store.list({ limit: 30 })).map(({ job }) => job.id), [id]);
    assert.deepEqual(await namesOf(store, id), ["queued"]);
    assert.deepEqual(await filesOf(files, made.record), ["structure", "appearance"]);
    for (const { id: other } of asked.filter((one) => one.id !== id)) {
      assert.equal(await store.get(other), null);
      const ghost = { ...made.record, job: { ...made.record.job, id: other } };
      assert.deepEqual(await filesOf(files, ghost), [], "pictures of a job that was not made stay");
    }
    await bench.reopen();
    assert.equal(await runOne(bench.backend), id);
    await none((signal) => bench.backend.source.next(signal));
  });

  test(`${name}: a key belongs to one request, and goes with its job`, open, async (bench) => {
    const first = await add(bench.backend, { key: "k" });
    const { id } = first.job;
    const conflict = isFault("idempotency_conflict", new RegExp(`belongs to job ${id}.*use a new key`));
    const check = async () => {
      const { store } = bench.backend;
      const again = await store.create(await adopted(bench.backend, { key: "k" }), { queue: 1 });
      assert.deepEqual([again.replayed, again.record.job.id], [true, id], "though the queue is full");
      assert.equal((await store.find({ key: "k", digest: "d" }))?.job.id, id);
      assert.equal(await store.find({ key: "l", digest: "d" }), null);
      const other = await adopted(bench.backend, { key: "k", digest: "e" });
      await assert.rejects(store.create(other, { queue: 9 }), conflict);
      assert.deepEqual(await filesOf(bench.backend.files, { ...first, job: { ...first.job, id: other.id } }), []);
      await assert.rejects(store.find({ key: "k", digest: "e" }), conflict);
    };
    await check();
    await bench.reopen();
    await check();
    await bench.kill();
    await check();
    for (const key of ["a key with spaces", ">", "*", "ключ", "x".repeat(255)]) {
      const made = await add(bench.backend, { key });
      assert.equal((await bench.backend.store.find({ key, digest: "d" }))?.job.id, made.job.id, key);
    }
    await bench.backend.store.cancel(id);
    await check();
    assert.equal(await bench.backend.store.remove(id), true);
    assert.equal(await bench.backend.store.find({ key: "k", digest: "e" }), null);
    const next = await add(bench.backend, { key: "k", digest: "e" });
    assert.notEqual(next.job.id, id);
  });

  test(`${name}: a key fought over by two requests belongs to one of them`, open, async ({ backend }) => {
    for (let round = 0; round < 5; round++) {
      const asked = await Promise.all(["d", "e"].map((digest) => adopted(backend, { key: `k${round}`, digest })));
      const answers = await Promise.allSettled(asked.map((job) => backend.store.create(job, { queue: 99 })));
      const made = answers.filter((answer) => answer.status === "fulfilled");
      const refused = answers.filter((answer) => answer.status === "rejected");
      assert.deepEqual([made.length, refused.length], [1, 1]);
      assert.ok(isFault("idempotency_conflict", new RegExp(made[0].value.record.job.id))(refused[0].reason));
    }
  });

  test(`${name}: a full queue takes no more, and says when to come again`, open, async ({ backend }) => {
    const { store } = backend;
    await addSome(backend, 2);
    await becomes(() => store.counts().queued, 2);
    const late = await adopted(backend);
    await assert.rejects(store.create(late, { queue: 2 }), (error) => {
      assert.ok(isFault("queue_full", /2 are waiting.*try again in \d+ seconds/)(error));
      const { retryAfter } = error as Fault;
      return retryAfter !== undefined && retryAfter >= 5 && retryAfter <= 600;
    });
    assert.equal(await store.get(late.id), null);
    const lease = await take(backend);
    await becomes(() => store.counts().queued, 1);
    await add(backend, { queue: 2 });
    await finish(lease);
  });

  test(`${name}: canceling, in each state`, open, async (bench) => {
    const { backend, backend: { store } } = bench;
    const [waits, runs, back, done, failed] = await addSome(backend, 5);
    assert.equal(await store.cancel(waits), "queued");
    const lease = await take(backend);
    assert.equal(lease.record.job.id, runs);
    await start(backend, lease);
    await step(backend, lease, 2);
    const ended = new Promise((resolve) => lease.ended.addEventListener("abort", () => resolve(lease.ended.reason)));
    assert.equal(await store.cancel(runs), "running");
    assert.deepEqual([(await job(store, runs)).status, await ended], ["canceled", "canceled"]);
    const canceled = await record(store, runs);
    assert.deepEqual([canceled.job.steps_per_second, canceled.job.eta_seconds], [null, null]);
    lease.started({ ...startedEvent, step: 2 });
    lease.progress(pace(3), [0.1]);
    lease.preview(3);
    lease.saved(3);
    await lease.letGo();
    const given = await take(backend);
    assert.equal(given.record.job.id, back);
    await given.giveBack({ died: true });
    assert.equal(await store.cancel(back), "queued");
    assert.equal(await runOne(backend), done);
    const last = await take(backend);
    assert.equal(last.record.job.id, failed);
    await last.fail(new Fault("internal", "x").problem);
    const all = [waits, runs, back, done, failed];
    for (const id of [...all, ...ODD]) assert.equal(await store.cancel(id), null, `${id} was not active`);
    const before = await Promise.all(all.map((id) => record(store, id)));
    assert.deepEqual(await record(store, runs), canceled, "what comes late changes nothing");
    await bench.reopen();
    const kept = bench.backend.store;
    const states = await Promise.all(all.map(async (id) => [(await job(kept, id)).status, await namesOf(kept, id)]));
    assert.deepEqual(states, [
      ["canceled", ["queued", "canceled"]],
      ["canceled", ["queued", "started", "progress", "canceled"]],
      ["canceled", ["queued", "canceled"]],
      ["succeeded", ["queued", "succeeded"]],
      ["failed", ["queued", "failed"]],
    ]);
    assert.deepEqual(await Promise.all(all.map((id) => record(kept, id))), before);
    await none((signal) => bench.backend.source.next(signal));
  });

  test(`${name}: canceling while the work is being ended: one of them wins, for all to see`, open, async (bench) => {
    const { backend, backend: { store } } = bench;
    for (let round = 0; round < 10; round++) {
      const { id } = (await add(backend)).job;
      const lease = await take(backend);
      const [did] = await Promise.all([store.cancel(id), finish(lease)]);
      const { status } = await job(store, id);
      assert.equal(status, did === "running" ? "canceled" : "succeeded");
      if (did === "running") await lease.letGo();
      assert.deepEqual(await namesOf(store, id), ["queued", status]);
    }
  });

  test(`${name}: only what has ended is removed, and wholly`, open, async (bench) => {
    const { backend, backend: { store } } = bench;
    const [done, active, waits] = await addSome(backend, 3);
    assert.equal(await runOne(backend), done);
    const before = await record(store, done);
    const lease = await take(backend);
    for (const id of [active, waits, ...ODD]) assert.equal(await store.remove(id), false, id);
    assert.equal(await store.remove(done), true);
    assert.equal(await store.remove(done), false);
    const gone = async () => {
      const { store, files } = bench.backend;
      assert.deepEqual([await store.get(done), await store.sight(done), await told(store, done)], [null, null, []]);
      assert.deepEqual(await filesOf(files, before), []);
      await becomes(async () => (await store.list({ limit: 9 })).map(({ job }) => job.id), [waits, active]);
    };
    await gone();
    await finish(lease);
    await bench.reopen();
    await gone();
    assert.equal(await runOne(bench.backend), waits);
  });

  test(`${name}: what is no id finds nothing`, open, async ({ backend, backend: { store } }) => {
    await add(backend);
    for (const id of ODD) {
      assert.deepEqual([await store.get(id), await store.sight(id), await told(store, id)], [null, null, []], id);
    }
  });

  test(`${name}: what happens is told to listeners, and counted once`, open, async (bench) => {
    const { backend, backend: { store } } = bench;
    const heard = new Set<string | null>();
    const counted: CountedEvent[] = [];
    const forget = [store.onChange((id) => heard.add(id)), store.onCount((event) => counted.push(event))];
    const hears = (id: string) => until(`${id} is told of`, () => Promise.resolve(heard.delete(id)));
    const [a, b] = await addSome(backend, 2);
    await Promise.all([a, b].map(hears));
    const lease = await take(backend);
    await hears(a);
    await start(backend, lease);
    await step(backend, lease, 2);
    await hears(a);
    lease.progress(pace(4), [0.25, 0.5]);
    await finish(lease);
    await hears(a);
    assert.equal(await store.cancel(b), "queued");
    await hears(b);
    await until("all of it is counted", () => Promise.resolve(counted.length >= 4));
    const steps = counted.flatMap((event) => event.what === "steps" ? event.seconds : []);
    assert.deepEqual(steps, [0.1, 0.25, 0.5]);
    const ended = counted.flatMap((event) => event.what === "ended" ? [event.outcome] : []);
    assert.deepEqual(ended, ["succeeded", "canceled"]);
    await becomes(store.counts, { queued: 0, running: 0, succeeded: 1, failed: 0, canceled: 1 });
    await store.remove(a);
    await hears(a);
    forget.forEach((end) => end());
    heard.clear();
    await store.remove(b);
    assert.equal(heard.has(b), false);
    assert.equal(counted.length, 4, "nothing is counted twice");
  });
}
