/** What `splice doctor` finds of a cluster: each server by itself, JetStream, the streams and their replicas, and whether anybody is there to train. Changes nothing. */
import { JetStreamApiError, StorageType, type StreamInfo } from "@nats-io/jetstream";
import { nuid } from "@nats-io/nats-core";
import { connectCluster, type Connection, type ConnectionOptions, isAtLeast } from "./connection.ts";
import { insist } from "./faults.ts";
import { openRoll } from "./machines/roll.ts";
import { type Names, namesOf, whyNoStream } from "./streams.ts";

export interface Finding {
  readonly verdict: "ok" | "note" | "FAIL";
  readonly text: string;
  readonly remedy?: string;
}

export interface ClusterOptions extends Pick<ConnectionOptions, "addresses" | "credentials" | "ca"> {
  readonly namespace: string;
  readonly replicas: 1 | 3;
}

/** Acknowledgements survive its death, and writers who are on their way at once are told from each other by the server itself. */
const RECOMMENDED = [2, 10, 27];

/** Whoever is there answers at once, from wherever, in ms. */
const ROLL_CALL = 1000;
/** An election takes up to 9 s, and is none of the things to find. */
const PATIENT = { patience: 12_000 };

/** Never rejects: what cannot be looked at is a finding. */
export async function examineCluster(options: ClusterOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  let connection: Connection | null = null;
  for (const server of options.addresses.servers) {
    try {
      const one = await connectCluster({
        ...options,
        addresses: { ...options.addresses, servers: [server] },
        name: "splice doctor",
        log: () => {},
      });
      findings.push(versionOf(one, server));
      if (connection === null) connection = one;
      else await one.close();
    } catch (error) {
      findings.push({ verdict: "FAIL", text: reasonOf(error) });
    }
  }
  if (connection === null) return findings;
  try {
    findings.push(await roomIn(connection), ...await streamsIn(connection, options));
  } catch (error) {
    findings.push({ verdict: "FAIL", text: `JetStream cannot be looked at: ${reasonOf(error)}` });
  } finally {
    await connection.close();
  }
  return findings;
}

function versionOf({ nats }: Connection, server: string): Finding {
  const version = nats.info?.version ?? "";
  const text = `${server} runs nats-server ${version}`;
  return isAtLeast(version, RECOMMENDED)
    ? { verdict: "ok", text }
    : { verdict: "note", text, remedy: `${RECOMMENDED.join(".")} or newer keeps acknowledgements over its own death` };
}

async function roomIn({ manager }: Connection): Promise<Finding> {
  const { storage, limits } = await insist(() => manager.getAccountInfo(), PATIENT);
  const used = `${(storage / 1e6).toFixed(0)} MB are used`;
  if (limits.max_storage < 0) {
    return { verdict: "ok", text: `JetStream is there; ${used}, up to max_file of the servers` };
  }
  const text = `JetStream is there; ${used} of the account's ${(limits.max_storage / 1e6).toFixed(0)} MB`;
  const left = limits.max_storage - storage;
  return left > 0.1 * limits.max_storage
    ? { verdict: "ok", text }
    : { verdict: left > 0 ? "note" : "FAIL", text, remedy: "give the account more, or keep jobs for a shorter time" };
}

async function streamsIn(connection: Connection, { namespace, replicas }: ClusterOptions): Promise<Finding[]> {
  const names = namesOf(namespace);
  const infos = await Promise.all(Object.values(names.streams).map((name) => infoOf(connection, name)));
  const made = infos.filter((info) => info !== null);
  if (made.length === 0) return [await tryToMake(connection, names.streams.jobs, replicas)];
  const findings: Finding[] = [];
  for (const { config, cluster } of made) {
    const away = (cluster?.replicas ?? []).filter(({ current, offline }) => offline || !current);
    if (config.num_replicas !== replicas) {
      findings.push({
        verdict: "FAIL",
        text: `${config.name} has been made with --replicas ${config.num_replicas}`,
        remedy: `use that, or another --namespace`,
      });
    } else if (cluster && !cluster.leader) {
      findings.push({
        verdict: "FAIL",
        text: `${config.name} has no leader`,
        remedy: "more than half of its servers have to be up",
      });
    } else if (away.length > 0) {
      const text = `${config.name}: ${away.map(({ name }) => name).join(" and ")} lag behind or are away`;
      findings.push({ verdict: "note", text, remedy: "one more that fails, and nothing can be written" });
    }
  }
  if (findings.length === 0) {
    const copies = replicas === 1 ? "one copy of everything" : `${replicas} copies of everything, all up to date`;
    findings.push({ verdict: "ok", text: `the streams of namespace ${namespace}: ${copies}` });
  }
  const { workers, ready } = await rollCall(connection, names);
  findings.push(
    workers > 0
      ? { verdict: "ok", text: `${workers} GPU ${workers === 1 ? "worker is" : "workers are"} there, ${ready} ready` }
      : {
        verdict: "note",
        text: "no GPU worker is there, so that jobs wait",
        remedy: "start splice work --cluster ...",
      },
  );
  return findings;
}

/** Who says that he is there, within a second. */
async function rollCall({ nats }: Connection, names: Names): Promise<{ workers: number; ready: number }> {
  const roll = openRoll({ connection: { nats }, names, complain: () => {} });
  await new Promise((resolve) => setTimeout(resolve, ROLL_CALL));
  const present = roll.present();
  roll.close();
  const sum = (of: (machine: typeof present[number]) => number) => present.reduce((all, one) => all + of(one), 0);
  return { workers: sum(({ workers }) => workers), ready: sum(({ ready }) => ready) };
}

async function infoOf({ manager }: Connection, name: string): Promise<StreamInfo | null> {
  const look = async () => {
    try {
      return await manager.streams.info(name);
    } catch (error) {
      if (error instanceof JetStreamApiError && error.status === 404) return null;
      throw error;
    }
  };
  return await insist(look, PATIENT);
}

/** Whether the servers would take the streams, found out with one that is gone again at once. */
async function tryToMake({ manager }: Connection, like: string, replicas: 1 | 3): Promise<Finding> {
  const name = `${like}_TRIAL_${nuid.next()}`;
  try {
    await manager.streams.add({ name, subjects: [name], storage: StorageType.Memory, num_replicas: replicas });
    await manager.streams.delete(name);
    return { verdict: "ok", text: `streams of ${replicas} ${replicas === 1 ? "replica" : "replicas"} can be made` };
  } catch (error) {
    return { verdict: "FAIL", text: `the streams cannot be made: ${whyNoStream(error, replicas)}` };
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
