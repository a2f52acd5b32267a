/** The jobs' side as a whole, with processes and files that go away at the wrong moment: those who ask get their answer, or words, and never an error from inside. */
import assert from "node:assert/strict";
import { encodeImage } from "../../src/images/encode.ts";
import type { Job } from "../../src/jobs/model/job.ts";
import { onDisk, storageFault } from "../../src/jobs/machine/storage_fault.ts";
import { type LiveApp, withLiveApp } from "../support/routes/live_app.ts";
import { childrenOf, form, killHard } from "../support/cli/server.ts";
import { tinyPicture } from "../support/splice/tiny.ts";

const picture = await encodeImage(tinyPicture(64, 48, 1), "png");
const fields = { structure: picture, appearance: picture, vit_side: 64, preview_every: 1 };

async function create({ ask }: LiveApp, more: Readonly<Record<string, string | number>> = {}): Promise<Job> {
  const response = await ask("/v1/jobs", { method: "POST", body: form({ ...fields, steps: 2, ...more }) });
  const job = await response.json();
  assert.equal(response.status, 202, JSON.stringify(job));
  return job;
}

async function refusal({ ask }: LiveApp, path: string, init?: RequestInit): Promise<[number, string]> {
  const response = await ask(path, init);
  const problem = await response.json();
  assert.equal(response.headers.get("Content-Type"), "application/problem+json");
  return [response.status, problem.type];
}

Deno.test("live: an inspector that is killed again and again costs nobody a refusal", async () => {
  await withLiveApp({}, async (app) => {
    const inspector = async () => (await childrenOf(Deno.pid)).at(-1)!;
    const killed = new Set<number>();
    for (let round = 0; round < 3; round++) {
      const creating = Array.from({ length: 8 }, () => create(app));
      const first = await Promise.race(creating);
      const pid = await inspector();
      assert.ok(!killed.has(pid));
      killed.add(pid);
      await killHard(pid);
      const jobs = await Promise.all(creating);
      assert.ok(jobs.some(({ id }) => id === first.id));
      for (const { id } of jobs) assert.equal((await app.live.service.finished(id)).status, "succeeded");
    }
    assert.deepEqual(app.errors, []);
  });
});

Deno.test("live: an inversion goes its way like a transfer: looked at, queued, drawn, kept, removed", async () => {
  await withLiveApp({}, async (app) => {
    const { ask, live } = app;
    const invert = (more: Parameters<typeof form>[0]) =>
      ask("/v1/jobs", { method: "POST", body: form({ kind: "invert", feature: "cls", image: picture, ...more }) });
    const job: Job = await (await invert({ vit_side: 64, steps: 6, preview_every: 2 })).json();
    assert.deepEqual([job.kind, job.options.model, job.urls.structure], ["invert", "splice-tiny8", null]);
    const ended = await live.service.finished(job.id);
    assert.deepEqual([ended.status, ended.step, ended.urls.generator], ["succeeded", 6, null]);
    for (const path of ["preview", "result?format=webp", "trained?format=jpeg", "image"]) {
      const response = await ask(`/v1/jobs/${job.id}/${path}`);
      assert.equal(response.status, 200, path);
      await response.body?.cancel();
    }
    assert.deepEqual(await refusal(app, `/v1/jobs/${job.id}/generator`), [404, "/problems/not_found"]);
    assert.deepEqual(await refusal(app, `/v1/jobs/${job.id}/structure`), [404, "/problems/not_found"]);

    const deep = await (await invert({ layer: 99 })).json();
    assert.deepEqual([deep.status, deep.errors.map(({ field }: { field: string }) => field)], [422, ["layer"]]);
    assert.match(deep.detail, /^Cannot use layer = 99: splice-tiny8 has \d+ blocks, 0 to \d+$/);
    const vast = await (await invert({ vit_side: 2048, vit_longest: 4096 })).json();
    assert.deepEqual([vast.type, vast.errors[0].field], ["/problems/memory", "vit_side"]);
    const broken = await (await invert({ image: picture.slice(0, 300) })).json();
    assert.deepEqual([broken.status, broken.errors[0].field], [422, "image"]);

    const removed = await ask(`/v1/jobs/${job.id}`, { method: "DELETE" });
    assert.equal(removed.status, 204);
    assert.deepEqual(app.errors, []);
  });
});

Deno.test("live: files that have gone are not found, and a job that is removed meanwhile is unknown", async () => {
  await withLiveApp({}, async (app) => {
    const { id } = await create(app);
    await app.live.service.finished(id);
    const folder = `${app.data}/jobs/${id}`;
    for (
      const [file, path] of [["preview.jpg", "preview"], ["generator.safetensors", "generator"], [
        "structure",
        "structure",
      ]]
    ) {
      await Deno.remove(`${folder}/${file}`);
      assert.deepEqual(await refusal(app, `/v1/jobs/${id}/${path}`), [404, "/problems/not_found"]);
    }
    const body = form({ image: picture });
    assert.equal((await refusal(app, `/v1/generators/${id}/apply`, { method: "POST", body }))[0], 404);
    await Deno.remove(`${folder}/result.png`);
    for (const format of ["png", "webp"]) {
      assert.deepEqual(await refusal(app, `/v1/jobs/${id}/result?format=${format}`), [404, "/problems/not_found"]);
    }

    const other = await create(app);
    await app.live.service.finished(other.id);
    const asked = ["png", "webp", "jpeg"].map((format) => app.ask(`/v1/jobs/${other.id}/result?format=${format}`));
    const removed = await app.ask(`/v1/jobs/${other.id}`, { method: "DELETE" });
    assert.equal(removed.status, 204);
    for (const response of await Promise.all(asked)) {
      assert.ok([200, 404].includes(response.status), `${response.status}`);
      await response.body?.cancel();
    }
    assert.deepEqual(app.errors, []);
  });
});

Deno.test("live: what is asked for while the server stops gets an answer", async () => {
  await withLiveApp({}, async (app) => {
    const { id } = await create(app, { steps: 100_000 });
    const waiting = app.ask("/v1/splice", { method: "POST", body: form({ ...fields, steps: 2 }) });
    const uploads = Array.from(
      { length: 5 },
      () => app.ask("/v1/jobs", { method: "POST", body: form({ ...fields, steps: 2 }) }),
    );
    await Promise.race(uploads);
    const answered = Promise.all([waiting, ...uploads]);
    await app.live.stop(answered);
    const [waited, ...created] = await answered;
    assert.equal(waited.status, 503);
    await waited.body?.cancel();
    for (const response of created) {
      assert.ok([202, 503].includes(response.status), `${response.status}`);
      assert.ok(response.status === 202 || response.headers.get("Retry-After"));
      await response.body?.cancel();
    }
    await assert.rejects(app.live.service.finished(id), { code: "unavailable" });
    assert.deepEqual(app.errors, []);
  });
});

Deno.test("live: a disk that takes nothing is told from a bug", async () => {
  const full = Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
  const sqlite = Object.assign(new Error("database or disk is full"), { code: "ERR_SQLITE_ERROR" });
  for (const error of [full, sqlite, new Error("Cannot write x", { cause: full })]) {
    const fault = storageFault(error);
    assert.deepEqual([fault?.code, fault?.retryAfter], ["unavailable", 60]);
    assert.match(fault!.message, /disk is full/);
    await assert.rejects(onDisk(() => Promise.reject(error)), { code: "unavailable" });
  }
  assert.match(storageFault(new Error("attempt to write a readonly database"))!.message, /cannot write to its disk/);
  const bug = new TypeError("x is not a function");
  assert.equal(storageFault(bug), null);
  await assert.rejects(onDisk(() => Promise.reject(bug)), bug);
});
