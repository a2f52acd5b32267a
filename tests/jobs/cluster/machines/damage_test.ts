/** Jobs whose servers die under them, one after the other: none is lost, none is done twice, and each result is what it would have been. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join as joinPath } from "node:path";
import { openChunks } from "../../../../src/jobs/cluster/chunks.ts";
import { created, eventOf, type Snapshot } from "../../../../src/jobs/cluster/snapshot.ts";
import { openSource } from "../../../../src/jobs/cluster/machines/source.ts";
import type { Lease } from "../../../../src/jobs/model/ports.ts";
import { join, newJob } from "../../../support/jobs/cluster.ts";
import { type Nats, natsTest } from "../../../support/nats.ts";

const STEPS = 80;
const STEP = 25;

/** A chain of hashes, which comes out right only where every step was done once, one after the other. */
async function work({ folder, record: _, ...lease }: Lease): Promise<void> {
  const checkpoint = joinPath(folder, "checkpoint.json");
  const kept = await Deno.readTextFile(joinPath(folder, "checkpoint.safetensors")).catch(() => null);
  let { step, hash } = kept === null
    ? { step: 0, hash: await Deno.readTextFile(joinPath(folder, "structure")) }
    : JSON.parse(kept);
  lease.started({ adapter: "a", model: "m", steps: STEPS, step });
  while (step < STEPS && !lease.ended.aborted) {
    await new Promise((resolve) => setTimeout(resolve, STEP));
    hash = createHash("sha256").update(hash).digest("hex");
    step++;
    lease.progress({ step, steps: STEPS, losses: { total: 1 }, steps_per_second: 1, eta_seconds: 1 }, [STEP / 1000]);
    if (step % 10 !== 0) continue;
    await Deno.writeTextFile(checkpoint, JSON.stringify({ step, hash }).padEnd(1_000_000));
    await Deno.rename(checkpoint, joinPath(folder, "checkpoint.safetensors"));
    lease.saved(step);
    await Deno.writeTextFile(joinPath(folder, "preview.jpg"), hash);
    lease.preview(step);
  }
  if (lease.ended.aborted) return await lease.letGo();
  await Deno.writeTextFile(joinPath(folder, "result.png"), hash);
  await lease.succeed();
}

async function machine(nats: Nats, posts: number) {
  const node = await join(nats);
  const folder = await Deno.makeTempDir();
  const chunks = openChunks(node.connection, node.names);
  const [closing, leaving] = [new AbortController(), new AbortController()];
  const remarks: string[] = [];
  const source = openSource({
    ...node,
    chunks,
    folder,
    hasModel: () => Promise.resolve(true),
    closing: closing.signal,
    now: () => new Date(),
    checkpointEvery: 500,
    complain: (text) => remarks.push(text),
  });
  const working = Promise.all(Array.from({ length: posts }, async () => {
    for (let lease = await source.next(leaving.signal); lease; lease = await source.next(leaving.signal)) {
      await work(lease);
    }
  }));
  return {
    ...node,
    chunks,
    remarks,
    async [Symbol.asyncDispose]() {
      leaving.abort();
      await working;
      closing.abort();
      await node.connection.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

natsTest("damage: leaders die while jobs run", { servers: 3 }, async (nats) => {
  await using here = await machine(nats, 3);
  await using _there = await machine(nats, 3);
  const { names, log, chunks, connection } = here;
  const wanted = new Map<string, string>();
  const path = await Deno.makeTempFile();
  for (let i = 0; i < 18; i++) {
    const job = newJob();
    await Deno.writeTextFile(path, job.id);
    const file = await chunks.put(job.id, path);
    const input = { file, type: "image/png", upright: true };
    const adopted = { bytes: file.bytes, folder: job.id, inputs: { structure: input } };
    await log.append(null, created({ ...job, adopted }, { place: 1, key: null, at: new Date() }));
    await connection.js.publish(names.queue(job.id));
    let hash = job.id;
    for (let step = 0; step < STEPS; step++) hash = createHash("sha256").update(hash).digest("hex");
    wanted.set(job.id, hash);
  }
  await Deno.remove(path);
  for (const stream of [names.streams.jobs, names.streams.queue, names.streams.files, null]) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const leader = await nats.leader(stream);
    if (leader === null) continue;
    await leader.end();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await leader.start();
    await nats.settled();
  }
  const deadline = Date.now() + 60_000;
  for (const [id, hash] of wanted) {
    let last: Snapshot;
    while ((last = (await log.last(id))!.snap).status !== "succeeded") {
      assert.ok(Date.now() < deadline, `${id} is ${last.status} at ${last.step}: ${JSON.stringify(last.error)}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.equal(await new Response(await chunks.open(last.files.result!)).text(), hash);
    assert.deepEqual([last.deaths, last.attempts], [0, 1], "none was taken over");
    let n = 0;
    for (let at = await log.next(0, id); at !== null; at = await log.next(at.seq + 1, id)) {
      const event = eventOf(at.snap);
      if (event) assert.equal(event.id, ++n);
    }
    assert.equal(last.n, n);
  }

  const queued = await connection.manager.streams.info(names.streams.queue);
  assert.equal(queued.state.messages, 0);
});
