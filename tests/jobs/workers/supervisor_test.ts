/**
 * The supervisor with real processes that stand in for GPU workers: jobs run in order, survive their workers, and bring down neither the queue nor each other.
 */
import assert from "node:assert/strict";
import { onFloor } from "../../support/jobs/floor.ts";
import { askToLeave, killHard } from "../../support/cli/server.ts";
import { SEEDS } from "../../support/jobs/stand_in_worker.ts";

Deno.test("supervisor: jobs run one after the other, in the order in which they came", async () => {
  await onFloor({}, async ({ create, ended, names, counted }) => {
    const ids = [await create({ steps: 12 }), await create({ steps: 4 }), await create({ steps: 4 })];
    const jobs = [];
    for (const id of ids) jobs.push(await ended(id));
    assert.deepEqual(jobs.map(({ status, step, attempts }) => [status, step, attempts]), [
      ["succeeded", 12, 1],
      ["succeeded", 4, 1],
      ["succeeded", 4, 1],
    ]);
    const starts = jobs.map(({ started_at }) => started_at!);
    assert.deepEqual(starts, starts.toSorted());
    assert.deepEqual(names(ids[0]), ["queued", "started", ...Array(12).fill("progress"), "succeeded"]);
    const steps = counted.flatMap((event) => event.what === "steps" ? event.seconds : []);
    assert.equal(steps.length, 20);
  });
});

Deno.test("supervisor: several workers work at once", async () => {
  await onFloor({ workers: 3 }, async ({ create, ended, until }) => {
    const ids = await Promise.all([1, 2, 3].map(() => create({ steps: 20, seed: SEEDS.slow })));
    await Promise.all(ids.map((id) => until(id, ({ status }) => status === "running")));
    await Promise.all(ids.map((id) => until(id, ({ step }) => step > 0)));
    for (const id of ids) assert.equal((await ended(id)).status, "succeeded");
  });
});

Deno.test("supervisor: a worker's death costs only the steps since the last checkpoint", async () => {
  await onFloor({}, async ({ create, ended, until, ledger, supervisor, counted }) => {
    const id = await create({ steps: 40, seed: SEEDS.slow });
    await until(id, ({ step }) => step >= 12);
    await killHard(supervisor.pids()[0]);
    const job = await ended(id);
    assert.deepEqual([job.status, job.attempts], ["succeeded", 2]);
    const started = ledger.events(id, { after: 0, limit: 1000 }).filter(({ name }) => name === "started");
    const from = started.map(({ data }) => JSON.parse(data).step);
    assert.equal(from[0], 0);
    assert.ok(from[1] >= 10 && from[1] % 5 === 0, `went on after step ${from[1]}`);
    assert.equal(counted.filter(({ what }) => what === "restart").length, 1);
  });
});

Deno.test("supervisor: a job that brings down three workers fails, and the next one runs", async () => {
  await onFloor({}, async ({ create, ended, names }) => {
    const poison = await create({ steps: 10, seed: SEEDS.poison });
    const next = await create({ steps: 3 });
    const job = await ended(poison);
    assert.deepEqual([job.status, job.attempts, job.error?.status], ["failed", 3, 500]);
    assert.match(job.error!.detail, /died 3 times over this job.*Try a smaller size/);
    assert.equal(names(poison).filter((name) => name === "started").length, 3);
    assert.equal((await ended(next)).status, "succeeded");
  });
});

Deno.test("supervisor: canceling ends a running job within a step, and frees its worker", async () => {
  await onFloor({}, async ({ create, ended, until, ledger }) => {
    const id = await create({ steps: 100_000, seed: SEEDS.slow });
    const next = await create({ steps: 2 });
    const { step } = await until(id, (job) => job.step >= 2);
    ledger.cancel(id);
    const job = await ended(id);
    assert.equal(job.status, "canceled");
    assert.ok(job.step <= step + 2, `ended at step ${job.step}, canceled at ${step}`);
    assert.equal((await ended(next)).status, "succeeded");
  });
});

Deno.test("supervisor: a job canceled while its worker dies does not come back", async () => {
  await onFloor({}, async ({ create, ended, until, ledger, supervisor }) => {
    const id = await create({ steps: 100_000, seed: SEEDS.slow });
    await until(id, ({ step }) => step >= 1);
    const [pid] = supervisor.pids();
    ledger.cancel(id);
    await killHard(pid);
    assert.equal((await ended(id)).status, "canceled");
  });
});

Deno.test("supervisor: what a worker says went wrong is the job's error", async () => {
  await onFloor({}, async ({ create, ended }) => {
    const job = await ended(await create({ steps: 5, seed: SEEDS.fails }));
    assert.deepEqual([job.status, job.attempts, job.error?.status], ["failed", 1, 422]);
    assert.match(job.error!.detail, /loss total is NaN/);
  });
});

Deno.test("supervisor: stopping saves the running job, which waits in its old place", async () => {
  await onFloor({}, async ({ create, until, supervisor, ledger }) => {
    const ids = [await create({ steps: 1000, seed: SEEDS.slow }), await create({ steps: 2 })];
    await until(ids[0], ({ step }) => step >= 7);
    await supervisor.stop(5000);
    const [first, second] = ids.map((id) => ledger.get(id)!);
    assert.deepEqual([first.job.status, first.job.position, first.deaths], ["queued", 1, 0]);
    assert.deepEqual([second.job.status, second.job.position], ["queued", 2]);
  });
});

Deno.test("supervisor: what the store cannot take is offered again; the worker and those behind are not harmed", async () => {
  await onFloor({}, async ({ create, ended, until, names, ledger, supervisor, logged }) => {
    const full = <A extends unknown[], T>(times: number, write: (...values: A) => T) => (...values: A): T => {
      if (times-- > 0) throw new Error("database or disk is full");
      return write(...values);
    };
    const { succeed, progress, claim, requeue } = ledger;
    ledger.succeed = full(1, succeed);
    ledger.progress = full(2, progress);
    ledger.claim = full(1, claim);
    ledger.requeue = full(1, requeue);
    const first = await create({ steps: 30, seed: SEEDS.slow });
    const next = await create({ steps: 3 });
    const [pid] = supervisor.pids();
    await until(first, ({ step }) => step >= 3);
    assert.deepEqual(supervisor.pids(), [pid], "the worker was ended because the store failed");
    await killHard(pid);
    const job = await ended(first);
    assert.deepEqual([job.status, job.attempts], ["succeeded", 2], logged.join("\n"));
    assert.equal(names(first).filter((name) => name === "succeeded").length, 1);
    assert.equal((await ended(next)).status, "succeeded");
  });
});

Deno.test("supervisor: a worker that is told to leave by a signal costs its job no life", async () => {
  await onFloor({}, async ({ create, ended, until, ledger, supervisor }) => {
    const id = await create({ steps: 60, seed: SEEDS.slow });
    for (let attempt = 1; attempt <= 3; attempt++) {
      await until(id, ({ attempts, step }) => attempts === attempt && step > 3 * attempt);
      await askToLeave(supervisor.pids()[0]);
    }
    const job = await ended(id);
    assert.deepEqual([job.status, job.attempts, ledger.get(id)!.deaths], ["succeeded", 4, 0]);
  });
});
