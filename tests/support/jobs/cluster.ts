/** A connection to servers that a test started, with the streams made, and jobs to put there. */
import { connectCluster, type Connection, parseAddresses } from "../../../src/jobs/cluster/connection.ts";
import type { Housekeeping } from "../../../src/jobs/cluster/housekeeping.ts";
import { type At, type Log, openLog } from "../../../src/jobs/cluster/log.ts";
import { type NodeOptions, openNode } from "../../../src/jobs/cluster/node.ts";
import { type AdoptedFiles, created, type Snapshot } from "../../../src/jobs/cluster/snapshot.ts";
import { ensureStreams, type Names, namesOf } from "../../../src/jobs/cluster/streams.ts";
import type { CountedEvent } from "../../../src/jobs/model/job.ts";
import type { JobStore } from "../../../src/jobs/model/ports.ts";
import type { NewJob } from "../../../src/jobs/model/record.ts";
import { parseRecipe } from "../../../src/splice/transfer/recipe.ts";
import type { Nats } from "../nats.ts";

export interface Joined extends AsyncDisposable {
  readonly connection: Connection;
  readonly names: Names;
  readonly log: Log;
}

/** A node that answers questions, and can do what GPU machines do to a job's log. */
export interface Serving extends Joined {
  readonly store: JobStore;
  readonly housekeeping: Housekeeping;
  /** What listeners of the store were told. */
  readonly heard: (string | null)[];
  readonly counted: CountedEvent[];
  /** Writes what follows the job's last message. */
  write(id: string, change: (snap: Snapshot) => Snapshot): Promise<At>;
  /** All events of the job, parsed. */
  told(id: string): Promise<{ id: number; name: string; data: Record<string, unknown> }[]>;
}

/** Joins as one more node of `namespace`. */
export async function join(
  nats: Nats,
  { namespace = "splice" }: { readonly namespace?: string } = {},
): Promise<Joined> {
  const addresses = parseAddresses(nats.addresses);
  const connection = await connectCluster({ addresses, credentials: {}, ca: null, name: "test", log: () => {} });
  const names = namesOf(namespace);
  await ensureStreams(connection, names, nats.servers.length === 1 ? 1 : 3);
  const log = openLog(connection, names);
  return { connection, names, log, [Symbol.asyncDispose]: () => connection.close() };
}

/** Joins, and keeps a roster. */
export async function serve(
  nats: Nats,
  given: Partial<NodeOptions> & { readonly namespace?: string } = {},
): Promise<Serving> {
  const joined = await join(nats, given);
  const { connection, names, log } = joined;
  const node = await openNode({ connection, names, log, complain: (text) => console.log(text), ...given });
  const { store, housekeeping } = node;
  const heard: (string | null)[] = [];
  const counted: CountedEvent[] = [];
  store.onChange((id) => heard.push(id));
  store.onCount((event) => counted.push(event));
  return {
    ...joined,
    store,
    housekeeping,
    heard,
    counted,
    async write(id, change) {
      const at = await log.last(id);
      return await log.append(at, change(at!.snap));
    },
    async told(id) {
      const { last } = (await store.sight(id))!;
      const events = [];
      for (let after = 0; after < last;) {
        const some = await store.events(id, { after, limit: 100 });
        events.push(...some.map(({ data, ...event }) => ({ ...event, data: JSON.parse(data) })));
        after = some.at(-1)!.id;
      }
      return events;
    },
    async [Symbol.asyncDispose]() {
      await node.close();
      await connection.close();
    },
  };
}

/** Resolves once it holds. */
export async function until(holds: () => boolean | Promise<boolean>, patience = 10_000): Promise<void> {
  const deadline = performance.now() + patience;
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error(`It did not come to pass: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A job of 100 steps whose pictures were never put anywhere. */
export function newJob(given: Partial<NewJob> = {}): NewJob & { readonly adopted: AdoptedFiles } {
  const parsed = parseRecipe({ steps: 100 });
  if (!parsed.ok) throw new Error(parsed.errors[0].message);
  const id = given.id ?? crypto.randomUUID();
  const file = { subject: `splice.files.${id}.x`, runs: [[1, 1]] as const, bytes: 5, sha256: "0".repeat(64) };
  const input = { file, type: "image/png", upright: true };
  const inputs = { structure: input, appearance: input };
  const adopted = { bytes: 10, folder: id, inputs };
  return { kind: "splice", options: parsed.recipe, webhookUrl: null, idempotency: null, ...given, id, adopted } as
    & NewJob
    & {
      adopted: AdoptedFiles;
    };
}

export function firstSnapshot(given: Partial<NewJob> = {}): Snapshot {
  return created(newJob(given), { place: 1, key: null, at: new Date("2026-01-01T00:00:00Z") });
}
