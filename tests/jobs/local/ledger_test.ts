/** The ledger of jobs: what a job goes through, what is told of it, and that nothing acknowledged is ever lost. */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { eventSchemas, Fault, isFinal, jobSchema } from "../../../src/jobs/model/job.ts";
import { type Ledger, openLedger } from "../../../src/jobs/local/ledger.ts";
import { parseWork, workOf } from "../../../src/jobs/model/work.ts";
import { atBench, type Bench, isFault, pace, startedEvent } from "../../support/jobs/job_store.ts";

Deno.test("ledger: a job from its creation to its end", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const { job } = bench.add();
    jobSchema.parse(job);
    assert.deepEqual([job.status, job.position, job.step, job.steps, job.attempts], ["queued", 1, 0, 100, 0]);
    assert.deepEqual(
      [job.losses, job.eta_seconds, job.started_at, job.urls.preview, job.urls.result],
      Array(5).fill(null),
    );
    assert.equal(job.created_at, "2026-01-01T00:00:00.000Z");
    assert.deepEqual(job.urls, {
      self: `/v1/jobs/${job.id}`,
      events: `/v1/jobs/${job.id}/events`,
      structure: `/v1/jobs/${job.id}/structure`,
      appearance: `/v1/jobs/${job.id}/appearance`,
      image: null,
      preview: null,
      result: null,
      trained: null,
      generator: null,
      apply: null,
    });
    assert.equal(ledger.claim()?.job.status, "running");
    assert.equal(ledger.claim(), null);
    bench.clock += 1000;
    ledger.started(job.id, startedEvent);
    ledger.progress(job.id, pace(10), []);
    ledger.preview(job.id, 10);
    const running = ledger.get(job.id)!;
    jobSchema.parse(running.job);
    assert.deepEqual([running.previewStep, running.job.urls.preview], [10, `/v1/jobs/${job.id}/preview`]);
    assert.deepEqual([running.job.step, running.job.losses, running.job.eta_seconds], [10, { total: 1 / 11 }, 36]);
    bench.clock += 1000;
    ledger.succeed(job.id, 77);
    const done = ledger.get(job.id)!;
    jobSchema.parse(done.job);
    assert.deepEqual([done.job.status, done.job.step, done.job.eta_seconds, done.bytes], ["succeeded", 100, 0, 77]);
    assert.deepEqual([done.job.started_at, done.job.finished_at], [
      "2026-01-01T00:00:01.000Z",
      "2026-01-01T00:00:02.000Z",
    ]);
    const { result, trained, generator, apply } = done.job.urls;
    assert.deepEqual({ result, trained, generator, apply }, {
      result: `/v1/jobs/${job.id}/result`,
      trained: `/v1/jobs/${job.id}/trained`,
      generator: `/v1/jobs/${job.id}/generator`,
      apply: `/v1/generators/${job.id}/apply`,
    });
    const told = bench.told(job.id);
    assert.deepEqual(told, [
      { id: 1, name: "queued", data: { id: job.id, position: 1 } },
      { id: 2, name: "started", data: startedEvent },
      { id: 3, name: "progress", data: pace(10) },
      { id: 4, name: "succeeded", data: { result: result! } },
    ]);
    for (const { name, data } of told) eventSchemas[name as keyof typeof eventSchemas].parse(data);
    assert.deepEqual(ledger.events(job.id, { after: 2, limit: 1 }).map(({ id }) => id), [3]);
    assert.deepEqual(bounds(ledger, job.id), { first: 1, last: 4 });
    assert.equal(bounds(ledger, crypto.randomUUID()), null);
    assert.equal(ledger.get("nothing"), null);
  }));

Deno.test("ledger: the queue moves up, and tells so", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const [a, b, c, d] = Array.from({ length: 4 }, () => bench.add().job.id);
    const places = () => [a, b, c, d].map((id) => ledger.get(id)!.job.position);
    const told = (id: string) =>
      bench.told(id).filter(({ name }) => name === "queued").map(({ data }) => data.position);
    assert.deepEqual(places(), [1, 2, 3, 4]);
    assert.equal(ledger.claim()?.job.id, a);
    assert.deepEqual(places(), [null, 1, 2, 3]);
    assert.equal(ledger.cancel(c), "queued");
    assert.deepEqual(places(), [null, 1, null, 2]);
    ledger.started(a, startedEvent);
    ledger.progress(a, pace(5), []);
    ledger.requeue(a, { died: true });
    const again = ledger.get(a)!;
    assert.deepEqual([again.deaths, again.job.attempts, again.job.step, again.job.eta_seconds], [1, 1, 5, null]);
    assert.deepEqual(places(), [1, 2, null, 3], "it is the oldest still");
    assert.equal(ledger.claim()?.job.id, a);
    assert.equal(ledger.get(a)!.job.attempts, 2);
    assert.deepEqual([told(a), told(b), told(c), told(d)], [[1], [2], [3], [4]], "the first is stored, moves are not");
    assert.deepEqual(ledger.counts(), { queued: 2, running: 1, succeeded: 0, failed: 0, canceled: 1 });
    bench.clock += 60_000;
    const first = ledger.get(a)!.job.started_at;
    ledger.started(a, { ...startedEvent, step: 5 });
    assert.equal(ledger.get(a)!.job.started_at, first, "started is when it first was");
  }));

Deno.test("ledger: after a start, what was running is queued again, in its old place", () =>
  atBench((bench) => {
    const [a, b, c] = Array.from({ length: 3 }, () => bench.add().job.id);
    bench.ledger.claim();
    bench.ledger.claim();
    bench.ledger.started(b, startedEvent);
    bench.ledger.progress(b, pace(7), []);
    const ledger = bench.reopen();
    assert.equal(ledger.recover(), 2);
    const jobs = [a, b, c].map((id) => ledger.get(id)!);
    assert.deepEqual(jobs.map(({ job }) => job.position), [1, 2, 3]);
    assert.deepEqual(jobs.map(({ deaths, job }) => [deaths, job.attempts]), [[0, 1], [0, 1], [0, 0]]);
    assert.equal(jobs[1].job.step, 7);
    assert.deepEqual(bench.told(b).map(({ name }) => name), ["queued", "started", "progress"]);
    assert.equal(ledger.recover(), 0);
  }));

Deno.test("ledger: what comes late for a job that has ended changes nothing", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const { id } = bench.add().job;
    ledger.started(id, startedEvent);
    ledger.progress(id, pace(1), []);
    assert.equal(ledger.get(id)!.job.status, "queued", "nothing happens to what waits");
    ledger.claim();
    ledger.progress(id, pace(2), []);
    assert.equal(ledger.cancel(id), "running");
    const ended = ledger.get(id)!;
    const { kept } = { kept: bounds(ledger, id) };
    assert.deepEqual([ended.job.steps_per_second, ended.job.eta_seconds, ended.job.status], [null, null, "canceled"]);
    ledger.progress(id, pace(3), []);
    ledger.preview(id, 3);
    ledger.succeed(id, 5);
    ledger.fail(id, new Fault("internal", "x").problem);
    ledger.requeue(id, { died: true });
    assert.equal(ledger.cancel(id), null);
    assert.equal(ledger.cancel(crypto.randomUUID()), null);
    assert.deepEqual(ledger.get(id), ended);
    assert.deepEqual(bounds(ledger, id), kept);
    ledger.requeue(crypto.randomUUID(), { died: false });
    ledger.progress(crypto.randomUUID(), pace(3), []);
  }));

Deno.test("ledger: a job that fails carries its problem", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const { id } = bench.add().job;
    ledger.claim();
    const { problem } = new Fault("memory", "Cannot train: too large; use size 512", {
      errors: [{ field: "size", message: "at most 512" }],
    });
    ledger.fail(id, problem);
    const { job } = jobSchema.parse(ledger.get(id)!.job) && ledger.get(id)!;
    assert.deepEqual([job.status, job.error], ["failed", problem]);
    assert.deepEqual(bench.told(id).at(-1), { id: 2, name: "failed", data: { error: problem } });
  }));

Deno.test("ledger: a key makes one job, a full queue none", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const first = bench.add({ key: "k", queue: 1 });
    const job = { ...first.job, webhookUrl: null, adopted: { bytes: 0 } };
    const again = ledger.create({ ...job, id: "other", idempotency: { key: "k", digest: "d" } }, { queue: 1 });
    assert.deepEqual([again.replayed, again.record], [true, first], "though the queue is full");
    assert.deepEqual(ledger.find({ key: "k", digest: "d" }), first);
    assert.equal(ledger.find({ key: "l", digest: "d" }), null);
    assert.throws(() => bench.add({ key: "k", digest: "e" }), isFault("idempotency_conflict", /use a new key/));
    assert.throws(
      () => ledger.find({ key: "k", digest: "e" }),
      isFault("idempotency_conflict", new RegExp(first.job.id)),
    );
    const wait = (eta: number | null) => {
      ledger.progress(first.job.id, { ...pace(1), eta_seconds: eta }, []);
      try {
        bench.add({ queue: 1 });
      } catch (error) {
        assert.ok(isFault("queue_full", /try again in \d+ seconds/)(error));
        return (error as Fault).retryAfter;
      }
    };
    assert.equal(wait(null), 30);
    ledger.claim();
    bench.add({ queue: 1 });
    assert.deepEqual([wait(null), wait(1), wait(41.2), wait(1e6)], [30, 5, 42, 600]);
    ledger.cancel(first.job.id);
    assert.equal(ledger.remove(first.job.id), true);
    assert.equal(ledger.find({ key: "k", digest: "e" }), null, "the key went with its job");
    assert.notEqual(bench.add({ key: "k", digest: "e" }).job.id, first.job.id);
  }));

Deno.test("ledger: pages, newest first", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const ids = Array.from({ length: 5 }, () => bench.add().job.id);
    ledger.cancel(ids[1]);
    ledger.cancel(ids[3]);
    const page = (options: Parameters<typeof ledger.list>[0]) =>
      ledger.list(options).map(({ job }) => ids.indexOf(job.id));
    assert.deepEqual(page({ limit: 2 }), [4, 3]);
    assert.deepEqual(page({ limit: 9, before: ledger.get(ids[3])!.number }), [2, 1, 0]);
    assert.deepEqual(page({ limit: 9, status: "canceled" }), [3, 1]);
    assert.deepEqual(page({ limit: 9, status: "canceled", before: ledger.get(ids[3])!.number }), [1]);
    assert.deepEqual(ledger.ids().sort(), [...ids].sort());
    const newest = ledger.get(ids[4])!.number;
    ledger.cancel(ids[4]);
    ledger.remove(ids[4]);
    assert.ok(bench.add().number > newest, "a number is never given twice");
  }));

Deno.test("ledger: only so many events are kept, the newest", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const { id } = bench.add().job;
    ledger.claim();
    for (let step = 1; step <= 20; step++) ledger.progress(id, pace(step), []);
    assert.deepEqual(bounds(ledger, id), { first: 17, last: 21 });
    assert.deepEqual(bench.told(id).map(({ id }) => id), [17, 18, 19, 20, 21]);
    ledger.succeed(id, 0);
    assert.deepEqual(bench.told(id).map(({ id, name }) => `${id} ${name}`).at(-1), "22 succeeded");
  }, { eventsKept: 5 }));

Deno.test("ledger: what expires is ended, oldest first, by age and by bytes", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const ids = Array.from({ length: 5 }, () => bench.add({ bytes: 100 }).job.id);
    for (const id of [ids[2], ids[0], ids[1]]) {
      bench.clock += 1000;
      ledger.cancel(id);
    }
    const expired = (seconds: number, mostBytes: number) =>
      ledger.expired({ endedBefore: new Date(bench.clock - seconds * 1000), mostBytes }).map((id) => ids.indexOf(id));
    assert.deepEqual(expired(100, Infinity), []);
    assert.deepEqual(expired(1, Infinity), [2]);
    assert.deepEqual(expired(0, Infinity), [2, 0]);
    assert.deepEqual(expired(100, 499), [2]);
    assert.deepEqual(expired(1, 300), [2, 0]);
    assert.deepEqual(expired(100, 0), [2, 0, 1], "active jobs stay");
    assert.deepEqual(ledger.expired({ endedBefore: new Date(0), mostBytes: Infinity }), []);
    assert.deepEqual([ledger.remove(ids[2]), ledger.remove(ids[2]), ledger.remove(ids[3])], [true, false, false]);
    assert.deepEqual([ledger.get(ids[2]), bounds(ledger, ids[2]), bench.told(ids[2])], [null, null, []]);
    assert.deepEqual(expired(100, 499), []);
  }));

Deno.test("ledger: deliveries of start and end are written with them, and wait in order", () =>
  atBench((bench) => {
    const { ledger } = bench;
    const [a, b] = [bench.add({ webhookUrl: "https://a.example/" }).job.id, bench.add().job.id];
    const later = (seconds: number) => new Date(bench.clock + seconds * 1000);
    ledger.claim();
    assert.deepEqual(ledger.deliveriesDue(later(0), 10), []);
    ledger.started(a, startedEvent);
    ledger.requeue(a, { died: true });
    ledger.claim();
    ledger.started(a, startedEvent);
    ledger.succeed(a, 1);
    ledger.claim();
    ledger.started(b, startedEvent);
    ledger.succeed(b, 1);
    const [started, ...others] = ledger.deliveriesDue(later(0), 10);
    assert.deepEqual([started.job, started.url, started.tries, others], [a, "https://a.example/", 0, []]);
    const body = JSON.parse(started.body);
    assert.deepEqual(Object.keys(body), ["event", "delivered_id", "created_at", "job"]);
    assert.deepEqual([body.event, jobSchema.parse(body.job).status], ["started", "running"]);
    assert.match(body.delivered_id, /^[0-9a-f-]{36}$/);

    ledger.deliverLater(started.id, later(5));
    assert.deepEqual(ledger.deliveriesDue(later(4), 10), [], "the end waits for the start");
    assert.deepEqual(ledger.nextDelivery(later(0)), later(5));
    assert.equal(ledger.nextDelivery(later(5)), null);
    assert.equal(bench.reopen().deliveriesDue(later(5), 10)[0].tries, 1);
    bench.ledger.delivered(started.id);
    const [ended] = bench.ledger.deliveriesDue(later(0), 10);
    assert.deepEqual([JSON.parse(ended.body).event, JSON.parse(ended.body).job.status], ["succeeded", "succeeded"]);
    bench.ledger.remove(a);
    assert.deepEqual(bench.ledger.deliveriesDue(later(1e6), 10), [], "they go with their job");
  }));

Deno.test("ledger: listeners hear of what changed once it is written, and cannot break it", () => {
  const complaints: string[] = [];
  return atBench((bench) => {
    const { ledger } = bench;
    const heard: string[] = [];
    const end = ledger.onChange((id) => heard.push(id === null ? "moved" : `${id} ${ledger.get(id)?.job.status}`));
    ledger.onChange(() => {
      throw new Error("a listener's own trouble");
    });
    const [a, b] = [bench.add().job.id, bench.add().job.id];
    assert.deepEqual(heard.splice(0), [`${a} queued`, `${b} queued`]);
    ledger.claim();
    assert.deepEqual(heard.splice(0), [`${a} running`, "moved"]);
    ledger.preview(a, 1);
    ledger.progress(b, pace(1), []);
    assert.deepEqual(heard.splice(0), [`${a} running`], "b is not running: nothing changed");
    ledger.cancel(a);
    ledger.remove(a);
    assert.deepEqual(heard.splice(0), [`${a} canceled`, `${a} undefined`]);
    end();
    ledger.cancel(b);
    assert.deepEqual(heard, []);
    assert.equal(ledger.get(b)!.job.status, "canceled");
    assert.ok(complaints.length > 0 && complaints.every((line) => line.includes("a listener's own trouble")));
  }, { complain: (line) => complaints.push(line) });
});

Deno.test("ledger: a method that fails changes nothing and tells nobody", () =>
  atBench((bench) => {
    const { job } = bench.add();
    let heard = 0;
    bench.ledger.onChange(() => heard++);
    const twin = { ...workOf(job), id: job.id, webhookUrl: null, idempotency: null, adopted: { bytes: 0 } };
    assert.throws(() => bench.ledger.create(twin, { queue: 9 }), /UNIQUE/);
    assert.equal(heard, 0);
    assert.deepEqual(bench.ledger.get(job.id)!.job, job);
    assert.equal(bench.ledger.claim()?.job.id, job.id);
  }));

Deno.test("ledger: a file of a newer version, or of another kind, is refused and left as it is", () =>
  atBench(({ folder, ledger }) => {
    ledger.close();
    const path = `${folder}/splice.sqlite`;
    const raw = new DatabaseSync(path);
    raw.exec("PRAGMA user_version = 99");
    raw.close();
    assert.throws(() => openLedger(path), /newer version of splice \(schema 99, this one knows 4\); use that version/);
    const again = new DatabaseSync(path);
    assert.deepEqual({ ...again.prepare("PRAGMA user_version").get() }, { user_version: 99 });
    again.exec("PRAGMA user_version = 4");
    again.close();
    Deno.writeTextFileSync(`${folder}/other`, "this is no database at all, but a text".repeat(100));
    assert.throws(() => openLedger(`${folder}/other`), /Cannot open the job store .*other: file is not a database/);
    ledger = openLedger(path);
    assert.deepEqual(ledger.list({ limit: 1 }), []);
    ledger.close();
  }));

Deno.test("ledger: a database of the former schema opens, and its jobs are transfers that go on", () =>
  atBench(({ folder }) => {
    const path = `${folder}/former.sqlite`;
    Deno.copyFileSync(new URL("../../fixtures/jobs/schema-1.sqlite", import.meta.url), path);
    const id = (n: number) => `00000000-0000-4000-8000-00000000000${n}`;
    const ledger = openLedger(path);
    const jobs = ledger.list({ limit: 10 }).map(({ job }) => jobSchema.parse(job)).reverse();
    assert.deepEqual(jobs.map((job) => [job.id, job.kind, job.status, job.step]), [
      [id(1), "splice", "succeeded", 100],
      [id(2), "splice", "running", 40],
      [id(3), "splice", "queued", 0],
    ]);
    assert.deepEqual(jobs.map(({ options }) => [options.model, options.steps]), Array(3).fill(["splice-tiny8", 100]));
    assert.ok(
      jobs.every(({ options }) => "padding" in options && options.padding === "zero"),
      "as when they were asked for",
    );
    assert.equal(jobs[0].urls.generator, `/v1/jobs/${id(1)}/generator`);
    const names = ledger.events(id(1), { after: 0, limit: 10 }).map(({ name }) => name);
    assert.deepEqual(names, ["queued", "started", "progress", "succeeded"]);
    assert.equal(ledger.find({ key: "anyone:k", digest: "d" })?.job.id, id(1));
    assert.equal(ledger.recover(), 1);
    assert.equal(ledger.claim()?.job.id, id(2));
    ledger.close();
    const again = openLedger(path);
    assert.equal(again.counts().running, 1);
    again.close();
  }));

Deno.test("ledger: an inversion comes back as what it is, without what only transfers have", () =>
  atBench((bench) => {
    const parsed = parseWork("invert", { feature: "keys", layer: 3, steps: 7 });
    assert.ok(parsed.ok);
    const id = crypto.randomUUID();
    const asked = { ...parsed.work, id, webhookUrl: null, idempotency: null, adopted: { bytes: 1 } };
    const { record } = bench.ledger.create(asked, { queue: 9 });
    assert.deepEqual(workOf(jobSchema.parse(record.job)), workOf(parsed.work));
    bench.reopen();
    assert.equal(bench.ledger.claim()?.job.kind, "invert");
    bench.ledger.succeed(id, 1);
    const { urls, kind, steps } = jobSchema.parse(bench.ledger.get(id)!.job);
    assert.deepEqual([kind, steps], ["invert", 7]);
    assert.deepEqual(urls, {
      self: `/v1/jobs/${id}`,
      events: `/v1/jobs/${id}/events`,
      structure: null,
      appearance: null,
      image: `/v1/jobs/${id}/image`,
      preview: null,
      result: `/v1/jobs/${id}/result`,
      trained: `/v1/jobs/${id}/trained`,
      generator: null,
      apply: null,
    });
    const odd = { ...asked, id: crypto.randomUUID(), kind: "paint" } as unknown as typeof asked;
    assert.throws(() => bench.ledger.create(odd, { queue: 9 }), /CHECK constraint failed/);
  }));

type Act =
  | "create"
  | "claim"
  | "progress"
  | "succeed"
  | "fail"
  | "cancel"
  | "requeue"
  | "recover"
  | "remove"
  | "reopen";

/** What must hold of all jobs at all times. */
function checkAll({ ledger, told }: Bench): void {
  const jobs = ledger.list({ limit: 1000 }).reverse();
  const queued = jobs.filter(({ job }) => job.status === "queued");
  assert.deepEqual(queued.map(({ job }) => job.position), queued.map((_, index) => index + 1));
  for (const { job } of jobs) {
    const events = told(job.id);
    assert.deepEqual(events.map(({ id }) => id), events.map((_, index) => index + 1), "no gaps");
    assert.deepEqual(events.flatMap(({ id, name }) => name === "queued" ? [id] : []), [1]);
    if (job.status !== "queued") assert.equal(job.position, null);
    const ends = events.filter(({ name }) => ["succeeded", "failed", "canceled"].includes(name));
    assert.deepEqual(ends.map(({ name }) => name), isFinal(job.status) ? [job.status] : []);
    if (isFinal(job.status)) assert.equal(events.at(-1), ends[0], "the end comes last");
    assert.equal(job.finished_at !== null, isFinal(job.status));
  }
}

Deno.test("ledger: whatever happens, places, events and states agree", async () => {
  const act = fc.constantFrom<Act[]>(
    "create",
    "create",
    "create",
    "claim",
    "claim",
    "progress",
    "succeed",
    "fail",
    "cancel",
    "requeue",
    "recover",
    "remove",
    "reopen",
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(act, fc.nat()), { maxLength: 40 }), (acts) =>
      atBench((bench) => {
        const ids: string[] = [];
        for (const [name, pick] of acts) {
          const { ledger } = bench;
          const id = ids[pick % ids.length] ?? "none";
          if (name === "create") ids.push(bench.add().job.id);
          if (name === "claim") ledger.claim();
          if (name === "progress") ledger.progress(id, pace(pick % 100), []);
          if (name === "succeed") ledger.succeed(id, 0);
          if (name === "fail") ledger.fail(id, new Fault("crashed", "x").problem);
          if (name === "cancel") ledger.cancel(id);
          if (name === "requeue" && ledger.get(id)) ledger.requeue(id, { died: true });
          if (name === "recover") ledger.recover();
          if (name === "remove") ledger.remove(id);
          if (name === "reopen") bench.reopen();
          checkAll(bench);
        }
      })),
    { numRuns: 25 },
  );
});

Deno.test("ledger: a process killed while it writes loses nothing that it said was done", () =>
  atBench(async (bench) => {
    const path = `${bench.folder}/killed.sqlite`;
    const writer = fileURLToPath(new URL("../../support/jobs/job_writer.ts", import.meta.url));
    const acknowledged = new Map<string, number>();
    for (let round = 0; round < 3; round++) {
      const child = new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "--no-lock",
          "--no-check",
          `--allow-read=${bench.folder}`,
          `--allow-write=${bench.folder}`,
          writer,
          path,
        ],
        stdin: "null",
        stdout: "piped",
      }).spawn();
      let lines = 0;
      let rest = "";
      for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
        const whole = (rest + chunk).split("\n");
        rest = whole.pop()!;
        for (const line of whole) {
          const [id, last] = line.split(" ");
          acknowledged.set(id, Number(last));
          lines++;
        }
        if (lines > 50 + round * 37) {
          try {
            child.kill("SIGKILL");
          } catch {
            // It is dead already; more of what it said may follow.
          }
        }
      }
      assert.equal((await child.status).signal, "SIGKILL");
      const ledger = openLedger(path);
      for (const [id, last] of acknowledged) {
        const ids = ledger.events(id, { after: 0, limit: 1e6 }).map((event) => event.id);
        assert.ok(ids.length >= last, `event ${last} of ${id} is gone`);
        assert.deepEqual(ids, ids.map((_, index) => index + 1));
        assert.equal(ledger.sight(id)!.last, ids.length);
        const { status } = ledger.get(id)!.job;
        const [{ name }] = ledger.events(id, { after: ids.length - 1, limit: 1 });
        if (isFinal(status) || name === "succeeded") assert.equal(name, status);
      }
      ledger.close();
    }
    assert.ok(acknowledged.size > 10);
  }));

/** The ids of the events that are kept. */
function bounds(ledger: Ledger, id: string): { first: number; last: number } | null {
  const seen = ledger.sight(id);
  return seen && { first: seen.first, last: seen.last };
}
