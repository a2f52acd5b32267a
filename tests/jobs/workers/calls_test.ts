/** Questions to a process that may die, be slow, or never come: what each of those who asked is told. */
import assert from "node:assert/strict";
import { type CallsOptions, openCalls } from "../../../src/jobs/workers/calls.ts";
import { Fault } from "../../../src/jobs/model/job.ts";
import type { Task, ToWorker } from "../../../src/jobs/model/messages.ts";

const task = (name: string): Task => ({ task: "convert", from: name, to: name, format: "png", of: "result" });

function at(options: Partial<CallsOptions> = {}) {
  const asked: string[] = [];
  const numbers: number[] = [];
  const late: string[] = [];
  const send = (message: ToWorker) => {
    if (message.say !== "call" || message.task.task !== "convert") throw new Error("Bug: no question");
    asked.push(message.task.from);
    numbers.push(message.call);
  };
  const onLate = (task: Task) => void late.push(task.task);
  const calls = openCalls({ name: "helper", atOnce: 1, send, onLate, ...options });
  return { calls, asked, late, answer: () => calls.answered(numbers.at(-1)!) };
}

const outcome = (promise: Promise<void>) =>
  promise.then(() => "done", (error) => error instanceof Fault ? `${error.code}: ${error.message}` : `BUG ${error}`);

Deno.test("calls: they wait for a process, and are asked one at a time, in order", async () => {
  const { calls, asked, answer } = at();
  const outcomes = ["a", "b", "c"].map((name) => outcome(calls.ask(task(name))));
  assert.deepEqual([asked, calls.pending()], [[], 3]);
  calls.open();
  assert.deepEqual(asked, ["a"]);
  for (const expected of [["a", "b"], ["a", "b", "c"], ["a", "b", "c"]]) {
    answer();
    assert.deepEqual(asked, expected);
  }
  assert.deepEqual(await Promise.all(outcomes), ["done", "done", "done"]);
  assert.equal(calls.pending(), 0);
});

Deno.test("calls: a death costs nobody anything; the second death over the same one is that one's fault", async () => {
  const { calls, asked, answer } = at();
  const blame = (why: string) => new Fault("damaged", why);
  const [deadly, next] = [outcome(calls.ask(task("deadly"), { blame })), outcome(calls.ask(task("next")))];
  calls.open();
  calls.died("was ended by SIGSEGV", { hope: true });
  assert.deepEqual(asked, ["deadly"]);
  calls.open();
  calls.died("was ended by SIGSEGV", { hope: true });
  assert.equal(await deadly, "damaged: the helper that worked on it was ended by SIGSEGV");
  calls.open();
  assert.deepEqual(asked, ["deadly", "deadly", "next"]);
  answer();
  assert.equal(await next, "done");
});

Deno.test("calls: of several under way only the oldest is blamed for a death", async () => {
  const { calls, asked, answer } = at({ atOnce: 2 });
  const outcomes = ["a", "b", "c"].map((name) => outcome(calls.ask(task(name), { lives: 1 })));
  calls.open();
  assert.deepEqual(asked, ["a", "b"]);
  calls.died("ended with code 1", { hope: true });
  assert.match(await outcomes[0], /^unavailable: .*ended with code 1/);
  calls.open();
  assert.deepEqual(asked, ["a", "b", "b", "c"]);
  answer();
  calls.answered(3);
  assert.deepEqual(await Promise.all(outcomes.slice(1)), ["done", "done"]);
});

Deno.test("calls: the time that one waits is not held against it; what takes too long has its process ended", async () => {
  const { calls, asked, late, answer } = at();
  const slow = outcome(calls.ask(task("slow"), { limit: 20 }));
  const next = outcome(calls.ask(task("next"), { limit: 1e6 }));
  calls.open();
  assert.equal(await slow, "unavailable: Cannot do this: it took more than 0.02 seconds; try again");
  assert.deepEqual([late, asked], [["convert"], ["slow"]]);
  calls.died("was ended by SIGKILL", { hope: true });
  calls.open();
  answer();
  assert.equal(await next, "done");
});

Deno.test("calls: where no process comes, or the server stops, nobody is left waiting", async () => {
  const { calls } = at();
  const waiting = ["a", "b"].map((name) => outcome(calls.ask(task(name))));
  calls.died("ended with code 1", { hope: false });
  for (const answer of waiting) assert.match(await answer, /^unavailable: .*does not start/);
  const last = outcome(calls.ask(task("c")));
  calls.stop();
  assert.match(await last, /^unavailable: .*restarted/);
  assert.match(await outcome(calls.ask(task("d"))), /^unavailable: .*restarted/);
  assert.equal(calls.pending(), 0);
});
