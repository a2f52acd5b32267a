/** The three ways to ask for a transfer, without a socket: what is answered, in which format, and what a retry gives. */
import assert from "node:assert/strict";
import { jobSchema, problemSchema } from "../../src/jobs/model/job.ts";
import { fixture, onStage, pairForm, queued, type Theatre } from "../support/routes/service.ts";

const post = (body: FormData, headers: Record<string, string> = {}): RequestInit => ({ method: "POST", body, headers });

async function problemOf(response: Response) {
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  const problem = problemSchema.parse(await response.json());
  assert.equal(problem.status, response.status);
  return problem;
}

/** Resolves once a request that waits has queued its job, and lets the worker begin it. */
async function begun({ ledger, worker }: Theatre): Promise<string> {
  if (ledger.counts().queued === 0) {
    await new Promise<void>((resolve) => {
      const forget = ledger.onChange(() => {
        forget();
        queueMicrotask(resolve);
      });
    });
  }
  return worker.start();
}

Deno.test("splice: POST /v1/jobs answers at once with the job and its address", () =>
  onStage({}, async (theatre) => {
    const response = await theatre.ask("/v1/jobs", post(pairForm({ steps: 7, weight_cls: "2.5", augment: "false" })));
    assert.equal(response.status, 202);
    const job = jobSchema.parse(await response.json());
    assert.equal(response.headers.get("location"), `/v1/jobs/${job.id}`);
    assert.equal(response.headers.get("idempotent-replayed"), null);
    assert.deepEqual([job.status, job.position, job.steps], ["queued", 1, 7]);
    assert.ok(job.kind === "splice");
    assert.deepEqual([job.options.weight_cls, job.options.augment, job.options.seed], [2.5, false, 0]);
    assert.deepEqual(theatre.uploads(), []);
    assert.deepEqual(Deno.readFileSync(`${theatre.folder}/jobs/${job.id}/structure`), fixture("orientation-1.png"));
    assert.deepEqual(Deno.readFileSync(`${theatre.folder}/jobs/${job.id}/appearance`), fixture("orientation-1.jpg"));
  }));

Deno.test("splice: POST /v1/splice waits, and answers in the format that is liked best", () =>
  onStage({}, async (theatre) => {
    const wishes: [accept: string | null, type: string, file: string][] = [
      [null, "image/png", "rgb-16.png"],
      ["*/*", "image/png", "rgb-16.png"],
      ["image/jpeg", "image/jpeg", "grey.jpg"],
      ["image/png;q=0.5, image/webp", "image/webp", "lossy.webp"],
      ["image/*;q=0.4, application/json;q=0.3, text/html", "image/png", "rgb-16.png"],
      ["image/*, image/png;q=0, image/jpeg;q=0.1", "image/webp", "lossy.webp"],
    ];
    for (const [accept, type, file] of wishes) {
      const waiting = theatre.ask("/v1/splice", post(pairForm(), accept === null ? {} : { accept }));
      const id = await begun(theatre);
      theatre.worker.step(id, 1);
      await theatre.worker.succeed(id);
      const response = await waiting;
      assert.equal(response.status, 200, accept ?? "");
      assert.equal(response.headers.get("content-type"), type, accept ?? "");
      assert.equal(response.headers.get("location"), `/v1/jobs/${id}`);
      assert.match(response.headers.get("vary") ?? "", /Accept/);
      assert.deepEqual(await response.bytes(), fixture(file));
    }
  }));

Deno.test("splice: POST /v1/splice gives the job by Accept, and 406 before anything is uploaded", () =>
  onStage({}, async (theatre) => {
    const waiting = theatre.ask("/v1/splice", post(pairForm(), { accept: "application/json" }));
    await theatre.worker.succeed(await begun(theatre));
    const response = await waiting;
    assert.equal(response.status, 200);
    assert.equal(jobSchema.parse(await response.json()).status, "succeeded");

    const refused = await theatre.ask("/v1/splice", post(pairForm(), { accept: "image/avif, image/png;q=0" }));
    assert.equal(refused.status, 406);
    assert.match((await problemOf(refused)).detail, /image\/png, image\/jpeg, image\/webp and application\/json/);
    assert.equal(theatre.ledger.counts().succeeded, 1);
  }));

Deno.test("splice: a job that fails or is canceled is its own problem, with the job's address", () =>
  onStage({}, async (theatre) => {
    const failing = theatre.ask("/v1/splice", post(pairForm()));
    const id = await begun(theatre);
    theatre.worker.fail(id, "damaged", "Cannot use structure: the picture is damaged");
    const failed = await failing;
    assert.equal(failed.status, 422);
    assert.equal(failed.headers.get("location"), `/v1/jobs/${id}`);
    const problem = await problemOf(failed);
    assert.equal(problem.type, "/problems/damaged");
    assert.match(problem.detail, /structure/);

    const canceling = theatre.ask("/v1/splice", post(pairForm()));
    theatre.ledger.cancel(await begun(theatre));
    const canceled = await canceling;
    assert.equal(canceled.status, 409);
    assert.equal((await problemOf(canceled)).type, "/problems/canceled");
  }));

Deno.test("splice: whoever waits when the server stops is told to look again", () =>
  onStage({}, async (theatre) => {
    const waiting = theatre.ask("/v1/splice", post(pairForm()));
    const id = await begun(theatre);
    theatre.stop();
    const response = await waiting;
    assert.equal(response.status, 503);
    assert.equal(response.headers.get("retry-after"), "10");
    assert.equal(response.headers.get("location"), `/v1/jobs/${id}`);

    const late = await theatre.ask("/v1/jobs", post(pairForm()));
    assert.equal(late.status, 503);
    assert.ok(Number(late.headers.get("retry-after")) > 0);
    assert.match((await problemOf(late)).detail, /stopping/);
  }));

Deno.test("splice: POST /v1/splice/stream tells the job's events from the first", () =>
  onStage({}, async (theatre) => {
    const response = await theatre.ask("/v1/splice/stream", post(pairForm({ steps: 4 })));
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type")!, /^text\/event-stream/);
    const id = theatre.worker.start();
    assert.equal(response.headers.get("location"), `/v1/jobs/${id}`);
    theatre.worker.step(id, 2);
    await theatre.worker.succeed(id);
    const text = await response.text();
    assert.deepEqual(text.match(/^(id|event): .*$/gm), [
      "id: 1",
      "event: queued",
      "id: 2",
      "event: started",
      "id: 3",
      "event: progress",
      "id: 4",
      "event: succeeded",
    ]);
    assert.ok(text.includes(`"id":"${id}"`));
  }));

Deno.test("splice: an Idempotency-Key makes a retry the same job, on every creating route", () =>
  onStage({ keys: ["first-key-of-this-test", "second-key-of-this-test"] }, async ({ ask, ledger, worker }) => {
    const send = (path: string, { key = "k-1", by = "first", ...fields }: Record<string, string> = {}) =>
      ask(path, post(pairForm(fields), { "idempotency-key": key, authorization: `Bearer ${by}-key-of-this-test` }));
    const first = await send("/v1/jobs");
    const { id } = await first.json();
    const again = await send("/v1/jobs");
    assert.equal(again.status, 202);
    assert.equal(again.headers.get("idempotent-replayed"), "true");
    assert.equal((await again.json()).id, id);

    const other = await send("/v1/jobs", { seed: "5" });
    assert.equal(other.status, 409);
    assert.equal((await problemOf(other)).type, "/problems/idempotency_conflict");

    const stranger = await send("/v1/jobs", { by: "second" });
    assert.equal(stranger.headers.get("idempotent-replayed"), null, "keys belong to those who chose them");
    await stranger.body?.cancel();
    assert.equal(ledger.counts().queued, 2);

    assert.equal(worker.start(), id);
    await worker.succeed(id);
    const streamed = await send("/v1/splice/stream");
    assert.equal(streamed.headers.get("idempotent-replayed"), "true");
    assert.match(await streamed.text(), /event: succeeded/);
    const waited = await send("/v1/splice");
    assert.equal(waited.headers.get("idempotent-replayed"), "true");
    assert.equal(waited.headers.get("location"), `/v1/jobs/${id}`);
    assert.deepEqual(await waited.bytes(), fixture("rgb-16.png"));

    for (const key of ["", "a b", "x".repeat(201)]) {
      const refused = await send("/v1/jobs", { key });
      assert.equal(refused.status, 422);
      assert.deepEqual((await problemOf(refused)).errors?.map(({ field }) => field), ["Idempotency-Key"]);
    }
  }));

Deno.test("splice: a full queue says when to come back", () =>
  onStage({ queue: 1 }, async (theatre) => {
    await queued(theatre);
    const response = await theatre.ask("/v1/jobs", post(pairForm()));
    assert.equal(response.status, 503);
    assert.ok(Number(response.headers.get("retry-after")) >= 1);
    assert.equal((await problemOf(response)).type, "/problems/queue_full");
    assert.deepEqual(theatre.uploads(), []);
  }));
