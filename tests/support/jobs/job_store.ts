/** A store of jobs in a folder of its own, with a clock that the test moves. */
import type { Fault } from "../../../src/jobs/model/job.ts";
import { type JobRecord, type JobStore, openStore, type StoreOptions } from "../../../src/jobs/local/store.ts";
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
  readonly store: JobStore;
  /** Milliseconds since 1970; the store reads it. */
  clock: number;
  /** Queues a job. */
  add(options?: Added): JobRecord;
  /** The job's events, all of them, parsed. */
  told(id: string): { id: number; name: string; data: Record<string, unknown> }[];
  /** Closes the store and opens the same file. */
  reopen(options?: StoreOptions): JobStore;
}

export async function atBench(use: (bench: Bench) => void | Promise<void>, options: StoreOptions = {}): Promise<void> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/splice.sqlite`;
  const settings = { now: () => new Date(bench.clock), ...options };
  let store = openStore(path, settings);
  const bench: Bench = {
    folder,
    clock: Date.parse("2026-01-01T00:00:00Z"),
    get store() {
      return store;
    },
    add({ webhookUrl, key, digest = "d", queue = 1000, bytes = 10 } = {}) {
      const idempotency = key === undefined ? null : { key, digest };
      const job = {
        id: crypto.randomUUID(),
        kind: "splice" as const,
        options: recipe({ steps: 100 }),
        webhookUrl: webhookUrl ?? null,
        idempotency,
        bytes,
      };
      return store.create(job, { queue }).record;
    },
    told: (id) =>
      store.events(id, { after: 0, limit: 1e6 }).map(({ id, name, data }) => ({ id, name, data: JSON.parse(data) })),
    reopen(changed = {}) {
      store.close();
      return store = openStore(path, { ...settings, ...changed });
    },
  };
  try {
    await use(bench);
  } finally {
    store.close();
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
