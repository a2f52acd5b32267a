/** How a cluster is named on the command line and in the environment, the same for every command that takes one. What is read is text still: nothing is connected here. */
import { type Command, Option } from "commander";
import { UsageError } from "./usage.ts";

export interface ClusterFlags {
  readonly cluster?: string;
  readonly clusterCredentials?: string;
  readonly clusterCa?: string;
  readonly namespace: string;
  readonly replicas: "1" | "3";
}

/** Where a cluster is, and how to get in. */
export interface ClusterPlace {
  /** Addresses, separated by commas. */
  readonly addresses: string;
  readonly namespace: string;
  readonly replicas: 1 | 3;
  readonly credentials: ClusterCredentials;
  /** PEM text, null for none. */
  readonly ca: string | null;
}

export interface ClusterCredentials {
  readonly creds?: string;
  readonly nkey?: string;
  readonly token?: string;
  readonly user?: string;
  readonly password?: string;
}

const NAMESPACE = "splice";
const REPLICAS = "1";

/** For the help of commands that take a cluster. */
export const CLUSTER_ENVIRONMENT =
  "  SPLICE_CLUSTER_USER, SPLICE_CLUSTER_PASSWORD, SPLICE_CLUSTER_TOKEN, SPLICE_CLUSTER_NKEY\n" +
  "                         how to get into the cluster, where no --cluster-credentials say\n";

export function addClusterFlags(command: Command): Command {
  return command
    .option(
      "--cluster <addresses>",
      "servers of a NATS JetStream that keeps the jobs: nats://a:4222,nats://b:4222, or tls://",
    )
    .option("--cluster-credentials <file>", "how to get in: a .creds file, an nkey's seed, USER:PASSWORD, or a token")
    .option(
      "--cluster-ca <file>",
      "PEM certificates that have signed the servers', besides those that the system trusts",
    )
    .option("--namespace <name>", "which installation on these servers: each has jobs of its own", NAMESPACE)
    .addOption(
      new Option("--replicas <number>", "copies of everything that the cluster keeps; 3 needs three servers").choices([
        "1",
        "3",
      ])
        .default(REPLICAS),
    );
}

/** Null where there is no --cluster. @throws UsageError for files that cannot be read, and for what makes no sense without a cluster */
export async function readCluster(flags: ClusterFlags): Promise<ClusterPlace | null> {
  const { cluster: addresses, clusterCredentials, clusterCa, namespace, replicas } = flags;
  if (addresses === undefined) {
    const idle = clusterCredentials !== undefined
      ? "--cluster-credentials"
      : clusterCa !== undefined
      ? "--cluster-ca"
      : namespace !== NAMESPACE
      ? "--namespace"
      : replicas !== REPLICAS
      ? "--replicas"
      : null;
    if (idle !== null) {
      throw new UsageError([`Cannot use ${idle} without --cluster: there is none that it could be for`]);
    }
    return null;
  }
  const problems: string[] = [];
  const read = async (flag: string, path: string | undefined): Promise<string | null> => {
    if (path === undefined) return null;
    try {
      return await Deno.readTextFile(path);
    } catch (error) {
      problems.push(`Cannot use ${flag} ${path}: ${error instanceof Error ? error.message : error}`);
      return null;
    }
  };
  const secret = await read("--cluster-credentials", clusterCredentials);
  const ca = await read("--cluster-ca", clusterCa);
  if (ca !== null && !ca.includes("-----BEGIN CERTIFICATE-----")) {
    problems.push(`Cannot use --cluster-ca ${clusterCa}: it holds no certificate in PEM form`);
  }
  if (secret !== null && secret.trim() === "") {
    problems.push(`Cannot use --cluster-credentials ${clusterCredentials}: it is empty`);
  }
  if (problems.length > 0) throw new UsageError(problems);
  return {
    addresses,
    namespace,
    replicas: replicas === "3" ? 3 : 1,
    credentials: secret === null ? fromEnvironment() : parseCredentials(secret),
    ca,
  };
}

/** What a file of credentials holds, by its looks. */
function parseCredentials(text: string): ClusterCredentials {
  if (text.includes("-----BEGIN NATS USER JWT-----")) return { creds: text };
  const line = text.trim();
  if (/^SU[A-Z2-7]{56}$/.test(line)) return { nkey: line };
  const colon = line.indexOf(":");
  return colon < 0 ? { token: line } : { user: line.slice(0, colon), password: line.slice(colon + 1) };
}

function fromEnvironment(): ClusterCredentials {
  const given = (name: string) => Deno.env.get(`SPLICE_CLUSTER_${name}`) || undefined;
  const [user, password, token, nkey] = ["USER", "PASSWORD", "TOKEN", "NKEY"].map(given);
  return Object.fromEntries(Object.entries({ nkey, token, user, password }).filter(([, value]) => value !== undefined));
}

/** As they may be shown: without passwords. */
export function addressesOf({ addresses }: ClusterPlace): string {
  return addresses.replaceAll(/\/\/[^/,]*@/g, "//");
}
