/**
 * A floor of workers: a data folder of its own, a ledger, and a supervisor with real processes. What the workers are is the test's choice.
 */
import { type CountedEvent, isFinal, type Job } from "../../../src/jobs/model/job.ts";
import { openFiles } from "../../../src/jobs/local/files.ts";
import { type Ledger, openLedger } from "../../../src/jobs/local/ledger.ts";
import { openSource } from "../../../src/jobs/local/source.ts";
import { openSupervisor, type Supervisor } from "../../../src/jobs/workers/supervisor.ts";
import { type InputName, INPUTS, kindSchema, parseWork } from "../../../src/jobs/model/work.ts";
import { standIn } from "./stand_in.ts";

export interface Floor {
  readonly folder: string;
  readonly ledger: Ledger;
  readonly supervisor: Supervisor;
  readonly counted: CountedEvent[];
  readonly logged: string[];
  /** Queues a job, a transfer unless `kind` is among the options; pictures that are not given are no pictures. */
  create(
    options: Readonly<Record<string, unknown>>,
    pictures?: Readonly<Partial<Record<InputName, Uint8Array>>>,
  ): Promise<string>;
  /** Resolves when the job is as `wanted`. */
  until(id: string, wanted: (job: Job) => boolean): Promise<Job>;
  ended(id: string): Promise<Job>;
  names(id: string): string[];
}

export interface FloorOptions {
  readonly workers?: number;
  /** What to start for a worker on this data folder; default: a stand-in. */
  command?(folder: string): { command: string; args: string[] };
  readonly model?: string;
}

export async function onFloor(options: FloorOptions, use: (floor: Floor) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const files = openFiles(folder);
  const ledger = openLedger(files.database);
  const counted: CountedEvent[] = [];
  const logged: string[] = [];
  const stopping = new AbortController();
  const log = (text: string) => logged.push(text);
  ledger.onCount((event) => counted.push(event));
  const supervisor = openSupervisor({
    source: openSource({ ledger, files, stopping: stopping.signal, log }),
    command: options.command?.(folder) ?? standIn(),
    workers: options.workers ?? 1,
    findModel: () => Promise.resolve(options.model ?? "model.safetensors"),
    onCount: (event) => counted.push(event),
    log,
  });
  function until(id: string, wanted: (job: Job) => boolean): Promise<Job> {
    return new Promise((resolve) => {
      const forget = ledger.onChange(look);
      function look() {
        const job = ledger.get(id)!.job;
        if (!wanted(job)) return;
        forget();
        resolve(job);
      }
      look();
    });
  }
  try {
    await use({
      folder,
      ledger,
      supervisor,
      counted,
      logged,
      async create({ kind: wanted, ...options }, pictures) {
        const kind = kindSchema.parse(wanted ?? "splice");
        const id = crypto.randomUUID();
        const upload = await files.openUpload();
        for (const name of INPUTS[kind]) {
          await upload.write(name, pictures?.[name] ?? new Uint8Array([1, 2, 3]));
        }
        await files.adopt(upload, id);
        const idle = { model: "stand-in", preview_every: 0, ...options };
        const parsed = parseWork(kind, idle);
        if (!parsed.ok) throw new Error(parsed.errors[0].message);
        const adopted = { bytes: 3 };
        ledger.create({ id, ...parsed.work, webhookUrl: null, idempotency: null, adopted }, { queue: 100 });
        return id;
      },
      until,
      ended: (id) => until(id, ({ status }) => isFinal(status)),
      names: (id) => ledger.events(id, { after: 0, limit: 1000 }).map(({ name }) => name),
    });
  } finally {
    stopping.abort();
    await supervisor.stop(5000);
    ledger.close();
    await Deno.remove(folder, { recursive: true });
  }
}
