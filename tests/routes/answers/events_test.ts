/** Streams over real sockets: nothing is missed or told twice across drops and restarts, a client that does not read costs little, and one that leaves is forgotten. */
import assert from "node:assert/strict";
import type { Feed } from "../../../src/jobs/model/service.ts";
import { eventStream } from "../../../src/routes/answers/sse.ts";
import { fixture, onStage, pairForm, queued, type Theatre } from "../../support/routes/service.ts";

interface Told {
  readonly id: string | null;
  readonly name: string;
  readonly data: Record<string, unknown>;
}

/** Reads a stream of events piece by piece; `next` gives null at its end. */
function eventsOf(response: Response) {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const blocks: string[] = [];
  return {
    comments: [] as string[],
    retries: [] as number[],
    async next(): Promise<Told | null> {
      for (;;) {
        while (!text.includes("\n\n")) {
          const { done, value } = await reader.read();
          if (done) return null;
          text += value;
        }
        const [block] = text.split("\n\n", 1);
        text = text.slice(block.length + 2);
        blocks.push(block);
        const lines = block.split("\n");
        const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        this.comments.push(...lines.filter((line) => line.startsWith(":")));
        if (field("retry") !== undefined) this.retries.push(Number(field("retry")));
        const name = field("event");
        if (name !== undefined) return { id: field("id") ?? null, name, data: JSON.parse(field("data")!) };
      }
    },
    async rest(): Promise<Told[]> {
      const all: Told[] = [];
      for (let one = await this.next(); one !== null; one = await this.next()) all.push(one);
      return all;
    },
    cancel: () => reader.cancel(),
  };
}

const follow = async (
  base: string,
  id: string,
  { query = "", headers = {} }: { query?: string; headers?: Record<string, string> } = {},
) => {
  const response = await fetch(`${base}/v1/jobs/${id}/events${query}`, { headers });
  assert.equal(response.status, 200);
  return eventsOf(response);
};

/** The number of open streams, as Prometheus is told. */
async function openStreams({ ask }: Theatre): Promise<number> {
  const text = await (await ask("/metrics")).text();
  return Number(/^splice_event_streams_open (\d+)$/m.exec(text)![1]);
}

/** Until `settled` holds; what it waits for happens on other turns of the event loop. */
async function until(settled: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !await settled(); tries++) {
    if (tries > 500) assert.fail("it did not happen");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

Deno.test("events: a stream tells what was and what comes, and ends with the job", () =>
  onStage({}, async (theatre) => {
    const { worker, serve } = theatre;
    const base = serve();
    const { id } = await queued(theatre, { steps: 3 });
    const response = await fetch(`${base}/v1/jobs/${id}/events`);
    assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
    assert.equal(response.headers.get("cache-control"), "no-cache, no-transform");
    assert.equal(response.headers.get("x-accel-buffering"), "no");
    assert.equal(response.headers.get("content-encoding"), null);
    const stream = eventsOf(response);
    assert.deepEqual(await stream.next(), { id: "1", name: "queued", data: { id, position: 1 } });
    worker.start();
    assert.equal((await stream.next())?.name, "started");
    await worker.preview(id, 1);
    assert.deepEqual(await stream.next(), {
      id: null,
      name: "preview",
      data: { step: 1, url: `/v1/jobs/${id}/preview` },
    });
    worker.step(id, 2);
    assert.deepEqual((await stream.next())?.data.losses, { total: 0.5 });
    await worker.succeed(id);
    assert.deepEqual(await stream.rest(), [{ id: "4", name: "succeeded", data: { result: `/v1/jobs/${id}/result` } }]);
    assert.deepEqual(stream.retries, [2000]);
    assert.equal(await openStreams(theatre), 0);

    for (const query of ["?after=4", ""]) {
      const over = await fetch(`${base}/v1/jobs/${id}/events${query}`, { headers: { "last-event-id": "4" } });
      assert.deepEqual([over.status, await over.text()], [204, ""], "an EventSource is told to stop coming back");
    }
  }));

Deno.test("events: a move in the queue is told without an id, and a replay knows the first place and the one that is now", () =>
  onStage({}, async (theatre) => {
    const { ask, worker, ledger } = theatre;
    const ids = [];
    for (let count = 0; count < 3; count++) ids.push((await queued(theatre)).id);
    const stream = eventsOf(await ask(`/v1/jobs/${ids[2]}/events`));
    const next = async () => {
      const event = await stream.next();
      return [event?.id, event?.name, event?.data.position];
    };
    assert.deepEqual(await next(), ["1", "queued", 3]);
    worker.start();
    assert.deepEqual(await next(), [null, "queued", 2]);
    ledger.cancel(ids[1]);
    assert.deepEqual(await next(), [null, "queued", 1]);
    const replay = eventsOf(await ask(`/v1/jobs/${ids[2]}/events`));
    const told = [await replay.next(), await replay.next()];
    assert.deepEqual(told.map((event) => [event?.id, event?.data.position]), [["1", 3], [null, 1]]);
    await replay.cancel();
    assert.equal(worker.start(), ids[2]);
    assert.deepEqual(await next(), ["2", "started", undefined]);
    ledger.requeue(ids[2], { died: false });
    assert.deepEqual(await next(), [null, "queued", 1]);
    await stream.cancel();
  }));

Deno.test("events: whoever comes back gets exactly what came after", () =>
  onStage({}, async (theatre) => {
    const { worker, serve, ask } = theatre;
    const base = serve();
    const { id } = await queued(theatre, { steps: 20 });
    worker.start();
    for (let step = 1; step <= 6; step++) worker.step(id, step);
    const dropped = await follow(base, id);
    for (let i = 0; i < 4; i++) await dropped.next();
    await dropped.cancel();
    await until(async () => await openStreams(theatre) === 0);
    worker.step(id, 7);
    await worker.succeed(id);
    const idsOf = async (where: Parameters<typeof follow>[2]) =>
      (await (await follow(base, id, where)).rest()).map((one) => one.id);
    assert.deepEqual(await idsOf({ headers: { "Last-Event-ID": "4" } }), ["5", "6", "7", "8", "9", "10"]);
    assert.deepEqual(await idsOf({ query: "?after=8" }), ["9", "10"]);
    assert.deepEqual(
      await idsOf({ query: "?after=3", headers: { "Last-Event-ID": "9" } }),
      ["10"],
      "it came further since",
    );
    assert.deepEqual((await idsOf({ headers: { "Last-Event-ID": "" } })).length, 10);

    for (
      const [query, header, field] of [["?after=-1", "", "after"], ["?after=x", "", "after"], [
        "",
        "abc",
        "Last-Event-ID",
      ]]
    ) {
      const refused = await ask(`/v1/jobs/${id}/events${query}`, { headers: { "Last-Event-ID": header } });
      assert.equal(refused.status, 422);
      assert.deepEqual((await refused.json()).errors.map((error: { field: string }) => error.field), [field]);
    }
    const lost = await (await follow(base, id, { query: "?after=999" })).rest();
    assert.deepEqual(lost.map(({ name }) => name), ["resync"]);
  }));

Deno.test("events: a server that stops ends its streams, and they ask to come back", () =>
  onStage({}, async (theatre) => {
    const { worker, serve, stop } = theatre;
    const base = serve();
    const { id } = await queued(theatre);
    worker.start();
    const stream = await follow(base, id);
    assert.equal((await stream.next())?.name, "queued");
    assert.equal((await stream.next())?.name, "started");
    stop();
    assert.equal(await stream.next(), null);
    assert.deepEqual(stream.comments, [": the server is stopping; come back"]);
    assert.deepEqual(stream.retries, [2000, 3000]);
  }));

Deno.test("events: while nothing happens, a comment shows that the server is there", () =>
  onStage({ beatMs: 10 }, async (theatre) => {
    const { worker, serve } = theatre;
    const { id } = await queued(theatre);
    const stream = await follow(serve(), id);
    assert.equal((await stream.next())?.name, "queued");
    const begun = stream.next();
    await until(() => Promise.resolve(stream.comments.length >= 2));
    assert.equal(stream.comments[0], ": beat");
    worker.start();
    assert.equal((await begun)?.name, "started");
    await stream.cancel();
  }));

Deno.test("events: a client that never reads holds up nobody and costs what the socket holds; one that leaves is forgotten", async () => {
  let given = 0;
  const closed: string[] = [];
  const data = JSON.stringify({ filling: "x".repeat(5000) });
  const endless = (name: string): Feed => ({
    next: () => Promise.resolve([{ id: ++given, name: "progress", data }]),
    interrupted: () => false,
    exhausted: () => false,
    close: () => void closed.push(name),
  });
  const waiting = (name: string): Feed => {
    const { promise, resolve } = Promise.withResolvers<null>();
    return { ...endless(name), next: () => promise, close: () => (closed.push(name), resolve(null)) };
  };
  let ended = 0;
  const options = { beatMs: 60_000, ended: () => void ended++, failed: (error: unknown) => assert.fail(String(error)) };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, ({ url }) => {
    const feed = url.endsWith("/endless") ? endless("endless") : waiting("waiting");
    return new Response(eventStream(feed, options));
  });
  const connect = async (path: string) => {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: server.addr.port });
    await connection.write(new TextEncoder().encode(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`));
    return connection;
  };
  const deaf = await connect("/endless");
  let before = -1;
  await until(async () => {
    await new Promise((resolve) => setTimeout(resolve, 40));
    const still = given > 0 && given === before;
    before = given;
    return still;
  });
  assert.ok(given * data.length < 32e6, `${given} events were taken for nobody`);

  const gone = await connect("/waiting");
  await gone.read(new Uint8Array(1000));
  gone.close();
  await until(() => Promise.resolve(closed.includes("waiting")));
  deaf.close();
  await until(() => Promise.resolve(closed.includes("endless")));
  assert.deepEqual([closed.length, ended], [2, 2]);
  await server.shutdown();
});

Deno.test("events: a feed that breaks ends the stream, and the log says why", async () => {
  const broken = new Error("the disk is gone");
  const failures: unknown[] = [];
  let ended = 0;
  const feed: Feed = {
    next: () => Promise.reject(broken),
    interrupted: () => false,
    exhausted: () => false,
    close: () => {},
  };
  const text = await new Response(
    eventStream(feed, { beatMs: 1000, ended: () => void ended++, failed: (error) => failures.push(error) }),
  ).text();
  assert.equal(text, "retry: 2000\n\n");
  assert.deepEqual([failures, ended], [[broken], 1]);
});

Deno.test("events: 60 clients of one job, a third deaf and a third coming and going, all hear everything once", () =>
  onStage({}, async (theatre) => {
    const { worker, serve, ask } = theatre;
    const base = serve();
    const { id } = await queued(theatre, { steps: 40 });
    worker.start();
    const port = Number(new URL(base).port);
    const deaf = await Promise.all(Array.from({ length: 20 }, async () => {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      await connection.write(new TextEncoder().encode(`GET /v1/jobs/${id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n`));
      return connection;
    }));
    const steady = Array.from({ length: 20 }, async () => (await (await follow(base, id)).rest()).map((one) => one.id));
    const restless = Array.from({ length: 20 }, async (_, i) => {
      const ids: string[] = [];
      for (let last = ""; ids.at(-1) !== "43";) {
        const stream = await follow(base, id, { headers: { "Last-Event-ID": last } });
        for (let left = 1 + i % 5; left > 0; left--) {
          const one = await stream.next();
          if (one === null) break;
          if (one.id !== null) ids.push(last = one.id);
        }
        await stream.cancel();
      }
      return ids;
    });
    let worst = 0;
    for (let step = 1; step <= 40; step++) {
      worker.step(id, step);
      const begun = performance.now();
      await (await ask("/healthz")).body?.cancel();
      worst = Math.max(worst, performance.now() - begun);
    }
    await worker.succeed(id);
    const all = Array.from({ length: 43 }, (_, i) => String(i + 1));
    for (const ids of await Promise.all([...steady, ...restless])) assert.deepEqual(ids, all);
    for (const connection of deaf) connection.close();
    assert.ok(worst < 100, `healthz took ${worst} ms`);
    await until(async () => await openStreams(theatre) === 0);
  }));

Deno.test("events: POST /v1/splice/stream over a socket goes on as a job when its client leaves", () =>
  onStage({}, async (theatre) => {
    const { worker, serve, ledger } = theatre;
    const response = await fetch(`${serve()}/v1/splice/stream`, { method: "POST", body: pairForm({ steps: 2 }) });
    const stream = eventsOf(response);
    const first = await stream.next();
    assert.equal(response.headers.get("location"), `/v1/jobs/${first?.data.id}`);
    await stream.cancel();
    await until(async () => await openStreams(theatre) === 0);
    const id = worker.start();
    assert.equal(id, first?.data.id);
    await worker.succeed(id);
    assert.equal(ledger.get(id)?.job.status, "succeeded");
    const result = await fetch(`${serve()}/v1/jobs/${id}/result`);
    assert.equal(result.headers.get("content-length"), String(fixture("rgb-16.png").length));
    assert.deepEqual(await result.bytes(), fixture("rgb-16.png"));
  }));

Deno.test("events: several jobs over one connection, each from its own place, and what became of each", () =>
  onStage({ beatMs: 10 }, async (theatre) => {
    const { worker, serve, ask } = theatre;
    const base = serve();
    const first = (await queued(theatre, { steps: 3 })).id;
    worker.start();
    await worker.succeed(first);
    const second = (await queued(theatre, { steps: 3 })).id;
    const jobs = `${first}:3,${second}:0,nobody:0`;
    const stream = eventsOf(await fetch(`${base}/v1/events?jobs=${jobs}`));
    const opening = [await stream.next(), await stream.next(), await stream.next()];
    assert.deepEqual(opening.map((told) => [told?.name, told?.data.job]), [
      ["over", first],
      ["open", second],
      ["unknown", "nobody"],
    ]);
    assert.deepEqual((await stream.next())?.data.id, 1);
    worker.start();
    await worker.succeed(second);
    const rest = await stream.rest();
    assert.deepEqual(rest.map(({ name, data }) => `${name} ${data.job === second} ${data.id}`), [
      "started true 2",
      "succeeded true 3",
      "over true null",
    ]);
    assert.equal(await openStreams(theatre), 0);
    for (const wrong of ["", "?jobs=", "?jobs=a,", "?jobs=a:x", `?jobs=${"a:1,".repeat(32)}a:1`]) {
      assert.equal((await ask(`/v1/events${wrong}`)).status, 422, wrong);
    }
    const left = eventsOf(await fetch(`${base}/v1/events?jobs=${(await queued(theatre)).id}:0`));
    await left.next();
    await left.cancel();
    await until(async () => await openStreams(theatre) === 0);
  }));
