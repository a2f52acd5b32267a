/** The contract of jobs, over a nats-server, and what several machines that share it are to each other. */
import { fileURLToPath } from "node:url";
import { openCluster } from "../../../src/jobs/cluster/backend.ts";
import { parseAddresses } from "../../../src/jobs/cluster/connection.ts";
import { namesOf } from "../../../src/jobs/cluster/streams.ts";
import { linkTo } from "../../support/link.ts";
import { noNats, startNats } from "../../support/nats.ts";
import type { Bench } from "../contract/bench.ts";
import { contract } from "../contract/contract.ts";
import { type Machine, machines, type Site } from "../contract/machines.ts";

const models = { folders: [fileURLToPath(new URL("../../../models", import.meta.url))] };

interface Joined extends Machine {
  /** Hangs up without a word, if it had not left before. */
  leave(): Promise<void>;
}

/** A process of the cluster, which reaches it by a way that can be cut. */
async function joinAt(address: string): Promise<Joined> {
  const link = linkTo(Number(new URL(address).port));
  const folder = await Deno.makeTempDir();
  const backend = await openCluster({
    addresses: parseAddresses(`nats://127.0.0.1:${link.port}`),
    names: namesOf("splice"),
    replicas: 1,
    credentials: {},
    ca: null,
    folder,
    models,
    name: "contract",
    stopping: new AbortController().signal,
    log: () => {},
  });
  let closing: Promise<void> | null = null;
  return {
    backend: { ...backend, close: () => closing ??= backend.close() },
    freeze: link.cut,
    thaw: link.mend,
    async leave() {
      const gone = link.close();
      await (closing ??= backend.close());
      await gone;
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function open(): Promise<Bench> {
  const nats = await startNats();
  const all: Joined[] = [await joinAt(nats.addresses)];
  return {
    get backend() {
      return all.at(-1)!.backend;
    },
    async reopen() {
      await all.at(-1)!.backend.close();
      all.push(await joinAt(nats.addresses));
    },
    async kill() {
      all.at(-1)!.freeze();
      all.push(await joinAt(nats.addresses));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(all.map((one) => one.leave()));
      await nats[Symbol.asyncDispose]();
    },
  };
}

async function openSite(): Promise<Site> {
  const nats = await startNats();
  const both = [await joinAt(nats.addresses), await joinAt(nats.addresses)] as const;
  return {
    machines: both,
    async [Symbol.asyncDispose]() {
      await Promise.all(both.map((one) => one.leave()));
      await nats[Symbol.asyncDispose]();
    },
  };
}

const reason = noNats;
if (reason !== null) console.log(`Not tested: the contract over a nats-server. ${reason}.`);
else {
  contract("JetStream", open);
  machines("JetStream", openSite);
}
