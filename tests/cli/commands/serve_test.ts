/**
 * The server as its users meet it: the launcher's process with its own permissions, its real workers, over real connections. What happens to jobs and streams when
 * processes die, clients drop, or hundreds of them listen.
 */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { decodeImage } from "../../../src/images/decode.ts";
import { encodeImage } from "../../../src/images/encode.ts";
import { isFinal, type Job } from "../../../src/jobs/model/job.ts";
import {
  eventsOf,
  form,
  jobAt,
  killHard,
  type SeenEvent,
  type Server,
  type ServerOptions,
  startServer,
} from "../../support/cli/server.ts";
import { tinyExtractor, tinyModel, tinyPicture } from "../../support/splice/tiny.ts";

const adapter = await navigator.gpu?.requestAdapter();
if (!adapter) console.log("skipped: every test of the server with its workers, because no adapter was found");

const watcher = fileURLToPath(new URL("../../support/cli/health_watch.ts", import.meta.url));
const pair = {
  structure: await encodeImage(tinyPicture(52, 44, 1), "png"),
  appearance: await encodeImage(tinyPicture(40, 48, 2), "png"),
};
const options = { model: "tiny", vit_side: 32, entire_every: 4, preview_every: 20 };

function serveTest(name: string, body: (settings: ServerOptions) => Promise<void>): void {
  Deno.test({
    name: `serve: ${name}`,
    ignore: !adapter,
    async fn() {
      const folder = await Deno.makeTempDir();
      await Deno.mkdir(`${folder}/models`);
      await Deno.copyFile(tinyModel, `${folder}/models/tiny.safetensors`);
      try {
        await body({ data: `${folder}/data`, models: `${folder}/models` });
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

async function withServer<T>(settings: ServerOptions, use: (server: Server) => Promise<T>): Promise<T> {
  const server = await startServer(settings);
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}

async function create({ address }: Server, fields: Readonly<Record<string, string | number>>): Promise<Job> {
  const response = await fetch(`${address}/v1/jobs`, {
    method: "POST",
    body: form({ ...pair, ...options, ...fields }),
  });
  const job = await response.json();
  assert.equal(response.status, 202, JSON.stringify(job));
  return job;
}

/** Follows the job's events after `after` to the end, or until `enough`. */
async function follow(
  { address }: Server,
  id: string,
  { after = 0, enough = () => false, each }: {
    after?: number;
    enough?: (event: SeenEvent) => boolean;
    each?: (event: SeenEvent, before: readonly SeenEvent[]) => Promise<void>;
  } = {},
): Promise<SeenEvent[]> {
  const response = await fetch(`${address}/v1/jobs/${id}/events`, { headers: { "Last-Event-ID": String(after) } });
  assert.equal(response.status, 200);
  const seen: SeenEvent[] = [];
  for await (const event of eventsOf(response)) {
    await each?.(event, seen);
    seen.push(event);
    if (enough(event)) break;
  }
  return seen;
}

async function bytesOf({ address }: Server, path: string): Promise<Uint8Array> {
  const response = await fetch(`${address}${path}`);
  assert.equal(response.status, 200, path);
  return await response.bytes();
}

const counted = (events: readonly SeenEvent[]) => events.filter(({ id }) => id !== null);
const atStep = (step: number) => ({ name, data }: SeenEvent) => name === "progress" && data.step >= step;

serveTest(
  "create, follow, drop, replay exactly what came after, fetch; waiting for the picture itself",
  async (settings) => {
    await withServer(settings, async (server) => {
      const job = await create(server, { steps: 30 });
      const whole = await follow(server, job.id);
      assert.deepEqual(counted(whole).map(({ id }) => id), counted(whole).map((_, i) => i + 1));
      assert.equal(whole[0].data.id, job.id);
      assert.equal(whole.at(-1)?.name, "succeeded");
      for (const after of [1, 3, counted(whole).length - 1]) {
        assert.deepEqual(counted(await follow(server, job.id, { after })), counted(whole).slice(after));
      }
      const over = await fetch(`${server.address}/v1/jobs/${job.id}/events?after=${counted(whole).length}`);
      assert.equal(over.status, 204);
      const picture = await bytesOf(server, whole.at(-1)!.data.result);

      const waited = await fetch(`${server.address}/v1/splice`, {
        method: "POST",
        body: form({ ...pair, ...options, steps: 30 }),
      });
      assert.deepEqual([waited.status, waited.headers.get("Content-Type")], [200, "image/png"]);
      assert.deepEqual(await waited.bytes(), picture);

      const streamed = await fetch(`${server.address}/v1/splice/stream`, {
        method: "POST",
        body: form({ ...pair, ...options, steps: 30 }),
      });
      let last: SeenEvent | undefined;
      for await (const event of eventsOf(streamed)) last = event;
      assert.deepEqual(await bytesOf(server, last?.data.result), picture);

      const applied = await fetch(`${server.address}/v1/generators/${job.id}/apply`, {
        method: "POST",
        headers: { Accept: "image/jpeg" },
        body: form({ image: await encodeImage(tinyPicture(91, 33, 5), "png") }),
      });
      assert.deepEqual([applied.status, applied.headers.get("Content-Type")], [200, "image/jpeg"]);
      await applied.bytes();
      const features = await fetch(`${server.address}/v1/features`, {
        method: "POST",
        body: form({ image: pair.structure, model: "tiny", vit_side: 32, layers: "0,1" }),
      });
      assert.equal(features.status, 200);
      assert.ok(new TextDecoder().decode((await features.bytes()).subarray(8, 4000)).includes("self_similarity.1"));
    });
  },
);

serveTest(
  "server and worker killed in the middle: after a restart the job ends with the bytes of an undisturbed one",
  async (settings) => {
    const first = await startServer(settings);
    const { id } = await create(first, { steps: 120 });
    const seen = await follow(first, id, { enough: atStep(65) });
    const [worker] = await first.children();
    await killHard(worker);
    await first.kill();
    await withServer(settings, async (server) => {
      const rest = await follow(server, id, { after: counted(seen).at(-1)!.id! });
      const ids = counted([...seen, ...rest]).map(({ id }) => id);
      assert.deepEqual(ids, ids.map((_, i) => i + 1));
      const again = rest.find(({ name }) => name === "started");
      assert.ok(again && again.data.step > 0, `it began anew: ${JSON.stringify(again)}`);
      const job = await jobAt(server.address, id);
      assert.deepEqual([job.status, job.attempts], ["succeeded", 2]);
      const whole = await create(server, { steps: 120 });
      await follow(server, whole.id);
      for (const name of ["result", "generator"]) {
        const [a, b] = [
          await bytesOf(server, `/v1/jobs/${id}/${name}`),
          await bytesOf(server, `/v1/jobs/${whole.id}/${name}`),
        ];
        assert.deepEqual(a, b, name);
      }
    });
  },
);

serveTest(
  "a killed worker: the stream stays open and goes on; the third time the job fails and the next one runs",
  async (settings) => {
    await withServer(settings, async (server) => {
      const job = await create(server, { steps: 100_000 });
      const next = await create(server, { steps: 3 });
      const seen = await follow(server, job.id, {
        // The first progress of each attempt is its worker's death.
        async each({ name }, before) {
          if (name !== "progress" || before.at(-1)?.name !== "started") return;
          await killHard((await server.children())[0]);
        },
      });
      assert.deepEqual([seen.at(-1)?.name, seen.at(-1)?.data.error.status], ["failed", 500]);
      assert.equal(seen.filter(({ name }) => name === "started").length, 3);
      assert.equal((await follow(server, next.id)).at(-1)?.name, "succeeded");
    });
  },
);

serveTest(
  "SIGTERM saves the running job and ends its streams with a hint to come back; the next start goes on",
  async (settings) => {
    const first = await startServer(settings);
    const { id } = await create(first, { steps: 400 });
    const response = await fetch(`${first.address}/v1/jobs/${id}/events`);
    const seen: SeenEvent[] = [];
    let code: Promise<number> | undefined;
    for await (const event of eventsOf(response)) {
      seen.push(event);
      if (atStep(10)(event)) code ??= first.stop();
    }
    assert.equal(await code, 0);
    assert.ok(!seen.some(({ name }) => ["succeeded", "failed", "canceled"].includes(name)));
    await withServer(settings, async (server) => {
      const rest = await follow(server, id, {
        after: counted(seen).at(-1)!.id!,
        enough: ({ name }) => name === "started",
      });
      assert.ok(rest.at(-1)!.data.step >= 10, `it went on after step ${rest.at(-1)!.data.step}`);
      const canceled = await fetch(`${server.address}/v1/jobs/${id}`, { method: "DELETE" });
      assert.ok([200, 202].includes(canceled.status));
      await canceled.body?.cancel();
      assert.equal((await follow(server, id)).at(-1)?.name, "canceled");
      const removed = await fetch(`${server.address}/v1/jobs/${id}`, { method: "DELETE" });
      assert.equal(removed.status, 204);
      assert.equal((await fetch(`${server.address}/v1/jobs/${id}`).then((response) => response.json())).status, 404);
    });
  },
);

serveTest(
  "looks at the extractor, and an inversion; a block or head that the model lacks is named",
  async (settings) => {
    await withServer(settings, async (server) => {
      const image = pair.structure;
      const post = (path: string, fields: Parameters<typeof form>[0], headers = {}) =>
        fetch(`${server.address}${path}`, {
          method: "POST",
          headers,
          body: form({ model: "tiny", vit_side: 32, image, ...fields }),
        });
      const inverted = await post("/v1/jobs", { kind: "invert", feature: "keys", layer: 1, steps: 4 });
      const { id } = await inverted.json();
      assert.equal((await follow(server, id)).at(-1)?.name, "succeeded");
      const seen = new Set<string>();
      for (
        const [look, fields] of [["pca", {}], ["attention", { head: 0 }], ["similarity", { x: 0.9 }], ["similarity", {
          x: 0.1,
          overlay: "true",
        }]] as const
      ) {
        const answer = await post(`/v1/${look}`, { layer: 1, ...fields });
        assert.deepEqual(
          [answer.status, answer.headers.get("Content-Type")],
          [200, "image/png"],
          await answer.clone().text(),
        );
        const painted = await decodeImage(await answer.bytes(), { label: look });
        assert.deepEqual([painted.width, painted.height], [52, 44]);
        seen.add(painted.data.join());
      }
      assert.equal(seen.size, 4, "each look is a picture of its own");
      const webp = await post("/v1/pca", {}, { Accept: "image/webp" });
      assert.equal((await decodeImage(await webp.bytes(), { label: "webp" })).width, 52);

      const { depth, heads } = tinyExtractor.vit;
      const refused = async (path: string, fields: Parameters<typeof form>[0]) => {
        const answer = await post(path, fields);
        const { errors } = await answer.json();
        return [answer.status, errors?.map(({ field }: { field: string }) => field), errors?.[0]?.message];
      };
      const layer = `Cannot use layer = 40: tiny has ${depth} blocks, 0 to ${depth - 1}`;
      assert.deepEqual(await refused("/v1/pca", { layer: 40 }), [422, ["layer"], layer]);
      assert.deepEqual(await refused("/v1/jobs", { kind: "invert", feature: "cls", layer: 40 }), [
        422,
        ["layer"],
        layer,
      ]);
      const both = await refused("/v1/attention", { layer: 40, head: 40 });
      assert.deepEqual(both.slice(0, 2), [422, ["layer", "head"]]);
      assert.ok(heads < 40);
      const narrow = await encodeImage(tinyPicture(600, 32, 3), "png");
      assert.deepEqual((await refused("/v1/pca", { image: narrow, vit_longest: 64 })).slice(0, 2), [422, ["image"]]);
      assert.deepEqual(
        (await refused("/v1/jobs", { kind: "invert", feature: "cls", image: narrow, vit_longest: 64 })).slice(0, 2),
        [422, ["image"]],
      );
      assert.deepEqual((await refused("/v1/similarity", { image: pair.structure.slice(0, 200) })).slice(0, 2), [422, [
        "image",
      ]]);
      assert.equal((await refused("/v1/pca", { model: "none" }))[0], 422);
    });
  },
);

serveTest("a data folder is one server's: a second one says so and leaves", async (settings) => {
  await withServer(settings, async () => {
    await assert.rejects(startServer(settings), /Cannot use the data folder .*: another splice server is using it/);
  });
});

serveTest(
  "200 clients of one job, some that read nothing, some that drop and come back: all get the same events without gaps",
  async (settings) => {
    await withServer(settings, async (server) => {
      const job = await create(server, { steps: 60 });
      const random = (i: number) => (i * 2654435761 % 997) / 997;
      const watch = new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-prompt", "--allow-net=127.0.0.1", watcher, server.address],
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      const { hostname, port } = new URL(server.address);
      const silent = await Promise.all(Array.from({ length: 66 }, async () => {
        const connection = await Deno.connect({ hostname, port: Number(port) });
        await connection.write(
          new TextEncoder().encode(`GET /v1/jobs/${job.id}/events HTTP/1.1\r\nHost: ${hostname}:${port}\r\n\r\n`),
        );
        return connection;
      }));
      async function faithful(): Promise<SeenEvent[]> {
        return counted(await follow(server, job.id));
      }
      async function fickle(i: number): Promise<SeenEvent[]> {
        const seen: SeenEvent[] = [];
        for (let visit = 0; !seen.some(({ name }) => name === "succeeded"); visit++) {
          let left = Math.floor(8 * random(i * 31 + visit)) + 1;
          seen.push(
            ...counted(await follow(server, job.id, { after: seen.at(-1)?.id ?? 0, enough: () => --left === 0 })),
          );
        }
        return seen;
      }
      const clients = Array.from({ length: 134 }, (_, i) => i % 2 === 0 ? faithful() : fickle(i));
      const histories = await Promise.all(clients);
      await watch.stdin.close();
      const { code, stdout } = await watch.output();
      assert.equal(code, 0);
      for (const connection of silent) connection.close();
      assert.equal(histories[0].at(-1)?.name, "succeeded");
      for (const history of histories) assert.deepEqual(history, histories[0]);
      assert.deepEqual(histories[0].map(({ id }) => id), histories[0].map((_, i) => i + 1));
      console.log(`  /healthz, while the GPU worked: ${new TextDecoder().decode(stdout).trim()}`);
      assert.ok(isFinal((await jobAt(server.address, job.id)).status));
    });
  },
);
