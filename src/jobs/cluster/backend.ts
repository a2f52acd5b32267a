/**
 * Jobs kept in a cluster: a NATS JetStream that any number of servers and GPU machines share. A process has nothing of its own but what is under way, in a folder that may be lost at any time.
 */
import { join } from "node:path";
import type { StoreOptions } from "../../weights/store/store.ts";
import { lockFolder } from "../machine/folder_lock.ts";
import { findModelForJob } from "../machine/find_model.ts";
import type { Backend, JobSource, OwnWorkers, WorkBackend } from "../model/ports.ts";
import { openChunks } from "./chunks.ts";
import {
  checkCredentials,
  type ClusterAddresses,
  connectCluster,
  type Credentials,
  parseAddresses,
} from "./connection.ts";
import { openClusterFiles } from "./files/job_files.ts";
import { openLog } from "./log.ts";
import { announce } from "./machines/announcing.ts";
import { answerCalls } from "./machines/answering.ts";
import { openAsking } from "./machines/asking.ts";
import { openMachines } from "./machines/machines.ts";
import { openRoll } from "./machines/roll.ts";
import { openSource } from "./machines/source.ts";
import { openNode } from "./node.ts";
import { openOutbox } from "./outbox.ts";
import { ensureStreams, type Names, namesOf } from "./streams.ts";

/** Which cluster, and how to get in. */
export interface Place {
  readonly addresses: ClusterAddresses;
  readonly names: Names;
  readonly replicas: 1 | 3;
  readonly credentials: Credentials;
  /** PEM text; null for what the system trusts alone. */
  readonly ca: string | null;
}

export interface ClusterOptions extends Place {
  /** For what is under way on this machine: each process takes a folder of its own in it, and empties that at its start. */
  readonly folder: string;
  /** The models of this machine. */
  readonly models: StoreOptions;
  /** What the servers call this process in their lists. */
  readonly name: string;
  /** Aborted when the process begins to stop. What cannot be written for a while after that goes on elsewhere, as after a death. */
  readonly stopping: AbortSignal;
  /** Of fetched and converted files, so many bytes are kept at hand. */
  readonly cacheBytes?: number;
  readonly now?: () => Date;
  log(text: string): void;
}

const CACHE_BYTES = 2 ** 30;
/** From the first sign of stopping, in ms: workers have 25 s to save. */
const LAST_CHANCE = 45_000;

/** @throws Error of one line, for addresses, names and credentials that cannot be any */
export function readPlace({ addresses, namespace, ...place }: Omit<Place, "addresses" | "names"> & {
  readonly addresses: string;
  readonly namespace: string;
}): Place {
  checkCredentials(place.credentials);
  return { ...place, addresses: parseAddresses(addresses), names: namesOf(namespace) };
}

/** For a server. Resolves once all jobs are known. @throws Error of one line: what is wrong, and what to do */
export async function openCluster(options: ClusterOptions): Promise<Backend> {
  await using opening = new AsyncDisposableStack();
  const base = await openBase(options, opening);
  const { cacheBytes = CACHE_BYTES } = options;
  const { folder, log, chunks } = base;
  const node = await openNode(base);
  opening.defer(() => node.close());
  const files = await openClusterFiles({ log, chunks, folder, cacheBytes });
  const roll = openRoll(base);
  opening.defer(() => roll.close());
  const asking = openAsking(base);
  opening.defer(() => asking.close());
  const outbox = openOutbox(base);
  const opened = opening.move();
  return {
    store: node.store,
    files,
    source: sourceOf(base, options),
    outbox,
    openUpload: files.openUpload,
    join(own) {
      takePart(own, { base, options, opened });
      return openMachines({ connected: base.connection.connected, roll, asking, own });
    },
    close: () => opened.disposeAsync(),
  };
}

/** For a GPU machine that answers nobody: it takes jobs and calls. @throws Error of one line: what is wrong, and what to do */
export async function openClusterMachine(
  options: ClusterOptions,
): Promise<WorkBackend> {
  await using opening = new AsyncDisposableStack();
  const base = await openBase(options, opening);
  const opened = opening.move();
  return {
    source: sourceOf(base, options),
    join: (own) => takePart(own, { base, options, opened }),
    close: () => opened.disposeAsync(),
  };
}

type Base = Awaited<ReturnType<typeof openBase>>;

/** What servers and GPU machines both stand on. */
async function openBase(options: ClusterOptions, opened: AsyncDisposableStack) {
  const { names, replicas, log: complain, now = () => new Date() } = options;
  const folder = await takeFolder(options.folder, opened);
  const connection = await connectCluster(options);
  opened.defer(() => connection.close());
  await ensureStreams(connection, names, replicas);
  const closing = closingOf(options.stopping, opened);
  const log = openLog(connection, names);
  const chunks = openChunks(connection, names);
  return { connection, names, folder, log, chunks, closing, now, complain };
}

function sourceOf(base: Base, { models }: ClusterOptions): JobSource {
  const hasModel = (name: string | undefined) => findModelForJob(name, models).then(() => true, () => false);
  return openSource({ ...base, folder: join(base.folder, "jobs"), hasModel });
}

/** With the workers of this process, where it has any. */
function takePart(
  own: OwnWorkers,
  { base, options: { models }, opened }: {
    readonly base: Base;
    readonly options: ClusterOptions;
    readonly opened: AsyncDisposableStack;
  },
): void {
  if (own.workers() === 0) return;
  const announcing = announce({ ...base, own, models });
  const answering = answerCalls({ ...base, folder: join(base.folder, "calls"), own });
  opened.defer(() => answering.close());
  opened.defer(() => announcing.close());
}

/** A folder in the one that is given, which processes of this machine share: the first that no other has, empty, and this process's alone from now on. */
async function takeFolder(given: string, opened: AsyncDisposableStack): Promise<string> {
  try {
    for (let number = 1;; number++) {
      const folder = join(given, `cluster-${number}`);
      await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
      const lock = lockFolder(folder);
      if (lock === null) continue;
      opened.defer(() => lock.release());
      for (const name of ["jobs", "calls", "uploads", "cache"]) {
        await Deno.remove(join(folder, name), { recursive: true }).catch(() => {});
        await Deno.mkdir(join(folder, name), { mode: 0o700 });
      }
      return folder;
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot use the folder ${given}: ${why}; name one that can be written with --data`, { cause });
  }
}

/** Aborted when all is closed, or should be: where the cluster is away, nobody else would say so. */
function closingOf(stopping: AbortSignal, opened: AsyncDisposableStack): AbortSignal {
  const closing = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const close = () => closing.abort(new Error("the process stops"));
  const soon = () => timer = setTimeout(close, LAST_CHANCE);
  stopping.addEventListener("abort", soon);
  opened.defer(() => {
    stopping.removeEventListener("abort", soon);
    clearTimeout(timer);
    close();
  });
  return closing.signal;
}
