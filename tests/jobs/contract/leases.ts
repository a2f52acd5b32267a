/** Jobs as those see them who work on them: given out in order, to one at a time, and lost by nobody's death. */
import assert from "node:assert/strict";
import { Fault } from "../../../src/jobs/model/job.ts";
import type { Lease } from "../../../src/jobs/model/ports.ts";
import {
  add,
  addSome,
  after,
  finish,
  job,
  namesOf,
  none,
  type Open,
  pace,
  pictureOf,
  places,
  record,
  runOne,
  start,
  startedEvent,
  step,
  take,
  test,
  told,
} from "./bench.ts";

const CHECKPOINT = "checkpoint.safetensors";

async function save(lease: Lease, step: number): Promise<void> {
  await Deno.writeTextFile(`${lease.folder}/${CHECKPOINT}`, `after step ${step}`);
  lease.saved(step);
}

/** The step that the checkpoint in the folder is of; null where there is none. */
async function savedStep({ folder }: Lease): Promise<number | null> {
  const text = await Deno.readTextFile(`${folder}/${CHECKPOINT}`).catch(() => null);
  return text === null ? null : Number(/^after step (\d+)$/.exec(text)![1]);
}

export function leases(name: string, open: Open): void {
  test(`${name}: jobs are given out in the order in which they came, each once`, open, async (bench) => {
    const ids = await addSome(bench.backend, 6);
    for (const id of ids.slice(0, 2)) assert.equal(await runOne(bench.backend), id);
    await bench.reopen();
    const held = [await take(bench.backend), await take(bench.backend)];
    assert.deepEqual(held.map(({ record }) => record.job.id), ids.slice(2, 4));
    const both = await Promise.all([take(bench.backend), take(bench.backend)]);
    assert.deepEqual(both.map(({ record }) => record.job.id).sort(), ids.slice(4).sort());
    await none((signal) => bench.backend.source.next(signal));
    for (const lease of [...held, ...both]) await finish(lease);
    const statuses = await Promise.all(ids.map(async (id) => (await job(bench.backend.store, id)).status));
    assert.deepEqual(statuses, Array(6).fill("succeeded"));
  });

  test(
    `${name}: whoever waits for a job gets the next one soon; whoever stops waiting takes none`,
    open,
    async (bench) => {
      const { backend } = bench;
      await none((signal) => backend.source.next(signal));
      assert.equal(await backend.source.next(AbortSignal.abort()), null);
      const waiting = take(backend);
      await after(100);
      const { id } = (await add(backend)).job;
      const added = performance.now();
      const lease = await waiting;
      assert.equal(lease.record.job.id, id);
      assert.ok(performance.now() - added < 3000, `it took ${performance.now() - added} ms`);
      await finish(lease);

      const leaving = new AbortController();
      const left = backend.source.next(leaving.signal);
      leaving.abort();
      const last = (await add(backend)).job.id;
      const taken = await left;
      if (taken === null) assert.equal(await runOne(backend), last);
      else await finish(taken); // it came first
      assert.equal((await job(backend.store, last)).attempts, 1);
    },
  );

  test(`${name}: the folder has the pictures, and the newest checkpoint of those before`, open, async (bench) => {
    const picture = pictureOf(1_500_000);
    const { id } = (await add(bench.backend, { picture })).job;
    let lease = await take(bench.backend);
    for (const name of ["structure", "appearance"]) {
      assert.deepEqual(await Deno.readFile(`${lease.folder}/${name}`), picture);
    }
    assert.equal(await savedStep(lease), null);
    await start(bench.backend, lease);
    for (const at of [5, 10, 15]) {
      await step(bench.backend, lease, at);
      await save(lease, at);
    }
    await lease.giveBack({ died: false });
    assert.deepEqual([(await job(bench.backend.store, id)).step, (await job(bench.backend.store, id)).eta_seconds], [
      15,
      null,
    ]);
    lease = await take(bench.backend);
    assert.deepEqual([await savedStep(lease), lease.record.job.attempts], [15, 2]);
    await start(bench.backend, lease, 15);
    await step(bench.backend, lease, 20);
    await save(lease, 20);
    await lease.giveBack({ died: true });
    await bench.reopen();
    lease = await take(bench.backend);
    assert.deepEqual([await savedStep(lease), lease.record.job.attempts, lease.record.deaths], [20, 3, 1]);
    assert.deepEqual(await Deno.readFile(`${lease.folder}/structure`), picture);
    await finish(lease);
  });

  test(`${name}: what is given back keeps its place, and counts no death`, open, async ({ backend }) => {
    const { store } = backend;
    const [first, second, third] = await addSome(backend, 3);
    const [a, b] = [await take(backend), await take(backend)];
    await start(backend, a);
    const { started_at } = await job(store, first);
    await a.giveBack({ died: false });
    await b.giveBack({ died: false });
    await places(store, [first, second, third], [1, 2, 3]);
    await after(20);
    const again = await take(backend);
    assert.deepEqual([again.record.job.id, again.record.job.attempts, again.record.deaths], [first, 2, 0]);
    await start(backend, again);
    assert.equal((await job(store, first)).started_at, started_at, "started is when it first was");
    await finish(again);
    assert.deepEqual([await runOne(backend), await runOne(backend)], [second, third]);
  });

  test(`${name}: a job over which three workers die fails, and the next one runs`, open, async (bench) => {
    const [poison, next] = await addSome(bench.backend, 2);
    for (let death = 1; death <= 3; death++) {
      const lease = await take(bench.backend);
      assert.deepEqual([lease.record.job.id, lease.record.job.attempts, lease.record.deaths], [
        poison,
        death,
        death - 1,
      ]);
      await start(bench.backend, lease);
      if (death === 3) await step(bench.backend, lease, 7);
      await lease.giveBack({ died: true });
      if (death === 2) await bench.reopen();
    }
    const failed = await job(bench.backend.store, poison);
    assert.deepEqual([failed.status, failed.attempts, failed.error?.status], ["failed", 3, 500]);
    assert.match(failed.error!.detail, /died 3 times over this job, the last time after step 7.*Try a smaller size/);
    const events = await told(bench.backend.store, poison);
    const names = events.map(({ name }) => name);
    assert.deepEqual(names, ["queued", "started", "started", "started", "progress", "failed"]);
    assert.deepEqual(events.at(-1)!.data, { error: failed.error });
    assert.equal(await runOne(bench.backend), next);
    await none((signal) => bench.backend.source.next(signal));
  });

  test(`${name}: what comes late from whoever has ended a job changes nothing`, open, async (bench) => {
    const { backend, backend: { store } } = bench;
    const endings: readonly ((lease: Lease) => Promise<void>)[] = [
      (lease) => finish(lease),
      (lease) => lease.fail(new Fault("untrainable", "no").problem),
    ];
    for (const end of endings) {
      const { id } = (await add(backend)).job;
      const lease = await take(backend);
      await start(backend, lease);
      await end(lease);
      const before = [await record(store, id), await told(store, id)];
      lease.started(startedEvent);
      lease.progress(pace(3), [0.1]);
      lease.preview(3);
      lease.saved(3);
      await after(100);
      assert.deepEqual([await record(store, id), await told(store, id)], before);
    }
  });

  test(`${name}: a killed process costs a job what came after its checkpoint, and no life`, open, async (bench) => {
    const { id } = (await add(bench.backend)).job;
    for (const attempt of [1, 2]) {
      const lease = await take(bench.backend);
      await start(bench.backend, lease);
      await step(bench.backend, lease, 3 * attempt);
      await save(lease, 3 * attempt);
      if (attempt === 1) await lease.giveBack({ died: false });
      else await bench.kill();
    }
    const lease = await take(bench.backend);
    assert.deepEqual([lease.record.job.id, lease.record.job.attempts, lease.record.deaths], [id, 3, 0]);
    const saved = await savedStep(lease);
    assert.ok(saved === 3 || saved === 6, "what was given back is kept, what came later may be");
    await start(bench.backend, lease, saved);
    await finish(lease);
    assert.equal((await job(bench.backend.store, id)).status, "succeeded");
    const names = await namesOf(bench.backend.store, id);
    assert.deepEqual(names.filter((name) => name !== "progress"), [
      "queued",
      "started",
      "started",
      "started",
      "succeeded",
    ]);
  });
}
