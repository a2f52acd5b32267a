/** All of a cluster's backend together: servers without workers, and GPU machines that no server knows of until they speak. */
import assert from "node:assert/strict";
import { join as joinPath } from "node:path";
import { fileURLToPath } from "node:url";
import { openCluster, openClusterMachine, readPlace } from "../../../src/jobs/cluster/backend.ts";
import { Fault } from "../../../src/jobs/model/job.ts";
import type { Device, Task } from "../../../src/jobs/model/messages.ts";
import type { OwnWorkers } from "../../../src/jobs/model/ports.ts";
import { parseRecipe } from "../../../src/splice/transfer/recipe.ts";
import { type Nats, natsTest } from "../../support/nats.ts";

const models = { folders: [fileURLToPath(new URL("../../../models", import.meta.url))] };
const never = new AbortController().signal;
const device = (bindingBytes: number): Device => ({
  adapter: "a GPU",
  software: false,
  profile: {
    name: "portable",
    maxStorageBuffers: 8,
    maxWorkgroupBytes: 16384,
    maxInvocations: 256,
    maxBindingBytes: bindingBytes,
  },
  bindingBytes,
});

const NONE: OwnWorkers = {
  workers: () => 0,
  ready: () => 0,
  device: () => null,
  plannedBytes: () => 0,
  largestPlan: () => 0,
  jobs: () => [],
  call: () => Promise.reject(new Error("Bug: nobody is here")),
};

/** Answers every call with the picture in capitals, after `ms`. */
const workers = (bytes: number, ms = 0): OwnWorkers => ({
  ...NONE,
  workers: () => 2,
  ready: () => 1,
  device: () => device(bytes),
  plannedBytes: () => bytes / 2,
  largestPlan: () => bytes / 4,
  async call(task) {
    await new Promise((resolve) => setTimeout(resolve, ms));
    if (task.task !== "features") throw new Fault("too_small", "The picture is too small");
    await Deno.writeTextFile(task.out, `${task.model}: ${(await Deno.readTextFile(task.picture)).toUpperCase()}`);
  },
});

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const optionsOf = (nats: Nats, folder: string) => ({
  ...readPlace({
    addresses: nats.addresses,
    namespace: "splice",
    replicas: nats.servers.length === 1 ? 1 : 3,
    credentials: {},
    ca: null,
  }),
  folder,
  models,
  name: "test",
  stopping: never,
  log: () => {},
});

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !await holds();) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

natsTest(
  "backend: a server sees the machines that join and leave, and what they have",
  {},
  (nats) =>
    inFolder(async (folder) => {
      const server = await openCluster(optionsOf(nats, joinPath(folder, "server")));
      const machines = server.join(NONE);
      assert.deepEqual([machines.workers(), machines.ready(), machines.device()], [0, 0, null]);
      await assert.rejects(
        machines.model(undefined),
        (error) => error instanceof Fault && error.code === "unavailable",
      );
      const small = await openClusterMachine(optionsOf(nats, joinPath(folder, "small")));
      small.join(workers(100));
      const large = await openClusterMachine(optionsOf(nats, joinPath(folder, "large")));
      large.join(workers(1000));
      await until("both are there", () => machines.workers() === 4);
      assert.deepEqual([machines.ready(), machines.plannedBytes(), machines.largestPlan()], [2, 500, 250]);
      assert.equal(machines.device()?.bindingBytes, 1000);
      await until("their models are known", async () => (await machines.models()).some(({ present }) => present));

      const later = await openCluster(optionsOf(nats, joinPath(folder, "later")));
      const same = later.join(NONE);
      await until("whoever comes later sees them at once", () => same.ready() === 2);
      const { name, extractor } = await same.model(undefined);
      assert.ok(typeof extractor !== "string" && extractor.depth > 0);
      assert.deepEqual((await same.models()).filter((model) => model.default).map((model) => model.name), [name]);
      await assert.rejects(same.model("another"), (error) => error instanceof Fault && error.code === "unknown_model");

      await nats.servers[0].end();
      await until("nobody can be reached", () => machines.ready() === 0);
      await nats.servers[0].start();
      await until("all are there again", () => machines.ready() === 2 && same.ready() === 2);

      await large.close();
      await until("one left", () => machines.workers() === 2 && same.workers() === 2);
      assert.equal(machines.device()?.bindingBytes, 100);
      await small.close();
      await until("all left", () => machines.ready() === 0);
      assert.equal((await machines.model(undefined)).name, name);
      const beside = await openCluster(optionsOf(nats, joinPath(folder, "later")));
      const taken = Array.from(Deno.readDirSync(joinPath(folder, "later")), ({ name }) => name).sort();
      assert.deepEqual(taken, ["cluster-1", "cluster-2"], "processes of one machine share a folder");
      await beside.close();
      await later.close();
      await server.close();
    }),
);

natsTest(
  "backend: a call is done by whatever machine there is, and its files go",
  {},
  (nats) =>
    inFolder(async (folder) => {
      const server = await openCluster(optionsOf(nats, joinPath(folder, "server")));
      const machines = server.join(NONE);
      const upload = await server.openUpload();
      await upload.write("image", new TextEncoder().encode("a picture"));
      const parsed = parseRecipe({});
      assert.ok(parsed.ok);
      const out = joinPath(upload.folder, "features");
      const task: Task = {
        task: "features",
        model: "m",
        picture: joinPath(upload.folder, "image"),
        layers: [],
        recipe: parsed.recipe,
        out,
      };
      await assert.rejects(machines.call(task), (error) => error instanceof Fault && error.code === "unavailable");
      const machine = await openClusterMachine(optionsOf(nats, joinPath(folder, "machine")));
      machine.join(workers(100, 50));
      await until("it is there", () => machines.ready() > 0);
      await machines.call(task);
      assert.equal(await Deno.readTextFile(out), "m: A PICTURE");
      const refused = { ...task, task: "look", look: { name: "pca", options: {} }, format: "png" } as unknown as Task;
      await assert.rejects(machines.call(refused), (error) => error instanceof Fault);
      await Promise.all(Array.from({ length: 5 }, (_, i) => machines.call({ ...task, out: `${out}${i}` })));
      await upload.discard();
      await machine.close();
      await server.close();
    }),
);

natsTest("backend: a job from its upload to its result", {}, (nats) =>
  inFolder(async (folder) => {
    const server = await openCluster(optionsOf(nats, joinPath(folder, "server")));
    const machine = await openClusterMachine(optionsOf(nats, joinPath(folder, "machine")));
    machine.join(workers(100));
    const machines = server.join(NONE);
    await until("models are known", async () => (await machines.models()).some(({ present }) => present));
    const upload = await server.openUpload();
    for (const name of ["structure", "appearance"]) await upload.write(name, new TextEncoder().encode(name));
    const id = crypto.randomUUID();
    const parsed = parseRecipe({ steps: 10, model: (await machines.model(undefined)).name });
    assert.ok(parsed.ok);
    const adopted = await server.files.adopt(upload, id, ["structure", "appearance"]);
    await upload.discard();
    const { record } = await server.store.create({
      id,
      kind: "splice",
      options: parsed.recipe,
      webhookUrl: "https://example.com/",
      idempotency: null,
      adopted,
    }, { queue: 10 });
    assert.equal(record.job.position, 1);
    const lease = (await machine.source.next(never))!;
    lease.started({ adapter: "a", model: "m", steps: 10, step: 0 });
    await Deno.writeTextFile(joinPath(lease.folder, "result.png"), "the result");
    await lease.succeed();
    const done = (await server.store.get(id))!;
    assert.equal(done.job.status, "succeeded");
    const result = (await server.files.open(done, "result"))!;
    assert.equal(await new Response((await result.open()).stream).text(), "the result");
    const told = [];
    for (let i = 0; i < 2; i++) {
      const due = (await server.outbox.next(never))!;
      told.push(JSON.parse(due.body).event);
      await due.delivered();
    }
    assert.deepEqual(told, ["started", "succeeded"]);
    await machine.close();
    await server.close();
  }));
