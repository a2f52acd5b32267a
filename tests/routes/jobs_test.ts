/** Jobs over HTTP, without a socket: pages of them, what belongs to one, what caches are told, and how a job is ended. */
import assert from "node:assert/strict";
import { type Job, jobSchema, problemSchema } from "../../src/jobs/model/job.ts";
import { fixture, formOf, onStage, queued } from "../support/routes/service.ts";

const codeOf = async (response: Response) => problemSchema.parse(await response.json()).type.slice("/problems/".length);

Deno.test("jobs: pages, newest first, by status", () =>
  onStage({}, async (theatre) => {
    const { ask, worker } = theatre;
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.unshift((await queued(theatre)).id);
    const page = async (query: string): Promise<{ jobs: Job[]; next: string | null }> => {
      const response = await ask(`/v1/jobs${query}`);
      assert.equal(response.status, 200);
      return await response.json();
    };
    const seen: string[] = [];
    let next: string | null = "";
    for (let pages = 0; next !== null; pages++) {
      assert.ok(pages < 3);
      const got = await page(`?limit=2${next === "" ? "" : `&before=${next}`}`);
      seen.push(...got.jobs.map(({ id }) => id));
      next = got.next;
    }
    assert.deepEqual(seen, ids);
    const running = worker.start();
    assert.deepEqual((await page("?status=running")).jobs.map(({ id }) => id), [running]);
    assert.deepEqual((await page("?status=failed")).jobs, []);
    assert.equal((await page("")).jobs.length, 5);
  }));

Deno.test("jobs: every wrong parameter is named at once", () =>
  onStage({}, async ({ ask }) => {
    const response = await ask("/v1/jobs?limit=0&before=x&status=done&more=1");
    assert.equal(response.status, 422);
    const { errors = [] } = problemSchema.parse(await response.json());
    assert.deepEqual(errors.map(({ field }) => field).toSorted(), ["before", "limit", "status"]);
    assert.ok(
      errors.some(({ message }) => message === 'Cannot use limit = "0": it must be a whole number from 1 to 100'),
    );
    for (const limit of ["101", "1.5", "many", "NaN", "1&limit=2"]) {
      const refused = await ask(`/v1/jobs?limit=${limit}`);
      assert.equal(refused.status, 422, limit);
      await refused.body?.cancel();
    }
  }));

Deno.test("jobs: an unknown id is 404 everywhere, whatever it looks like", () =>
  onStage({}, async ({ ask }) => {
    for (const id of [crypto.randomUUID(), "x", "..%2f..%2fsplice.sqlite", "%00", "%E0%A4%A", "a".repeat(3000)]) {
      for (
        const what of ["", "/events", "/result", "/trained", "/preview", "/generator", "/structure", "/appearance"]
      ) {
        const response = await ask(`/v1/jobs/${id}${what}`);
        assert.equal(response.status, 404, id + what);
        assert.equal(await codeOf(response), "unknown_job");
      }
      const removed = await ask(`/v1/jobs/${id}`, { method: "DELETE" });
      assert.equal(removed.status, 404);
      await removed.body?.cancel();
      const applied = await ask(`/v1/generators/${id}/apply`, {
        method: "POST",
        body: formOf({ image: fixture("grey.png") }),
      });
      assert.equal(applied.status, 404);
      await applied.body?.cancel();
    }
  }));

Deno.test("jobs: what a job has, and when", () =>
  onStage({}, async (theatre) => {
    const { ask, worker } = theatre;
    const { id, urls } = await queued(theatre);
    const state = async (path: string) => {
      const response = await ask(path);
      const code = response.ok ? response.headers.get("content-type") : await codeOf(response);
      if (response.ok) await response.body?.cancel();
      return [response.status, code];
    };
    const result = `/v1/jobs/${id}/result`;
    assert.deepEqual(await state(urls.structure!), [200, "image/png"]);
    assert.deepEqual(await state(urls.appearance!), [200, "image/jpeg"]);
    assert.deepEqual(await state(result), [409, "not_finished"]);
    assert.deepEqual(await state(`/v1/jobs/${id}/preview`), [404, "not_found"]);
    worker.start();
    await worker.preview(id, 1);
    assert.deepEqual(await state(`/v1/jobs/${id}/preview`), [200, "image/jpeg"]);
    assert.deepEqual(await state(`/v1/jobs/${id}/generator`), [409, "not_finished"]);
    await worker.succeed(id);
    assert.deepEqual(await state(result), [200, "image/png"]);

    const generator = await ask(`/v1/jobs/${id}/generator`);
    assert.equal(generator.headers.get("content-disposition"), `attachment; filename="generator-${id}.safetensors"`);
    assert.equal(generator.headers.get("content-length"), "100");
    assert.equal((await generator.bytes()).length, 100);

    const failing = (await queued(theatre)).id;
    worker.start();
    worker.fail(failing, "memory", "Cannot train");
    assert.deepEqual(await state(`/v1/jobs/${failing}/result`), [409, "no_result"]);
  }));

Deno.test("jobs: the result in each format, by Accept or by name, and not again if it is the same", () =>
  onStage({}, async (theatre) => {
    const { ask, worker } = theatre;
    const { id } = await queued(theatre);
    worker.start();
    await worker.succeed(id);
    const get = (query: string, headers: Record<string, string>) => ask(`/v1/jobs/${id}/result${query}`, { headers });
    const webp = await get("", { accept: "image/webp,image/*;q=0.8" });
    assert.equal(webp.headers.get("content-type"), "image/webp");
    assert.equal(webp.headers.get("content-disposition"), `inline; filename="splice-${id}.webp"`);
    assert.equal(webp.headers.get("x-content-type-options"), "nosniff");
    assert.match(webp.headers.get("vary")!, /Accept/);
    assert.deepEqual(await webp.bytes(), fixture("lossy.webp"));
    const named = await get("?format=jpeg", { accept: "text/html" });
    assert.equal(named.headers.get("content-type"), "image/jpeg");
    assert.deepEqual(await named.bytes(), fixture("grey.jpg"));

    const tag = webp.headers.get("etag")!;
    const same = await get("", { accept: "image/webp", "if-none-match": `"x", W/${tag}` });
    assert.deepEqual([same.status, await same.text(), same.headers.get("etag")], [304, "", tag]);
    const other = await get("", { accept: "image/png", "if-none-match": tag });
    assert.equal(other.status, 200, "another format is another thing");
    await other.body?.cancel();

    const refused = await get("", { accept: "text/html" });
    assert.deepEqual([refused.status, await codeOf(refused)], [406, "not_acceptable"]);
    const unknown = await get("?format=gif", {});
    assert.deepEqual([unknown.status, await codeOf(unknown)], [422, "invalid_options"]);
  }));

Deno.test("jobs: HEAD says what GET would, and leaves nothing open", () =>
  onStage({}, async (theatre) => {
    const { ask, worker } = theatre;
    const { id } = await queued(theatre);
    for (const path of ["", "/structure", "/events"]) {
      const [got, head] = [await ask(`/v1/jobs/${id}${path}`), await ask(`/v1/jobs/${id}${path}`, { method: "HEAD" })];
      await got.body?.cancel();
      assert.deepEqual([head.status, head.body], [200, null]);
      assert.equal(head.headers.get("content-type"), got.headers.get("content-type"));
      assert.equal(head.headers.get("content-length"), got.headers.get("content-length"));
    }
    worker.start();
    await worker.succeed(id);
    const head = await ask(`/v1/jobs/${id}/result`, { method: "HEAD" });
    assert.equal(head.headers.get("content-length"), String(fixture("rgb-16.png").length));
  }));

Deno.test("jobs: a file that has just been replaced or removed is no broken answer", () =>
  onStage({}, async (theatre) => {
    const { ask, worker, service } = theatre;
    const { id } = await queued(theatre);
    worker.start();
    await worker.succeed(id);
    const served = await service.generator(id);
    service.generator = () => Promise.resolve(served);
    const path = `${theatre.folder}/jobs/${id}/generator.safetensors`;
    Deno.writeFileSync(path, new Uint8Array(7));
    const replaced = await ask(`/v1/jobs/${id}/generator`);
    assert.deepEqual([replaced.headers.get("content-length"), (await replaced.bytes()).length], ["7", 7]);
    Deno.removeSync(path);
    const response = await ask(`/v1/jobs/${id}/generator`);
    assert.deepEqual([response.status, await codeOf(response.clone())], [404, "not_found"]);
    for (const name of ["content-length", "content-disposition", "etag"]) {
      assert.equal(response.headers.get(name), null);
    }
    await response.body?.cancel();
  }));

Deno.test("jobs: DELETE cancels what waits or runs, and removes what has ended", () =>
  onStage({}, async (theatre) => {
    const { ask, worker, folder } = theatre;
    const remove = (id: string) => ask(`/v1/jobs/${id}`, { method: "DELETE" });
    const waiting = (await queued(theatre)).id;
    const canceled = await remove(waiting);
    assert.deepEqual([canceled.status, jobSchema.parse(await canceled.json()).status], [200, "canceled"]);

    const { id } = await queued(theatre);
    worker.start();
    const canceling = await remove(id);
    assert.deepEqual([canceling.status, jobSchema.parse(await canceling.json()).status], [202, "canceled"]);
    await worker.succeed(id);
    const removed = await remove(id);
    assert.deepEqual([removed.status, removed.body], [204, null]);
    assert.equal((await remove(id)).status, 404);
    assert.deepEqual(Array.from(Deno.readDirSync(`${folder}/jobs`), ({ name }) => name), [waiting]);
  }));

Deno.test("jobs: apply and features answer with a file, and leave nothing behind", () =>
  onStage({}, async (theatre) => {
    const { ask, worker, uploads } = theatre;
    const { id } = await queued(theatre);
    const apply = (headers = {}) =>
      ask(`/v1/generators/${id}/apply`, { method: "POST", body: formOf({ image: fixture("grey.png") }), headers });
    const early = await apply();
    assert.deepEqual([early.status, await codeOf(early)], [409, "not_finished"]);
    worker.start();
    await worker.succeed(id);
    const picture = await apply({ accept: "image/webp" });
    assert.equal(picture.headers.get("content-type"), "image/webp");
    assert.equal(picture.headers.get("cache-control"), "no-store");
    assert.deepEqual(await picture.bytes(), fixture("lossy.webp"));
    assert.deepEqual(uploads(), []);
    await (await apply()).body!.cancel();
    assert.deepEqual(uploads(), []);

    const features = (fields: Record<string, string>) =>
      ask("/v1/features", { method: "POST", body: formOf({ image: fixture("grey.png"), ...fields }) });
    const tensors = await features({ layers: "0,1", resize: "bicubic" });
    assert.equal(tensors.headers.get("content-type"), "application/octet-stream");
    assert.equal(await tensors.text(), "[0,1]");
    assert.deepEqual(uploads(), []);
    const refused = await features({ layers: "x", resize: "best", seed: "1" });
    assert.equal(refused.status, 422);
    const { errors = [] } = problemSchema.parse(await refused.json());
    assert.deepEqual(errors.map(({ field }) => field).toSorted(), ["layers", "resize", "seed"]);
    const plain = await ask(`/v1/generators/${id}/apply`, { method: "POST", body: formOf({ size: "3" }) });
    assert.deepEqual(problemSchema.parse(await plain.json()).errors?.map(({ field }) => field).toSorted(), [
      "image",
      "size",
    ]);
  }));

Deno.test("jobs: the models", () =>
  onStage({}, async ({ ask }) => {
    const { models } = await (await ask("/v1/models")).json();
    assert.deepEqual(models.map(({ name, default: usual }: { name: string; default: boolean }) => [name, usual]), [[
      "splice-tiny8",
      true,
    ]]);
  }));
