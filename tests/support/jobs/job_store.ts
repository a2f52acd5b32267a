/** Jobs kept in a folder of its own, with a clock that the test moves: the ledger, and the ports over it. */
import { type DataFiles, openFiles } from "../../../src/jobs/local/files.ts";
import { type Ledger, type LedgerOptions, openLedger } from "../../../src/jobs/local/ledger.ts";
import { openOutbox } from "../../../src/jobs/local/outbox.ts";
import { openStore } from "../../../src/jobs/local/store.ts";
import type { Fault } from "../../../src/jobs/model/job.ts";
import type { JobStore, Outbox } from "../../../src/jobs/model/ports.ts";
import type { JobRecord } from "../../../src/jobs/model/record.ts";
import { parseRecipe, type Recipe } from "../../../src/splice/transfer/recipe.ts";

export function recipe(fields: Readonly<Record<string, unknown>> = {}): Recipe {
  const parsed = parseRecipe(fields);
  if (!parsed.ok) throw new Error(parsed.errors[0].message);
  return parsed.recipe;
}

interface Added {
  readonly webhookUrl?: string;
  readonly key?: string;
  readonly digest?: string;
  readonly queue?: number;
  readonly bytes?: number;
}

export interface Bench {
  readonly folder: string;
  readonly ledger: Ledger;
  /** What is told of its files goes nowhere. */
  readonly files: DataFiles;
  readonly store: JobStore;
  readonly outbox: Outbox;
  /** Milliseconds since 1970; the store reads it. */
  clock: number;
  /** Queues a job. */
  add(options?: Added): JobRecord;
  /** The job's events, all of them, parsed. */
  told(id: string): { id: number; name: string; data: Record<string, unknown> }[];
  /** Closes the ledger and opens the same file. */
  reopen(options?: LedgerOptions): Ledger;
}

export async function atBench(use: (bench: Bench) => void | Promise<void>, options: LedgerOptions = {}): Promise<void> {
  const folder = await Deno.makeTempDir();
  const files = openFiles(folder);
  const settings = { now: () => new Date(bench.clock), ...options };
  let ledger = openLedger(files.database, settings);
  const bench: Bench = {
    folder,
    files,
    clock: Date.parse("2026-01-01T00:00:00Z"),
    get ledger() {
      return ledger;
    },
    get store() {
      return openStore({ ledger, files, log: () => {} });
    },
    get outbox() {
      return openOutbox({ ledger, folder, now: settings.now });
    },
    add({ webhookUrl, key, digest = "d", queue = 1000, bytes = 10 } = {}) {
      const idempotency = key === undefined ? null : { key, digest };
      const job = {
        id: crypto.randomUUID(),
        kind: "splice" as const,
        options: recipe({ steps: 100 }),
        webhookUrl: webhookUrl ?? null,
        idempotency,
        adopted: { bytes },
      };
      return ledger.create(job, { queue }).record;
    },
    told: (id) =>
      ledger.events(id, { after: 0, limit: 1e6 }).map(({ id, name, data }) => ({ id, name, data: JSON.parse(data) })),
    reopen(changed = {}) {
      ledger.close();
      return ledger = openLedger(files.database, { ...settings, ...changed });
    },
  };
  try {
    await use(bench);
  } finally {
    ledger.close();
    await Deno.remove(folder, { recursive: true });
  }
}

export const startedEvent = { adapter: "a", model: "m", steps: 100, step: 0 };

export function pace(step: number) {
  return {
    step,
    steps: 100,
    losses: { total: 1 / (step + 1) },
    steps_per_second: 2.5,
    eta_seconds: (100 - step) / 2.5,
  };
}

/** For assert.throws. */
export function isFault(code: Fault["code"], pattern = /./) {
  return (error: unknown): boolean => {
    const fault = error as Fault;
    return fault.name === "Fault" && fault.code === code && pattern.test(fault.message);
  };
}
