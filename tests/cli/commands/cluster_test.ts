/**
 * Many machines as their users meet them: `serve --cluster` and `work --cluster` through the launcher, with the permissions of each, real training, and a real nats-server between them.
 */
import assert from "node:assert/strict";
import { encodeImage } from "../../../src/images/encode.ts";
import type { Job } from "../../../src/jobs/model/job.ts";
import {
  eventsOf,
  form,
  jobAt,
  type SeenEvent,
  type Server,
  startMachine,
  startServer,
} from "../../support/cli/server.ts";
import { type Nats, noNats, startNats } from "../../support/nats.ts";
import { tinyModel, tinyPicture } from "../../support/splice/tiny.ts";

const adapter = await navigator.gpu?.requestAdapter();
const reason = noNats ?? (adapter ? null : "no adapter was found");
if (reason !== null) console.log(`skipped: every test of a cluster's commands, because ${reason}`);

const pair = {
  structure: await encodeImage(tinyPicture(52, 44, 1), "png"),
  appearance: await encodeImage(tinyPicture(40, 48, 2), "png"),
};
const options = { model: "tiny", vit_side: 32, entire_every: 4, preview_every: 20 };

interface Place {
  readonly data: string;
  readonly models: string;
}

function clusterTest(name: string, body: (nats: Nats, place: Place) => Promise<void>, config = ""): void {
  Deno.test({
    name: `cluster: ${name}`,
    ignore: reason !== null,
    async fn() {
      const folder = await Deno.makeTempDir();
      await Deno.mkdir(`${folder}/models`);
      await Deno.copyFile(tinyModel, `${folder}/models/tiny.safetensors`);
      await using nats = await startNats({ config });
      try {
        await body(nats, { data: `${folder}/data`, models: `${folder}/models` });
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 120_000;
  while (!await holds()) {
    assert.ok(performance.now() < deadline, `it did not come to pass: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function create({ address }: Server, fields: Readonly<Record<string, string | number>>): Promise<Job> {
  const body = form({ ...pair, ...options, ...fields });
  const response = await fetch(`${address}/v1/jobs`, { method: "POST", body });
  const job = await response.json();
  assert.equal(response.status, 202, JSON.stringify(job));
  return job;
}

/** All events after `after`, from one node, until the stream ends or `enough`. */
async function follow(
  { address }: Server,
  id: string,
  { after = 0, enough = () => false }: { after?: number; enough?: (event: SeenEvent) => boolean } = {},
): Promise<SeenEvent[]> {
  const seen: SeenEvent[] = [];
  const leaving = new AbortController();
  try {
    const headers = { "Last-Event-ID": String(after) };
    const response = await fetch(`${address}/v1/jobs/${id}/events`, { headers, signal: leaving.signal });
    for await (const event of eventsOf(response)) {
      seen.push(event);
      if (enough(event)) leaving.abort();
    }
  } catch (error) {
    if (!leaving.signal.aborted) throw error;
  }
  return seen;
}

const ready = async ({ address }: Server) => {
  const response = await fetch(`${address}/readyz`);
  await response.body?.cancel();
  return response.ok;
};

clusterTest(
  "a machine is killed at work and another goes on: ids without gaps from any node, and the bytes of an undisturbed job",
  async (nats, place) => {
    const args = ["--cluster", nats.addresses];
    const [a, b] = await Promise.all([startServer({ ...place, args }), startServer({ ...place, args })]);
    const machine = await startMachine({ ...place, args });
    const started: { stop(): Promise<number> }[] = [a, b, machine];
    try {
      await until("the machine has joined", async () => await ready(a) && await ready(b));
      const { id } = await create(a, { steps: 40, seed: 3 });
      const before = await follow(b, id, { enough: ({ name, data }) => name === "progress" && data.step >= 8 });
      await machine.kill();
      started.push(await startMachine({ ...place, args }));
      const numbered = before.filter((event) => event.id !== null);
      const after = await follow(a, id, { after: numbered.at(-1)!.id! });
      const ids = [...numbered, ...after.filter((event) => event.id !== null)].map((event) => event.id);
      assert.deepEqual(ids, ids.map((_, index) => index + 1));
      assert.equal(after.at(-1)?.name, "succeeded");
      assert.equal((await jobAt(b.address, id)).attempts, 2);

      const whole = await create(b, { steps: 40, seed: 3 });
      await follow(b, whole.id);
      assert.equal((await jobAt(a.address, whole.id)).attempts, 1);
      for (const name of ["result", "generator"]) {
        const [one, other] = await Promise.all(
          [id, whole.id].map(async (job) => await (await fetch(`${b.address}/v1/jobs/${job}/${name}`)).bytes()),
        );
        assert.deepEqual(one, other, name);
      }

      const post = (path: string) =>
        fetch(`${a.address}${path}`, {
          method: "POST",
          body: form({ image: pair.structure, ...path.endsWith("pca") && { model: "tiny", vit_side: 32 } }),
        });
      for (const path of [`/v1/generators/${id}/apply`, "/v1/pca"]) {
        const response = await post(path);
        assert.deepEqual([response.status, response.headers.get("content-type")], [200, "image/png"], path);
        await response.body?.cancel();
      }
      const removed = await fetch(`${b.address}/v1/jobs/${id}`, { method: "DELETE" });
      assert.equal(removed.status, 204);
      await until("the other node knows", async () => {
        const response = await fetch(`${a.address}/v1/jobs/${id}`);
        await response.body?.cancel();
        return response.status === 404;
      });
    } finally {
      await Promise.all(started.map((process) => process.stop()));
    }
  },
);

clusterTest(
  "SIGTERM gives a job to another machine, saved; a frozen one that wakes can change nothing, and says that it was taken over",
  async (nats, place) => {
    const args = ["--cluster", nats.addresses];
    const node = await startServer({ ...place, args });
    const first = await startMachine({ ...place, args });
    const started: { stop(): Promise<number> }[] = [node, first];
    try {
      await until("the machine has joined", () => ready(node));
      const { id } = await create(node, { steps: 100_000 });
      await follow(node, id, { enough: ({ name, data }) => name === "progress" && data.step >= 5 });
      const second = await startMachine({ ...place, args });
      started.push(second);
      assert.equal(await first.stop(), 0);
      await until("the other has it", async () => (await jobAt(node.address, id)).attempts === 2);
      await until("it goes on", async () => (await jobAt(node.address, id)).step >= 10);

      second.process.kill("SIGSTOP");
      const third = await startMachine({ ...place, args });
      started.push(third);
      await until("a third has it", async () => (await jobAt(node.address, id)).attempts === 3);
      await until("it goes on there", async () => (await jobAt(node.address, id)).status === "running");
      second.process.kill("SIGCONT");
      await until("the second has been told", () => second.log.some((line) => line.includes(`${id} was taken over`)));
      assert.ok(third.log.some((line) => line.includes(`${id} has fallen silent`)), third.log.join("\n"));
      const canceled = await fetch(`${node.address}/v1/jobs/${id}`, { method: "DELETE" });
      assert.deepEqual([canceled.status, (await canceled.json()).status], [202, "canceled"]);
      const events = await follow(node, id);
      assert.deepEqual(
        events.filter((event) => event.id !== null).map((event) => event.id),
        Array.from({ length: events.at(-1)!.id! }, (_, index) => index + 1),
      );
    } finally {
      await Promise.all(started.map((process) => process.stop()));
    }
  },
);

clusterTest(
  "a node whose cluster is away, or refuses it, says so in a line, answers 503, and works from the moment on that it can",
  async (nats, place) => {
    const [server] = nats.servers;
    await server.end();
    const secret = `${place.models}/secret`;
    await Deno.writeTextFile(secret, "splice:wrong\n");
    const args = ["--cluster", nats.addresses];
    const [node, stranger] = await Promise.all([
      startServer({ ...place, args: [...args, "--cluster-credentials", `${place.models}/right`] }).catch(() => null),
      startServer({ ...place, args: [...args, "--cluster-credentials", secret] }),
    ]);
    assert.equal(node, null, "a file that is not there is an error of usage");
    await Deno.writeTextFile(`${place.models}/right`, "splice:right\n");
    const right = await startServer({ ...place, args: [...args, "--cluster-credentials", `${place.models}/right`] });
    try {
      for (const { address, log } of [right, stranger]) {
        await until(
          "it is said",
          () => log.some((line) => /Cannot connect to the cluster at 127.*Connection refused/.test(line)),
        );
        for (const path of ["/readyz", "/v1/jobs"]) {
          const response = await fetch(`${address}${path}`);
          assert.deepEqual([response.status, response.headers.has("Retry-After")], [503, true]);
          await response.body?.cancel();
        }
        assert.equal((await (await fetch(`${address}/healthz`)).json()).status, "ok");
      }
      await server.start();
      await until("the one that may is in", async () => {
        const response = await fetch(`${right.address}/v1/jobs`);
        await response.body?.cancel();
        return response.ok;
      });
      assert.ok(right.log.some((line) => line.includes("The cluster can be used now")));
      await until(
        "the stranger is told",
        () => stranger.log.some((line) => line.includes("it refuses the credentials; check --cluster-credentials")),
      );
      const refused = await fetch(`${stranger.address}/v1/jobs`);
      assert.equal(refused.status, 503);
      assert.match(
        (await refused.json()).detail,
        /^The jobs cannot be reached: Cannot connect .*: it refuses the credentials/,
      );
      assert.ok(
        stranger.log.filter((line) => line.includes("trying again")).length <= 3,
        "a line for each thing that is wrong",
      );
    } finally {
      await Promise.all([right.stop(), stranger.stop()]);
    }
  },
  "authorization { users: [ { user: splice, password: right } ] }",
);
