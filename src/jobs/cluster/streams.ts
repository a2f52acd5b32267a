/**
 * What a cluster keeps, and under which names: the streams of one namespace, their subjects, and the durable consumers that hand out work. Several installations share servers by
 * having a namespace each. Invariant: the configurations are what this file says, on every server and for ever; nothing that a user may choose changes them but the replicas.
 */
import {
  AckPolicy,
  type ConsumerConfig,
  DiscardPolicy,
  JetStreamApiError,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/nats-core";
import type { Connection } from "./connection.ts";

/** The names of everything in a namespace. */
export interface Names {
  readonly streams: Readonly<Record<StreamName, string>>;
  /** The log of a job; `*` for all. */
  job(id: string): string;
  /** The message that says that a job waits or runs. */
  queue(id: string): string;
  /** A file: of the folder, which is a job's, under a name that is used once. `>` for all of a folder. */
  file(folder: string, name: string): string;
  /** An idempotency key, by its SHA-256 in hexadecimal; or the webhooks' secret. */
  key(token: string): string;
  /** A delivery to the webhook of a job, of its event `n`; `*` for all of a job. */
  hook(id: string, n: number | string): string;
  /** What GPU machines say of themselves, again and again; no stream keeps it. */
  readonly machines: string;
  /** Where they are asked to say it at once. */
  readonly rollCall: string;
  /** Where they are asked for pictures and features. */
  readonly calls: string;
}

export type StreamName = "jobs" | "queue" | "files" | "keys" | "hooks";

/** Durable consumers: who takes jobs, who turns events into webhooks, who sends those. */
export const CONSUMERS = { workers: "workers", outbox: "outbox", deliver: "deliver" } as const;
/** So long, in ms, a job's owner may be silent before the job goes to another. */
const ACK_WAIT = 15_000;
/** A job keeps so many messages of its log. */
export const MESSAGES_KEPT = 10_000;
/** Streams of three replicas take as long to make as an election. */
const MAKING_TIMEOUT = 15_000;

/** @throws Error for what cannot be a namespace */
export function namesOf(namespace: string): Names {
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(namespace)) {
    throw new Error(
      `Cannot use the namespace ${
        JSON.stringify(namespace)
      }: it must be up to 32 small letters, digits and hyphens, a letter first`,
    );
  }
  const stream = (name: string) => `${namespace.toUpperCase()}_${name}`;
  const subject = (...tokens: (string | number)[]) => [namespace, ...tokens].join(".");
  return {
    streams: {
      jobs: stream("JOBS"),
      queue: stream("QUEUE"),
      files: stream("FILES"),
      keys: stream("KEYS"),
      hooks: stream("HOOKS"),
    },
    job: (id) => subject("jobs", id),
    queue: (id) => subject("queue", id),
    file: (folder, name) => subject("files", folder, name),
    key: (token) => subject("keys", token),
    hook: (id, n) => subject("hooks", id, n),
    machines: subject("machines"),
    rollCall: subject("machines", "call"),
    calls: subject("calls"),
  };
}

/** Makes what is not there yet. @throws Error of one line: what is wrong, and what to do */
export async function ensureStreams(connection: Connection, names: Names, replicas: 1 | 3): Promise<void> {
  const manager = await jetstreamManager(connection.nats, { timeout: MAKING_TIMEOUT, checkAPI: false });
  try {
    for (const [name, config] of Object.entries(streamConfigs(names))) {
      await manager.streams.add({ ...config, name: names.streams[name as StreamName], num_replicas: replicas });
    }
    for (const [name, config] of Object.entries(consumerConfigs())) {
      const { stream, ...rest } = config;
      await manager.consumers.add(names.streams[stream], {
        ...rest,
        durable_name: name,
        ack_policy: AckPolicy.Explicit,
        // A count that runs out would leave the message lying without a word: deaths are counted in the record.
        max_deliver: -1,
      });
    }
  } catch (cause) {
    throw new Error(`Cannot make the cluster's streams: ${whyNoStream(cause, replicas)}`, { cause });
  }
}

type Kept = Partial<StreamConfig> & { readonly subjects: string[] };

function streamConfigs(names: Names): Record<StreamName, Kept> {
  const file = { storage: StorageType.File, retention: RetentionPolicy.Limits };
  const firstWins = { max_msgs_per_subject: 1, discard: DiscardPolicy.New, discard_new_per_subject: true };
  const work = { storage: StorageType.File, retention: RetentionPolicy.Workqueue };
  return {
    // The job's record is what its leader says it is: a replica that lags must not answer.
    jobs: {
      ...file,
      subjects: [names.job("*")],
      max_msgs_per_subject: MESSAGES_KEPT,
      discard: DiscardPolicy.Old,
      duplicate_window: nanos(120_000),
      allow_direct: false,
    },
    queue: { ...work, ...firstWins, subjects: [names.queue("*")], allow_direct: false },
    // Chunks never change, so that any replica may answer.
    files: { ...file, subjects: [names.file("*", "*")], discard: DiscardPolicy.New, allow_direct: true },
    keys: { ...file, ...firstWins, subjects: [names.key("*")], allow_direct: false },
    // A delivery that failed takes its own place, with when it is due again.
    hooks: { ...work, subjects: [names.hook("*", "*")], max_msgs_per_subject: 1, allow_direct: false },
  };
}

function consumerConfigs(): Record<string, Partial<ConsumerConfig> & { readonly stream: StreamName }> {
  return {
    [CONSUMERS.workers]: { stream: "queue", ack_wait: nanos(ACK_WAIT), max_ack_pending: 10_000, max_waiting: 2048 },
    // One at a time, whoever takes it: else a job's later event might be turned into a delivery before an earlier one.
    [CONSUMERS.outbox]: { stream: "jobs", headers_only: true, ack_wait: nanos(10_000), max_ack_pending: 1 },
    // Longer than a delivery may take.
    [CONSUMERS.deliver]: { stream: "hooks", ack_wait: nanos(15_000), max_ack_pending: 100_000 }, // those that wait count
  };
}

/** What the servers have against streams of so many replicas, and what to do. */
export function whyNoStream(error: unknown, replicas: number): string {
  const code = error instanceof JetStreamApiError ? error.code : 0;
  switch (code) {
    case 10005: // no suitable peers
      return `${replicas} replicas need ${replicas} servers, and all of them up for as long as the streams are made`;
    case 10074: // replicas > 1 not supported in non-clustered mode
      return `${replicas} replicas need a cluster of ${replicas} servers, and this server stands alone; use --replicas 1, or join servers`;
    case 10058: // stream name already in use with a different configuration
      return "they are there with another configuration: use the number of replicas they were made with, or another --namespace";
    case 10023: // insufficient resources
    case 10047: // insufficient storage resources available
      return "the servers have too little storage left; make room, or raise max_file";
    case 10065: // subjects overlap with an existing stream
      return "a stream of somebody else listens to these subjects; use another --namespace";
    case 10026: // maximum number of streams reached
      return "the account may have no more streams; it needs five";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
