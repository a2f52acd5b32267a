/** How the page reads and follows event streams: what it relies on in the library's parser, and the connections that come and go. No browser, no server. */
import assert from "node:assert/strict";
import { createParser } from "eventsource-parser";
import fc from "fast-check";
import { type Connection, follow, type Followed } from "../../../src/web/talk/follow.ts";

/** One thing that a stream says. `id` is the last one seen, null before the first. */
type SseItem =
  | { readonly kind: "event"; readonly id: string | null; readonly name: string; readonly data: string }
  | { readonly kind: "retry"; readonly milliseconds: number };

function parse(...pieces: string[]): SseItem[] {
  const items: SseItem[] = [];
  let lastId: string | null = null;
  const parser = createParser({
    onId: (id) => lastId = id,
    onRetry: (milliseconds) => items.push({ kind: "retry", milliseconds }),
    onEvent: ({ event: name = "message", data }) => items.push({ kind: "event", id: lastId, name, data }),
  });
  for (const piece of pieces) parser.feed(piece);
  return items;
}
const event = (id: string | null, name: string, data: string): SseItem => ({ kind: "event", id, name, data });

Deno.test("the parser: fields, comments, several lines of data, the last id", () => {
  const text =
    "\ufeff: a comment\nid: 1\nevent: queued\ndata: {}\n\nretry: 2500\ndata: a\ndata:b\ndata\nunknown: x\n\nevent: nothing\n\nid: 2\ndata: c\n\n";
  assert.deepEqual(parse(text), [
    event("1", "queued", "{}"),
    { kind: "retry", milliseconds: 2500 },
    event("1", "message", "a\nb\n"),
    event("2", "message", "c"),
  ]);
});

Deno.test("the parser: an id with a NUL and a retry that is no number do not count", () => {
  assert.deepEqual(parse("id: 7\ndata: a\n\nid: 8\0\nretry: soon\ndata: b\n\n"), [
    event("7", "message", "a"),
    event("7", "message", "b"),
  ]);
});

Deno.test("the parser: lines end with CR, LF or both, and an unfinished event waits", () => {
  assert.deepEqual(
    parse("data: a\r\n\r\ndata: b\r\rdata: c\n\ndata: d\n"),
    ["a", "b", "c"].map((data) => event(null, "message", data)),
  );
  assert.deepEqual(parse("data: a\r", "\n\r", "\nx"), [event(null, "message", "a")]);
});

Deno.test("the parser: wherever the text is cut, the items are the same", () => {
  const line = fc.constantFrom(
    "id: 3",
    "data: x",
    "data",
    "event: progress",
    ": beat",
    "retry: 10",
    "",
    "",
    "nonsense",
    "data: \u00e9 \u{1f5bc}",
  );
  const ending = fc.constantFrom("\n", "\r\n", "\r");
  const stream = fc.array(fc.tuple(line, ending), { maxLength: 30 }).map((lines) => lines.flat().join("") + "\n");
  fc.assert(fc.property(stream, fc.array(fc.nat(400), { maxLength: 12 }), (text, cuts) => {
    const at = [0, ...cuts.filter((cut) => cut < text.length).sort((a, b) => a - b), text.length];
    const pieces = at.slice(1).map((end, index) => text.slice(at[index], end));
    assert.deepEqual(parse(...pieces), parse(text));
  }));
});

/** What a server says to one connection: text, then the end, or a break; or another answer than 200. */
type Script =
  | string
  | { readonly then: "break"; readonly text: string }
  | { readonly status: number }
  | "refuse"
  | "silence";

interface Followup {
  readonly events: Followed[];
  readonly connections: Connection[];
  /** The Last-Event-ID of each request. */
  readonly asked: (string | null)[];
  readonly waits: number[];
}

async function followScript(
  scripts: readonly Script[],
  options: { after?: number; patience?: number; stopAfter?: number } = {},
): Promise<Followup> {
  const seen: Followup = { events: [], connections: [], asked: [], waits: [] };
  const stop = new AbortController();
  let at = 0;
  await follow("/events", {
    fetch(_url, init) {
      seen.asked.push(new Headers(init.headers).get("Last-Event-ID"));
      const script = scripts[at++];
      if (script === undefined) {
        stop.abort();
        return Promise.reject(new TypeError("no more script"));
      }
      return answer(script, init.signal!);
    },
    wait(milliseconds) {
      seen.waits.push(milliseconds);
      return Promise.resolve();
    },
    onEvents: (events) => seen.events.push(...events),
    onConnection: (connection) => seen.connections.push(connection),
    signal: stop.signal,
    ...options,
  });
  return seen;
}

function answer(script: Script, signal: AbortSignal): Promise<Response> {
  if (script === "refuse") return Promise.reject(new TypeError("connection refused"));
  if (script === "silence") {
    const body = new ReadableStream<Uint8Array>({
      start: (stream) => signal.addEventListener("abort", () => stream.error(signal.reason)),
    });
    return Promise.resolve(new Response(body));
  }
  if (typeof script === "object" && "status" in script) {
    return Promise.resolve(new Response(null, { status: script.status }));
  }
  const text = new TextEncoder().encode(typeof script === "string" ? script : script.text);
  let told = false;
  const body = new ReadableStream<Uint8Array>({
    pull(stream) {
      if (!told) stream.enqueue(text);
      else if (typeof script === "string") stream.close();
      else stream.error(new TypeError("connection reset"));
      told = true;
    },
  });
  return Promise.resolve(new Response(body));
}

const said = (id: number, name: string, data = "{}") => `id: ${id}\nevent: ${name}\ndata: ${data}\n\n`;

Deno.test("following: comes back after a break with the last id, and hands on nothing twice", async () => {
  const seen = await followScript([
    {
      text: said(1, "queued") + "event: queued\ndata: 2\n\n" + said(2, "started") + "id: 3\nevent: prog",
      then: "break",
    },
    said(2, "started") + said(3, "progress") + "event: preview\ndata: {}\n\n",
    said(4, "succeeded"),
  ]);
  assert.deepEqual(seen.events.map(({ id, name }) => `${id} ${name}`), [
    "1 queued",
    "null queued",
    "2 started",
    "3 progress",
    "null preview",
    "4 succeeded",
  ]);
  assert.deepEqual(seen.asked, [null, "2", "3"]);
  assert.equal(seen.connections.at(-1), "over");
  assert.deepEqual(seen.connections.filter((connection) => connection === "live").length, 3);
});

Deno.test("following: asks for what comes after what is known already", async () => {
  const seen = await followScript([said(8, "canceled")], { after: 7 });
  assert.deepEqual(seen.asked, ["7"]);
  assert.deepEqual(seen.events.map(({ id }) => id), [8]);
});

Deno.test("following: 204 ends it, 404 means that the job is gone", async () => {
  assert.equal((await followScript([{ status: 204 }])).connections.at(-1), "over");
  const gone = await followScript([{ status: 404 }]);
  assert.equal(gone.connections.at(-1), "gone");
  assert.equal(gone.waits.length, 0);
});

Deno.test("following: waits longer from failure to failure, at most 15 s and some, and no more once it is through", async () => {
  const failures: Script[] = ["refuse", { status: 503 }, "refuse", "refuse", "refuse", "refuse"];
  const { waits } = await followScript([...failures, said(1, "queued"), said(2, "failed")]);
  assert.equal(waits.length, 7);
  assert.ok(waits[0] >= 1500 && waits[0] <= 2500, `first wait ${waits[0]} ms`);
  assert.ok(waits[1] > 2900 && waits[2] > 5900, `then ${waits}`);
  assert.ok(waits.every((wait) => wait <= 15_000 * 1.25));
  assert.ok(waits[6] <= 1250, "after a clean end it comes back soon");
});

Deno.test("following: waits as long as the server says", async () => {
  const { waits } = await followScript([`retry: 3000\n\n${said(1, "queued")}`, said(2, "canceled")]);
  assert.ok(waits[0] >= 2250 && waits[0] <= 3750, `${waits[0]} ms`);
});

Deno.test("following: a connection without a byte is given up", async () => {
  const seen = await followScript(["silence", said(1, "canceled")], { patience: 20 });
  assert.deepEqual(seen.events.map(({ id }) => id), [1]);
  assert.equal(seen.waits.length, 1);
});

Deno.test("following: resync is handed on, and counts as far as its id", async () => {
  const seen = await followScript([`id: 40\nevent: resync\ndata: {"job":{}}\n\n`, said(41, "succeeded")]);
  assert.deepEqual(seen.events.map(({ name }) => name), ["resync", "succeeded"]);
  assert.deepEqual(seen.asked, [null, "40"]);
});

Deno.test("following: an id counts until the next one, whether data came with it or not; one with a NUL does not", async () => {
  const text = "id: 3\n\nevent: progress\ndata: {}\n\nid: 9\0\nevent: progress\ndata: {}\n\n";
  const seen = await followScript([text + said(4, "progress"), said(5, "succeeded")]);
  assert.deepEqual(seen.events.map(({ id, name }) => `${id} ${name}`), ["3 progress", "4 progress", "5 succeeded"]);
  assert.deepEqual(seen.asked, [null, "4"]);
});
