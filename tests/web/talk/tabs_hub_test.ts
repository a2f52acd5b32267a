/** The stream that tabs share, against a server that is played: each stream begins after its own id and misses nothing, over renewals and breaks. No browser. */
import assert from "node:assert/strict";
import { openHub, type Told } from "../../../src/web/talk/tabs_hub.ts";

/** A connection to /v1/events as the hub opened it, and what it is told there. */
interface Connection {
  readonly jobs: string;
  readonly key: string | null;
  readonly aborted: () => boolean;
  say(name: string, job: string, id?: number): void;
  end(): void;
}

function playServer() {
  const connections: Connection[] = [];
  let refusal: number | null = null;
  const hub = openHub((url, init) => {
    if (refusal !== null) return Promise.resolve(new Response(null, { status: refusal }));
    const { promise, resolve } = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>();
    const body = new ReadableStream<Uint8Array>({ start: resolve });
    const said = (text: string) => void promise.then((pipe) => pipe.enqueue(new TextEncoder().encode(text)));
    init.signal!.addEventListener("abort", () => void promise.then((pipe) => pipe.error(init.signal!.reason)));
    connections.push({
      jobs: new URL(url, "http://x").searchParams.get("jobs")!,
      key: new Headers(init.headers).get("Authorization"),
      aborted: () => init.signal!.aborted,
      say: (name, job, id) =>
        said(`event: ${name}\ndata: ${JSON.stringify({ job, id: id ?? null, data: { of: job } })}\n\n`),
      end: () => void promise.then((pipe) => pipe.close()),
    });
    return Promise.resolve(new Response(body));
  });
  return { hub, connections, refuse: (status: number | null) => refusal = status };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 40));
const short = ({ stream, ...told }: Told) =>
  `${stream} ${
    told.what === "text" ? told.text.trim().replaceAll("\n", " ") : "status" in told ? told.status : told.what
  }`;

Deno.test("tabs: streams of several tabs share a connection, each from its own place", async () => {
  const { hub, connections } = playServer();
  const told: string[][] = [[], []];
  const [one, other] = told.map((heard) => hub.connect((what) => heard.push(short(what))));
  one.hear({ what: "open", stream: 1, job: "a", after: 0, key: null });
  await turn();
  connections[0].say("open", "a");
  connections[0].say("queued", "a", 1);
  connections[0].say("started", "a", 2);
  await turn();
  other.hear({ what: "open", stream: 1, job: "b", after: 7, key: null });
  other.hear({ what: "open", stream: 2, job: "a", after: 1, key: null });
  await turn();
  assert.deepEqual(connections.map(({ jobs }) => jobs), ["a:0", "a:1,b:7"]);
  assert.ok(connections[0].aborted());
  for (const job of ["a", "b"]) connections[1].say("open", job);
  connections[1].say("started", "a", 2);
  connections[1].say("progress", "a", 3);
  connections[1].say("preview", "b");
  await turn();
  const event = (id: number | null, name: string, of: string) =>
    `${id === null ? "" : `id: ${id} `}event: ${name} data: {"of":"${of}"}`;
  assert.deepEqual(told[0], [
    "1 taken",
    "1 200",
    `1 ${event(1, "queued", "a")}`,
    `1 ${event(2, "started", "a")}`,
    `1 ${event(3, "progress", "a")}`,
  ]);
  assert.deepEqual(told[1], [
    "1 taken",
    "2 taken",
    "2 200",
    "1 200",
    `2 ${event(2, "started", "a")}`,
    `2 ${event(3, "progress", "a")}`,
    `1 ${event(null, "preview", "b")}`,
  ]);
  one.hear({ what: "leave" });
  other.hear({ what: "close", stream: 1 });
  assert.ok(!connections[1].aborted(), "one stream is left");
  other.hear({ what: "close", stream: 2 });
  assert.ok(connections[1].aborted());
});

Deno.test("tabs: the end of a job, an unknown one, a break, a refusal", async () => {
  const { hub, connections, refuse } = playServer();
  const told: string[] = [];
  const port = hub.connect((what) => told.push(short(what)));
  ["done", "none", "goes-on"].forEach((job, stream) => port.hear({ what: "open", stream, job, after: 4, key: "k" }));
  await turn();
  assert.equal(connections[0].key, "Bearer k");
  connections[0].say("over", "done");
  connections[0].say("unknown", "none");
  connections[0].say("open", "goes-on");
  await turn();
  connections[0].end();
  await turn();
  assert.deepEqual(told.slice(3), ["0 204", "1 404", "2 200", "2 end"]);
  told.length = 0;
  for (const [status, answer] of [[401, 401], [500, 503]]) {
    refuse(status);
    port.hear({ what: "open", stream: 5, job: "goes-on", after: 4, key: "k" });
    await turn();
    assert.deepEqual(told.splice(0), ["5 taken", `5 ${answer}`]);
  }
});
