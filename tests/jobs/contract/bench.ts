/** What the contract's tests are written with: jobs, and those who work on them, through the ports alone. Time is the real one, for not every backend can be given another. */
import assert from "node:assert/strict";
import type { EventName, Fault, Job, JobEvent } from "../../../src/jobs/model/job.ts";
import type { Backend, Due, JobFiles, JobStore, Lease, Outbox } from "../../../src/jobs/model/ports.ts";
import type { JobRecord, NewJob } from "../../../src/jobs/model/record.ts";
import { INPUTS, type JobKind, parseWork } from "../../../src/jobs/model/work.ts";

/** A backend with nothing in it, and what can happen to the process that has it. Disposed of with all that it kept. */
export interface Bench extends AsyncDisposable {
  /** As it is now: after `reopen` and `kill` another. */
  readonly backend: Backend;
  /** The process ends as it should and another begins: closed, and opened on what was kept. No lease may be held. */
  reopen(): Promise<void>;
  /** The process dies, without a word to anyone, and another begins. Leases and deliveries that it held are nobody's. */
  kill(): Promise<void>;
}

export type Open = () => Promise<Bench>;

/** How long anything may take, in ms: whoever is silent keeps a job for up to 15 s, and an election of a new leader takes 9 s. */
const PATIENCE = 40_000;
/** How long nothing must happen to be taken for never, in ms. */
const NEVER = 400;

export function test(name: string, open: Open, use: (bench: Bench, t: Deno.TestContext) => Promise<void>): void {
  Deno.test(name, async (t) => {
    await using bench = await open();
    await use(bench, t);
  });
}

export async function until<T>(what: string, look: () => Promise<T | null | false>): Promise<T> {
  for (const deadline = Date.now() + PATIENCE;;) {
    const found = await look();
    if (found !== null && found !== false) return found;
    if (Date.now() > deadline) assert.fail(`it did not come to pass: ${what}`);
    await after(10);
  }
}

export const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

interface Wanted {
  readonly kind?: JobKind;
  readonly webhookUrl?: string;
  readonly key?: string;
  readonly digest?: string;
  readonly queue?: number;
  /** Of each picture. */
  readonly picture?: Uint8Array;
  readonly id?: string;
}

type Backing = Pick<Backend, "store" | "files" | "openUpload">;

/** Pictures taken over, not yet a job. */
export async function adopted({ files, openUpload }: Backing, wanted: Wanted = {}): Promise<NewJob> {
  const { kind = "splice", webhookUrl = null, key, digest = "d", picture = pictureOf(10) } = wanted;
  const parsed = parseWork(kind, { steps: 100, model: "splice-tiny8", ...(kind === "invert" && { feature: "keys" }) });
  assert.ok(parsed.ok);
  const id = wanted.id ?? crypto.randomUUID();
  const upload = await openUpload();
  for (const name of INPUTS[kind]) await upload.write(name, picture);
  const taken = await files.adopt(upload, id, INPUTS[kind]);
  await upload.discard();
  return { ...parsed.work, id, webhookUrl, idempotency: key === undefined ? null : { key, digest }, adopted: taken };
}

/** Queues a job. */
export async function add(backing: Backing, wanted: Wanted = {}): Promise<JobRecord> {
  return (await backing.store.create(await adopted(backing, wanted), { queue: wanted.queue ?? 1000 })).record;
}

/** Queues so many, one after the other: their ids. */
export async function addSome(backing: Backing, count: number, wanted: Wanted = {}): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) ids.push((await add(backing, wanted)).job.id);
  return ids;
}

/** Bytes that look like a PNG at their beginning and like nothing else behind it. */
export function pictureOf(bytes: number): Uint8Array {
  const picture = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 65536) crypto.getRandomValues(picture.subarray(at, at + 65536));
  picture.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].slice(0, bytes));
  return picture;
}

/** The next job to work on. */
export async function take({ source }: Pick<Backend, "source">): Promise<Lease> {
  const lease = await within("a job is given out", (signal) => source.next(signal));
  assert.equal(lease.record.job.status, "running");
  assert.equal(lease.ended.aborted, false);
  return lease;
}

export async function due({ outbox }: { readonly outbox: Pick<Outbox, "next"> }): Promise<Due> {
  return await within("a delivery is due", (signal) => outbox.next(signal));
}

/** Asserts that no job is given out, or no delivery. */
export async function none<T>(next: (signal: AbortSignal) => Promise<T | null>): Promise<void> {
  assert.equal(await whileAllowed(NEVER, next), null);
}

async function within<T>(what: string, next: (signal: AbortSignal) => Promise<T | null>): Promise<T> {
  const found = await whileAllowed(PATIENCE, next);
  assert.ok(found !== null, `it did not come to pass: ${what}`);
  return found;
}

async function whileAllowed<T>(ms: number, next: (signal: AbortSignal) => Promise<T | null>): Promise<T | null> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), ms);
  try {
    return await next(patience.signal);
  } finally {
    clearTimeout(timer);
  }
}

export const startedEvent = { adapter: "a", model: "m", steps: 100, step: 0 };

export function pace(step: number) {
  const left = (100 - step) / 2.5;
  return { step, steps: 100, losses: { total: 1 / (step + 1) }, steps_per_second: 2.5, eta_seconds: left };
}

/** Tells of a step, and waits until the job is seen to have done it: of steps told faster only the newest need be kept. */
export async function step({ store }: Pick<Backend, "store">, lease: Lease, at: number): Promise<void> {
  lease.progress(pace(at), [0.1]);
  const { id } = lease.record.job;
  await until(`step ${at} is seen`, async () => (await store.get(id))?.job.step === at);
}

/** Tells that work has begun, and waits until the job is seen to have. */
export async function start({ store }: Pick<Backend, "store">, lease: Lease, from = 0): Promise<void> {
  const { id } = lease.record.job;
  const starts = async () => (await told(store, id)).filter(({ name }) => name === "started").length;
  const before = await starts();
  lease.started({ ...startedEvent, step: from });
  await until("the start is seen", async () => await starts() > before);
}

/** Works off the oldest job that waits. */
export async function runOne(backend: Pick<Backend, "store" | "source">): Promise<string> {
  const lease = await take(backend);
  await finish(lease);
  return lease.record.job.id;
}

/** Leaves a result, and ends the job. */
export async function finish(lease: Lease, result = pictureOf(20)): Promise<void> {
  await Deno.writeFile(`${lease.folder}/result.png`, result);
  if (lease.record.job.kind === "splice") await Deno.writeTextFile(`${lease.folder}/generator.safetensors`, "weights");
  await lease.succeed();
}

type Told = JobEvent & { readonly id: number };

/** The job's events, all of them, parsed. */
export async function told(store: Pick<JobStore, "events">, id: string): Promise<Told[]> {
  const events = await store.events(id, { after: 0, limit: 100_000 });
  return events.map(({ id, name, data }) => ({ id, name, data: JSON.parse(data) }));
}

export async function namesOf(store: Pick<JobStore, "events">, id: string): Promise<EventName[]> {
  return (await told(store, id)).map(({ name }) => name);
}

export async function job(store: Pick<JobStore, "get">, id: string): Promise<Job> {
  return (await record(store, id)).job;
}

export async function record(store: Pick<JobStore, "get">, id: string): Promise<JobRecord> {
  const found = await store.get(id);
  assert.ok(found !== null, `there is no job ${id}`);
  return found;
}

/** Waits until what is looked at is as it should be: lists, counts and places may be told a little late. */
export async function becomes<T>(look: () => T | Promise<T>, wanted: T): Promise<void> {
  const right = async () => {
    try {
      assert.deepEqual(await look(), wanted);
      return true;
    } catch {
      return false;
    }
  };
  await until("it is as it should be", right).catch(async () => assert.deepEqual(await look(), wanted));
}

/** Waits until the jobs have these places in the queue. */
export async function places(store: Pick<JobStore, "get">, ids: readonly string[], wanted: readonly (number | null)[]) {
  await becomes(() => Promise.all(ids.map(async (id) => (await store.get(id))?.job.position ?? null)), [...wanted]);
}

/** What there is of a job's pictures and results, by name. */
export async function filesOf(files: JobFiles, of: JobRecord): Promise<string[]> {
  const names = ["result", "trained", "preview", "generator"] as const;
  const found = await Promise.all(names.map(async (name) => await files.open(of, name) !== null));
  const inputs = await Promise.all(INPUTS[of.job.kind].map(async (name) => await files.input(of, name) !== null));
  return [...INPUTS[of.job.kind].filter((_, at) => inputs[at]), ...names.filter((_, at) => found[at])];
}

export async function bytesOf(opening: Promise<{ readonly stream: ReadableStream<Uint8Array> }>): Promise<Uint8Array> {
  return await new Response((await opening).stream as ReadableStream<Uint8Array<ArrayBuffer>>).bytes();
}

/** For assert.throws and assert.rejects. */
export function isFault(code: Fault["code"], pattern = /./) {
  return (error: unknown): boolean => {
    const fault = error as Fault;
    return fault.name === "Fault" && fault.code === code && pattern.test(fault.message);
  };
}
