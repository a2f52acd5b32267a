/**
 * From a request to a queued job: options, model, idempotency key, pictures and memory are looked at in this order, the cheap before the dear, and nothing is kept of
 * what is refused. Invariant: a job's files lie in its folder before the store knows of it.
 */
import { join } from "node:path";
import { modelName, type StoreOptions } from "../weights/store/store.ts";
import type { DataFiles } from "./local/files.ts";
import { Fault, type FieldError, type Job } from "./model/job.ts";
import type { Device, Task } from "./model/messages.ts";
import type { CreateRequest, Upload } from "./model/service.ts";
import type { JobStore } from "./local/store.ts";
import { findModelForJob } from "./workers/find_model.ts";
import { INPUTS, type JobKind, parseWork, type Work, workOf } from "./model/work.ts";

export interface CreationOptions {
  readonly store: JobStore;
  readonly files: DataFiles;
  readonly models: StoreOptions;
  /** How many jobs may wait. */
  readonly queue: number;
  /** Asks the inspector. @throws Fault */
  inspect(task: Extract<Task, { task: "inspect" }>): Promise<void>;
  /** The device that jobs will run on, null while none is open; and the bytes that running jobs hold of it. */
  device(): { readonly device: Device | null; readonly plannedBytes: number };
  /** @throws Fault invalid_options for an address that is not to be called */
  checkWebhook(url: string): void;
}

/** Queues a job, or finds the one that an earlier request with the same key made. @throws Fault */
export async function createJob(
  { upload, kind, fields, webhookUrl, idempotencyKey }: CreateRequest,
  { store, files, models, queue, inspect, device, checkWebhook }: CreationOptions,
): Promise<{ job: Job; replayed: boolean }> {
  const asked = checkOptions(kind, fields, () => webhookUrl === null ? undefined : checkWebhook(webhookUrl));
  const idempotency = idempotencyKey === null
    ? null
    : { key: idempotencyKey, digest: await digestOf({ upload, work: asked, webhookUrl }) };
  const known = idempotency && store.find(idempotency);
  if (known) return { job: known.job, replayed: true };

  const model = await findModelForJob(asked.options.model, models);
  const work = workOf(asked, modelName(model));
  const { device: current, plannedBytes } = device();
  await inspect({
    task: "inspect",
    pictures: INPUTS[kind].map((field) => ({ field, path: join(upload.folder, field) })),
    training: { work, model, device: current, freed: plannedBytes },
  });

  const id = crypto.randomUUID();
  await files.adopt(upload, id);
  try {
    const bytes = await files.sizeOf(id);
    const { record, replayed } = store.create({ id, ...work, webhookUrl, idempotency, bytes }, { queue });
    if (replayed) await files.removeJob(id); // the same request came twice at once
    return { job: record.job, replayed };
  } catch (error) {
    await files.removeJob(id);
    throw error;
  }
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
