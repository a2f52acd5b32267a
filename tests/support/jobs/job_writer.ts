/** A process that writes jobs as fast as it can, and says of each write that it is done: "job last-event". It runs until it is killed. */
import { openLedger } from "../../../src/jobs/local/ledger.ts";
import { pace, recipe, startedEvent } from "./job_store.ts";

const ledger = openLedger(Deno.args[0]);
const encoder = new TextEncoder();
const options = recipe();

function acknowledge(id: string): void {
  Deno.stdout.writeSync(encoder.encode(`${id} ${ledger.sight(id)!.last}\n`));
}

ledger.recover();
for (;;) {
  const fresh = crypto.randomUUID();
  const job = {
    id: fresh,
    kind: "splice",
    options,
    webhookUrl: "https://example.org/",
    idempotency: null,
    adopted: { bytes: 1 },
  } as const;
  ledger.create(job, { queue: 1e6 });
  acknowledge(fresh);
  const { id } = ledger.claim()!.job;
  ledger.started(id, startedEvent);
  acknowledge(id);
  for (let step = 1; step <= 3; step++) {
    ledger.progress(id, pace(step), []);
    acknowledge(id);
  }
  ledger.succeed(id, 1);
  acknowledge(id);
}
