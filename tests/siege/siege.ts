/**
 * A cluster under siege, by hand and not in CI: real nats-servers, HTTP nodes and GPU machines on the loopback address, killed and frozen at random while clients follow their jobs from any
 * node. Prints what was seen; ends with code 1 where anything was lost, doubled or wrong.
 *
 *   deno task siege rounds [N] [1|3]    kills and freezes with one nats-server or three; every job must end as if nothing had happened
 *   deno task siege scaling             64 jobs with 1, 4 and 16 GPU machines
 *   deno task siege readers [N]         readers of one cluster's events, a third that read nothing, a third that drop at random
 *   deno task siege restart             every node restarted in turn, under load
 */
import { type Nats, startNats } from "../support/nats.ts";
import { follow, type Following, median, type Process, startProcess, submit, waitReady } from "./parts.ts";
import { chain, TALKATIVE } from "./worker.ts";

const PORT = 18_500;
const say = (text: string) => console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const any = <T>(things: readonly T[]): T => things[Math.floor(Math.random() * things.length)];
let wrong = 0;
function fault(text: string): void {
  wrong++;
  say(`WRONG: ${text}`);
}

interface Scene {
  readonly nats: Nats;
  readonly nodes: Process[];
  readonly machines: Process[];
  readonly addresses: readonly string[];
}

async function withCluster(
  { servers = 1, nodes = 2, machines }: { servers?: 1 | 3; nodes?: number; machines: number },
  use: (scene: Scene) => Promise<void>,
): Promise<void> {
  const data = await Deno.makeTempDir({ prefix: "siege-" });
  await using nats = await startNats({ servers });
  await nats.settled();
  const common = { addresses: nats.addresses, replicas: servers, data };
  const serving = Array.from(
    { length: nodes },
    (_, i) => startProcess({ ...common, role: "serve", port: PORT + i, workers: 0 }),
  );
  const working = Array.from(
    { length: machines },
    (_, i) => startProcess({ ...common, role: "work", port: i, workers: 1 }),
  );
  const addresses = serving.map((_, i) => `http://127.0.0.1:${PORT + i}`);
  try {
    for (const address of addresses) await waitReady(address, machines);
    await use({ nats, nodes: serving, machines: working, addresses });
  } finally {
    await Promise.all([...serving, ...working].map((process) => process.end("SIGKILL")));
    await Deno.remove(data, { recursive: true }).catch(() => {});
  }
}

/** What a client saw must be the whole story, once. */
async function check({ id, seed, steps, told, ended }: Following, addresses: readonly string[]): Promise<void> {
  const ids = told.filter((event) => event.id !== null).map((event) => event.id);
  if (ids.some((id, index) => id !== index + 1)) fault(`events of ${id}: ${ids.join(" ")}`);
  if (ended !== "succeeded") return fault(`${id} is ${ended}`);
  const response = await fetch(`${any(addresses)}/v1/jobs/${id}/result`);
  const result = await response.text();
  if (result !== await chain(seed, { to: steps })) {
    fault(`the result of ${id} is another: ${response.status} ${result.slice(0, 100)}`);
  }
}

async function rounds(count: number, servers: 1 | 3): Promise<void> {
  await withCluster({ servers, machines: 3 }, async ({ nats, nodes, machines, addresses }) => {
    const done = { machine: 0, node: 0, server: 0, freeze: 0 };
    let seed = 1;
    const following: Promise<Following>[] = [];
    let going = 0;
    async function begin(): Promise<void> {
      const mine = seed++;
      const steps = 60 + Math.floor(Math.random() * 200);
      const id = await submit(addresses, { seed: mine, steps });
      going++;
      following.push(follow(addresses, { id, seed: mine, steps }).finally(() => going--));
    }
    for (let round = 1; round <= count; round++) {
      while (going < 6) await begin();
      await pause(500 + Math.random() * 3000);
      const acts = ["machine", "node", "server", "freeze"] as const;
      for (const act of Math.random() < 0.25 ? [any(acts), any(acts)] : [any(acts)]) {
        done[act]++;
        if (act === "machine") await any(machines).restart();
        if (act === "node") await any(nodes).restart();
        if (act === "freeze") setTimeout(any(machines).freeze(), 1000 * (5 + Math.random() * 25));
        if (act === "server") {
          const server = servers === 3
            ? await nats.leader(any(["SPLICE_JOBS", "SPLICE_QUEUE", "SPLICE_FILES"])) ?? nats.servers[0]
            : nats.servers[0];
          await server.end();
          await pause(Math.random() * 2000);
          await server.start();
        }
      }
      if (round % 10 === 0) {
        say(`round ${round}: ${JSON.stringify(done)}, ${following.length} jobs, ${going} going, ${wrong} wrong`);
      }
    }
    const all = await Promise.all(following);
    for (const one of all) await check(one, addresses);
    const silences = all.map(({ silence }) => silence);
    const attempts = all.map(({ told }) => told.filter(({ name }) => name === "started").length);
    say(
      `${count} rounds with ${servers} nats-server(s): ${JSON.stringify(done)}; ${all.length} jobs, ${
        all.filter(({ ended }) => ended === "succeeded").length
      } succeeded, ` +
        `${attempts.filter((n) => n > 1).length} taken over; silence median ${
          (median(silences) / 1000).toFixed(1)
        } s, longest ${(Math.max(...silences) / 1000).toFixed(1)} s; ${wrong} wrong`,
    );
  });
}

/** From the moment on that all machines begin at once, jobs being there, to the end of the last. */
async function scaling(): Promise<void> {
  const steps = 200;
  let base = 0;
  for (const count of [1, 4, 16]) {
    await withCluster({ nodes: 1, machines: count }, async ({ addresses, machines }) => {
      const jobs = count === 1 ? 8 : 64; // one machine alone is timed by fewer
      const wake = machines.map((machine) => machine.freeze());
      const seeds = Array.from({ length: jobs }, (_, seed) => seed);
      const ids = await Promise.all(seeds.map((seed) => submit(addresses, { seed, steps })));
      const following = ids.map((id, seed) => follow(addresses, { id, seed, steps }));
      await pause(1000);
      const began = performance.now();
      wake.forEach((thaw) => thaw());
      const all = await Promise.all(following);
      const rate = jobs / (performance.now() - began) * 1000;
      for (const one of all) await check(one, addresses);
      if (count === 1) base = rate;
      const takenOver = all.filter(({ told }) => told.filter(({ name }) => name === "started").length > 1).length;
      say(
        `${count} machines: ${rate.toFixed(2)} jobs/s, ${
          (rate / base / count).toFixed(3)
        } of linear; ${takenOver} taken over`,
      );
    });
  }
}

async function readers(count: number): Promise<void> {
  await withCluster({ machines: 2 }, async ({ addresses, nodes }) => {
    const quiet: number[] = [];
    for (let i = 0; i < 20; i++) {
      const at = performance.now();
      const id = await submit(addresses, { seed: 1000 + i, steps: 1 });
      const first = await follow(addresses, { id, seed: 0, steps: 1, until: 1 });
      quiet.push(performance.now() - at);
      if (first.told[0]?.name !== "queued") fault(`the first event is ${first.told[0]?.name}`);
    }
    say(`create to its first event, one after the other: ${median(quiet).toFixed(0)} ms at the median`);
    const ids = await Promise.all(Array.from({ length: 20 }, (_, seed) => submit(addresses, { seed, steps: 500 })));
    const deaf: AbortController[] = [];
    const reading: Promise<Following>[] = [];
    for (let i = 0; i < count; i++) {
      const at = i % ids.length;
      if (i % 3 === 0) {
        const controller = new AbortController();
        deaf.push(controller);
        void fetch(`${addresses[i % 2]}/v1/jobs/${ids[at]}/events`, { signal: controller.signal }).catch(() => {});
      } else reading.push(follow(addresses, { id: ids[at], seed: at, steps: 500, dropping: i % 3 === 1 }));
    }
    let most = 0;
    const watch = setInterval(async () => {
      for (const node of nodes) most = Math.max(most, await node.memory());
    }, 1000);
    const all = await Promise.all(reading);
    clearInterval(watch);
    for (const one of all) {
      const seen = one.told.filter(({ id }) => id !== null).map(({ id }) => id!);
      if (seen.some((id, index) => id !== index + 1) || one.ended !== "succeeded") {
        fault(`reader of ${one.id}: ${one.ended} ${seen.length}`);
      }
    }
    deaf.forEach((controller) => controller.abort());
    const long = await submit(addresses, { seed: TALKATIVE, steps: 1000 });
    await follow(addresses, { id: long, seed: TALKATIVE, steps: 1000 });
    const replays: number[] = [];
    let replayed = 0;
    for (let i = 0; i < 5; i++) {
      for (const node of nodes) await node.restart(); // nothing of it is in memory
      for (const address of addresses) await waitReady(address, 2);
      const at = performance.now();
      replayed = (await follow(addresses, { id: long, seed: TALKATIVE, steps: 1000 })).told.length;
      replays.push(performance.now() - at);
    }
    say(
      `${count} readers on ${addresses.length} nodes: ${
        all.reduce((sum, { told }) => sum + told.length, 0)
      } events read, memory of a node at most ${(most / 1e6).toFixed(0)} MB, ` +
        `longest silence ${
          (Math.max(...all.map(({ silence }) => silence)) / 1000).toFixed(1)
        } s; replay of ${replayed} events by a node that has just started ${
          median(replays).toFixed(0)
        } ms at the median; ${wrong} wrong`,
    );
  });
}

async function restart(): Promise<void> {
  await withCluster({ machines: 2 }, async ({ nodes, machines, addresses }) => {
    const following: Promise<Following>[] = [];
    let refused = 0;
    let over = false;
    const load = (async () => {
      for (let seed = 0; !over; seed++) {
        const steps = 100;
        const id = await submit(addresses, { seed, steps, onRefusal: () => refused++ });
        following.push(follow(addresses, { id, seed, steps }));
        await pause(1000);
      }
    })();
    for (const process of [...nodes, ...machines]) {
      await pause(2000);
      const at = performance.now();
      await process.end("SIGTERM");
      say(`${process.name} left within ${((performance.now() - at) / 1000).toFixed(1)} s`);
      await process.restart();
      await pause(4000);
    }
    over = true;
    await load;
    const all = await Promise.all(following);
    for (const one of all) await check(one, addresses);
    const reconnects = all.reduce((sum, one) => sum + one.connections - 1, 0);
    const longest = all.toSorted((a, b) => b.silence - a.silence)[0];
    say(`the longest silence was of ${longest.id}, between ${longest.before}`);
    say(
      `rolling restart: ${all.length} jobs, ${reconnects} reconnects, ${refused} requests sent again, longest silence ${
        (Math.max(...all.map(({ silence }) => silence)) / 1000).toFixed(1)
      } s; ${wrong} wrong`,
    );
  });
}

const [what, first, second] = Deno.args;
if (what === "rounds") await rounds(Number(first ?? 20), second === "3" ? 3 : 1);
else if (what === "scaling") await scaling();
else if (what === "readers") await readers(Number(first ?? 1000));
else if (what === "restart") await restart();
else {
  console.error("deno task siege rounds [N] [1|3] | scaling | readers [N] | restart");
  Deno.exit(2);
}
Deno.exit(wrong === 0 ? 0 : 1);
