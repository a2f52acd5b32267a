/**
 * From a request to a queued job: options, model, idempotency key, pictures and memory are looked at in this order, the cheap before the dear, and nothing is kept of
 * what is refused. Invariant: a job's pictures are kept before the store knows of it.
 */
import { join } from "node:path";
import { Fault, type FieldError, type Job } from "./model/job.ts";
import type { Task } from "./model/messages.ts";
import type { JobFiles, JobStore, Machines } from "./model/ports.ts";
import type { CreateRequest, Upload } from "./model/service.ts";
import { INPUTS, type JobKind, parseWork, type Work, workOf } from "./model/work.ts";

export interface CreationOptions {
  readonly store: Pick<JobStore, "find" | "create">;
  readonly files: Pick<JobFiles, "adopt">;
  /** Those that jobs will run on. */
  readonly machines: Pick<Machines, "model" | "device" | "plannedBytes">;
  /** How many jobs may wait. */
  readonly queue: number;
  /** Asks the inspector. @throws Fault */
  inspect(task: Extract<Task, { task: "inspect" }>): Promise<void>;
  /** @throws Fault invalid_options for an address that is not to be called */
  checkWebhook(url: string): void;
}

/** Queues a job, or finds the one that an earlier request with the same key made. @throws Fault */
export async function createJob(
  { upload, kind, fields, webhookUrl, idempotencyKey }: CreateRequest,
  { store, files, machines, queue, inspect, checkWebhook }: CreationOptions,
): Promise<{ job: Job; replayed: boolean }> {
  const asked = checkOptions(kind, fields, () => webhookUrl === null ? undefined : checkWebhook(webhookUrl));
  const idempotency = idempotencyKey === null
    ? null
    : { key: idempotencyKey, digest: await digestOf({ upload, work: asked, webhookUrl }) };
  const known = idempotency && await store.find(idempotency);
  if (known) return { job: known.job, replayed: true };

  const model = await machines.model(asked.options.model);
  const work = workOf(asked, model.name);
  await inspect({
    task: "inspect",
    pictures: INPUTS[kind].map((field) => ({ field, path: join(upload.folder, field) })),
    training: { work, model, device: machines.device(), freed: machines.plannedBytes() },
  });

  const id = crypto.randomUUID();
  const adopted = await files.adopt(upload, id, INPUTS[kind]);
  const { record, replayed } = await store.create({ id, ...work, webhookUrl, idempotency, adopted }, { queue });
  return { job: record.job, replayed };
}

/** All that is wrong with the options and the webhook's address, at once. */
function checkOptions(kind: JobKind, fields: Readonly<Record<string, unknown>>, checkWebhook: () => void): Work {
  const errors: FieldError[] = [];
  const parsed = parseWork(kind, fields);
  if (!parsed.ok) errors.push(...parsed.errors);
  try {
    checkWebhook();
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    errors.push(...error.errors);
  }
  if (parsed.ok && errors.length === 0) return parsed.work;
  throw new Fault("invalid_options", errors.map(({ message }) => message).join("; "), { errors });
}

/** All that a request asks for, as SHA-256. */
async function digestOf(
  { upload, work, webhookUrl }: { upload: Upload; work: Work; webhookUrl: string | null },
): Promise<string> {
  const parts = [JSON.stringify([work.options, webhookUrl])]; // no two kinds have the same options
  for (const name of INPUTS[work.kind]) parts.push(await sha256(await Deno.readFile(join(upload.folder, name))));
  return await sha256(new TextEncoder().encode(parts.join("\n")));
}

/** Off this thread, which has others to answer. */
async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
