/** What the page makes of a job's events, and what it says about each phase. No browser, no server. */
import assert from "node:assert/strict";
import { powersOfTen } from "../../../src/web/state/format.ts";
import { parseRecipe } from "../../../src/splice/transfer/recipe.ts";
import type { EventData, EventName, Job } from "../../../src/jobs/model/job.ts";
import type { Followed } from "../../../src/web/talk/follow.ts";
import { addressAt, type JobState, newJobState, phaseOf, reduce } from "../../../src/web/state/job_state.ts";
import { headingOf, leadOf, paceOf } from "../../../src/web/state/job_words.ts";
import {
  formatAgo,
  formatBytes,
  formatDuration,
  formatLoss,
  formatPace,
  ordinal,
} from "../../../src/web/state/format.ts";

function newJob(changes: Partial<Job> = {}): Job {
  const parsed = parseRecipe({ preset: "quick" });
  assert.ok(parsed.ok);
  const address = "/v1/jobs/j";
  return {
    id: "j",
    kind: "splice",
    status: "queued",
    position: 2,
    step: 0,
    steps: 300,
    losses: null,
    steps_per_second: null,
    eta_seconds: null,
    error: null,
    attempts: 0,
    created_at: "2026-01-01T00:00:00.000Z",
    started_at: null,
    finished_at: null,
    options: parsed.recipe,
    urls: {
      self: address,
      events: `${address}/events`,
      structure: `${address}/structure`,
      appearance: `${address}/appearance`,
      image: null,
      preview: null,
      result: null,
      trained: null,
      generator: null,
      apply: null,
    },
    ...changes,
  } as Job; // options and kind go together, which changes one by one cannot show
}

let lastId = 0;
function event<N extends EventName>(name: N, data: EventData<N>): Followed {
  return { id: name === "preview" || name === "resync" ? null : ++lastId, name, data: JSON.stringify(data) };
}
const started = (step = 0) => event("started", { adapter: "A", model: "M", steps: 300, step });
const progress = (step: number, losses: Record<string, number> = { total: 10 / step }) =>
  event("progress", { step, steps: 300, losses, steps_per_second: 2, eta_seconds: (300 - step) / 2 });

Deno.test("the state goes with the events, from the queue to the result", () => {
  let state = newJobState(newJob());
  const phases = [phaseOf(state)];
  const apply = (one: Followed) => phases.push(phaseOf(state = reduce(state, [one])));
  apply(event("queued", { id: "j", position: 1 }));
  assert.equal(state.job.position, 1);
  apply(started());
  assert.deepEqual([state.adapter, state.model, state.job.position], ["A", "M", null]);
  apply(progress(1));
  apply(event("preview", { step: 1, url: "/v1/jobs/j/preview" }));
  assert.deepEqual(state.preview, { step: 1, url: "/v1/jobs/j/preview?step=1" });
  apply(progress(300));
  apply(event("succeeded", { result: "/v1/jobs/j/result" }));
  assert.deepEqual([state.job.urls.result, state.job.step], ["/v1/jobs/j/result", 300]);
  assert.deepEqual(phases, ["queued", "queued", "warming", "running", "running", "finishing", "succeeded"]);
});

Deno.test("one by one or all at once, events lead to the same state, and leave the old one alone", () => {
  const before = newJobState(newJob());
  const events = [started(), progress(1), progress(2, { total: 4, entire_cls: 2 }), progress(5), event("canceled", {})];
  const kept = structuredClone(before);
  const singly = events.reduce((state: JobState, one) => reduce(state, [one]), before);
  assert.deepEqual(reduce(before, events), singly);
  assert.deepEqual(before, kept);
  assert.equal(phaseOf(singly), "canceled");
});

Deno.test("the history has a value or null for each step and term", () => {
  const { history } = reduce(newJobState(newJob()), [
    started(),
    progress(1, { total: 9, global_cls: 3 }),
    progress(75, { total: 8, global_cls: 2, entire_cls: 5 }),
    progress(76, { total: 7, global_cls: 1 }),
  ]);
  assert.deepEqual(history.steps, [1, 75, 76]);
  assert.deepEqual(Object.fromEntries(history.terms), {
    total: [9, 8, 7],
    global_cls: [3, 2, 1],
    entire_cls: [null, 5, null],
  });
});

Deno.test("an attempt that goes on from a checkpoint takes back the steps it repeats", () => {
  const first = reduce(newJobState(newJob()), [started(), ...[1, 2, 3, 4, 5].map((step) => progress(step))]);
  const again = reduce(first, [event("queued", { id: "j", position: 1 }), started(3)]);
  assert.equal(phaseOf(again), "warming");
  assert.deepEqual(again.history.steps, [1, 2, 3]);
  const on = reduce(again, [progress(4), progress(5), progress(6)]);
  assert.deepEqual(on.history.steps, [1, 2, 3, 4, 5, 6]);
  assert.equal(on.history.terms.get("total")?.length, 6);
});

Deno.test("a resync replaces the job and keeps what was drawn; unknown events change nothing", () => {
  const drawn = reduce(newJobState(newJob()), [started(), progress(1)]);
  const now = newJob({ status: "running", position: null, step: 90, steps_per_second: 3 });
  const state = reduce(drawn, [event("resync", { job: { ...now, urls: { ...now.urls, preview: "/p" } } })]);
  assert.deepEqual([state.job.step, phaseOf(state), state.preview?.url], [90, "running", "/p?step=90"]);
  assert.deepEqual(state.history.steps, [1]);
  assert.deepEqual(reduce(state, [{ id: 99, name: "new_kind", data: "{}" }]), state);
});

Deno.test("a failure keeps its problem, and previews are asked for by their step", () => {
  const error = { type: "/problems/memory", title: "Too large", status: 422, detail: "Use a smaller size." };
  const state = reduce(newJobState(newJob()), [started(), progress(4), event("failed", { error })]);
  assert.deepEqual([phaseOf(state), state.job.error, state.job.eta_seconds], ["failed", error, null]);
  assert.equal(leadOf(state), "It stopped after step 4 of 300.");
  assert.equal(addressAt("/preview?v=1", 50), "/preview?v=1&step=50");
  assert.equal(addressAt(null, 50), null);
});

Deno.test("each phase has its words", () => {
  const queued = newJobState(newJob());
  assert.equal(headingOf(queued), "2nd in the queue");
  assert.equal(headingOf(newJobState(newJob({ position: 1 }))), "Next in the queue");
  assert.match(leadOf(newJobState(newJob({ attempts: 1 }))), /last checkpoint/);
  const warming = reduce(queued, [started(40)]);
  assert.equal(headingOf(warming), "Warming up");
  assert.match(leadOf(warming), /from step 40/);
  const running = reduce(warming, [progress(41)]);
  assert.equal(paceOf(running.job), "2.0 steps/s · 2 min 10 s left");
  const finishing = reduce(running, [progress(300)]);
  assert.deepEqual([headingOf(finishing), finishing.job.status], ["Finishing", "running"]);
  assert.match(leadOf(finishing), /^All steps are done/);
  const times = { started_at: "2026-01-01T00:00:00.000Z", finished_at: "2026-01-01T00:02:24.000Z" };
  assert.equal(leadOf(newJobState(newJob({ status: "succeeded", ...times }))), "300 steps in 2 min 24 s.");
});

Deno.test("numbers as a person reads them", () => {
  assert.deepEqual([999, 194_000, 999_600, 3_140_000, 25_000_000].map(formatBytes), [
    "999 bytes",
    "194 KB",
    "1.0 MB",
    "3.1 MB",
    "25 MB",
  ]);
  assert.deepEqual([0.4, 59.6, 80, 725, 3600, 7500].map(formatDuration), [
    "0 s",
    "1 min 00 s",
    "1 min 20 s",
    "12 min",
    "1 h 0 min",
    "2 h 5 min",
  ]);
  assert.deepEqual([0.25, 1, 25.4].map(formatPace), ["4.0 s a step", "1.0 steps/s", "25 steps/s"]);
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal), [
    "1st",
    "2nd",
    "3rd",
    "4th",
    "11th",
    "12th",
    "13th",
    "21st",
    "102nd",
    "111th",
  ]);
  assert.deepEqual([0, 85.123, 0.012345, 123456789, 0.00001].map(formatLoss), [
    "0",
    "85.1",
    "0.0123",
    "1.2e+8",
    "1.0e-5",
  ]);
  const now = Date.parse("2026-03-01T12:00:00Z");
  assert.deepEqual(
    ["2026-03-01T11:59:50Z", "2026-03-01T11:50:00Z", "2026-03-01T09:00:00Z", "2026-02-27T12:00:00Z"].map((time) =>
      formatAgo(time, now)
    ),
    ["just now", "10 min ago", "3 h ago", "2 d ago"],
  );
});

Deno.test("a logarithmic axis: its lines are the powers of ten within, for any range", () => {
  assert.deepEqual(powersOfTen(0.00999, 1), [0.01, 0.1, 1]);
  assert.deepEqual(powersOfTen(2, 9), []);
  assert.deepEqual(powersOfTen(1e-12, 1.5e-10), [1e-12, 1e-11, 1e-10]);
  assert.deepEqual(powersOfTen(1000, 1000), [1000]);
});
