/** A process that writes jobs as fast as it can, and says of each write that it is done: "job last-event". It runs until it is killed. */
import { openStore } from "../../../src/jobs/local/store.ts";
import { pace, recipe, startedEvent } from "./job_store.ts";

const store = openStore(Deno.args[0]);
const encoder = new TextEncoder();
const options = recipe();

function acknowledge(id: string): void {
  Deno.stdout.writeSync(encoder.encode(`${id} ${store.kept(id)!.last}\n`));
}

store.recover();
for (;;) {
  const fresh = crypto.randomUUID();
  const job = {
    id: fresh,
    kind: "splice",
    options,
    webhookUrl: "https://example.org/",
    idempotency: null,
    bytes: 1,
  } as const;
  store.create(job, { queue: 1e6 });
  acknowledge(fresh);
  const { id } = store.claim()!.job;
  store.started(id, startedEvent);
  acknowledge(id);
  for (let step = 1; step <= 3; step++) {
    store.progress(id, pace(step));
    acknowledge(id);
  }
  store.succeed(id, 1);
  acknowledge(id);
}
