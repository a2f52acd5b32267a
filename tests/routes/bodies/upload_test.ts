/** Forms as they should not be: everything that is wrong is said at once, nothing of it stays on the disk, and whatever arrives, it is the client's mistake and not the server's. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { problemSchema } from "../../../src/jobs/model/job.ts";
import { fixture, formOf, onStage, pairForm, type Theatre } from "../../support/routes/service.ts";

const png = fixture("orientation-1.png");
const text = (words: string) => new TextEncoder().encode(words);

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly fields: readonly string[];
  readonly messages: Readonly<Record<string, string>>;
}

async function refusalOf(response: Response): Promise<Refusal> {
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  const { type, status, detail, errors = [] } = problemSchema.parse(await response.json());
  assert.equal(status, response.status);
  const messages = Object.fromEntries(errors.map(({ field, message }) => [field, message]));
  return { status, code: type.slice("/problems/".length), detail, fields: errors.map(({ field }) => field), messages };
}

async function refused({ ask, uploads, ledger }: Theatre, path: string, init: RequestInit): Promise<Refusal> {
  const refusal = await refusalOf(await ask(path, { method: "POST", ...init }));
  assert.deepEqual(uploads(), [], "nothing stays on the disk");
  assert.equal(ledger.counts().queued, 0);
  return refusal;
}

/** A body written by hand. */
function raw(body: string, boundary = "b"): RequestInit {
  return { body, headers: { "content-type": `multipart/form-data; boundary=${boundary}` } };
}

const field = (name: string, value: string) =>
  `--b\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;

Deno.test("upload: all that is wrong with a form is said at once", () =>
  onStage({}, async (theatre) => {
    const form = formOf({ steps: "many", seed: -1, wieght_cls: 3, webhook_url: "ftp://example.org", photo: png });
    form.append("size", "64");
    form.append("size", "64");
    const refusal = await refused(theatre, "/v1/jobs", { body: form });
    assert.deepEqual([refusal.status, refusal.code], [422, "invalid_options"]);
    assert.deepEqual(
      refusal.fields.toSorted(),
      ["appearance", "photo", "seed", "size", "steps", "structure", "webhook_url", "wieght_cls"],
    );
    assert.match(refusal.messages.structure, /-F structure=@photo\.jpg/);
    assert.match(refusal.messages.photo, /structure and appearance are all that is taken/);
    assert.match(refusal.messages.wieght_cls, /did you mean weight_cls\?/);
    assert.match(refusal.messages.steps, /"many": it must be a whole number from 1 to 1000000/);
    assert.match(refusal.messages.size, /twice/);
    for (const message of Object.values(refusal.messages)) assert.ok(refusal.detail.includes(message), message);
  }));

Deno.test("upload: content counts, not names: what is no picture is told apart", () =>
  onStage({}, async (theatre) => {
    const kinds: [Uint8Array<ArrayBuffer>, RegExp][] = [
      [text("\0\0\0\x18ftypisom\0\0\0\0"), /it is a film; take one picture from it/],
      [text("II*\0\x10\0\0\0CR\x02\0"), /a camera's raw file; develop it/],
      [text("<!doctype html>"), /a text such as HTML/],
      [text("%PDF-1.7"), /a PDF/],
      [text("hello"), /of an unknown kind; .*JPEG, PNG, WebP, HEIC/],
      [new Uint8Array(), /it is empty/],
    ];
    for (const [bytes, message] of kinds) {
      const form = formOf({ structure: png });
      form.append("appearance", new Blob([bytes], { type: "image/png" }), "picture.png");
      const refusal = await refused(theatre, "/v1/jobs", { body: form });
      assert.deepEqual([refusal.status, refusal.code], [415, "unsupported_type"]);
      assert.deepEqual(refusal.fields, ["appearance"]);
      assert.match(refusal.messages.appearance, message);
    }
    const both = await refused(theatre, "/v1/jobs", {
      body: formOf({ structure: text("a"), appearance: text("b"), steps: 0 }),
    });
    assert.equal(both.status, 422);
    assert.deepEqual(both.fields.toSorted(), ["appearance", "steps", "structure"]);

    const forgotten = await refused(theatre, "/v1/jobs", { body: formOf({ structure: "photo.jpg", appearance: png }) });
    assert.match(forgotten.messages.structure, /came as text.*structure=@photo\.jpg, with the @/);
  }));

Deno.test("upload: a picture over 25 MB is 413 and named, and the body's sum is bounded", () =>
  onStage({}, async (theatre) => {
    const large = new Uint8Array(25e6 + 1);
    large.set(png);
    const refusal = await refused(theatre, "/v1/jobs", {
      body: formOf({ structure: png, steps: 3, appearance: large }),
    });
    assert.deepEqual([refusal.status, refusal.code, refusal.fields], [413, "payload_too_large", ["appearance"]]);
    assert.match(refusal.detail, /appearance: it has more than 25 MB/);

    const first = await refused(theatre, "/v1/features", { body: formOf({ layers: "1", image: large }) });
    assert.deepEqual([first.status, first.fields], [413, ["image"]]);

    const response = await theatre.ask("/v1/jobs", {
      method: "POST",
      body: pairForm({ structure: large.subarray(0, 25e6) }),
    });
    assert.equal(response.status, 202, "25 MB are no more than 25 MB");
    await response.body?.cancel();
  }));

Deno.test("upload: an announced length over the limit is refused unread", () =>
  onStage({}, async (theatre) => {
    let pulled = 0;
    const body = new ReadableStream({
      pull(controller) {
        pulled++;
        controller.enqueue(text("x"));
      },
    }, { highWaterMark: 0 });
    const headers = { "content-type": "multipart/form-data; boundary=b", "content-length": "51000001" };
    const refusal = await refused(theatre, "/v1/splice", { body, headers, duplex: "half" } as RequestInit);
    assert.equal(refusal.status, 413);
    assert.match(refusal.detail, /at most 51 MB/);
    assert.equal(pulled, 0);
  }));

Deno.test("upload: what is no form is 415, what cannot be read as one 400", () =>
  onStage({}, async (theatre) => {
    const whole = field("structure", "x") + "--b--";
    const cases: [number, RegExp, RequestInit][] = [
      [415, /application\/json, and must be multipart\/form-data/, {
        body: "{}",
        headers: { "content-type": "application/json" },
      }],
      [415, /urlencoded/, { body: new URLSearchParams({ steps: "3" }) }],
      [415, /has no Content-Type/, { body: new Uint8Array([1, 2, 3]) }],
      [415, /has no Content-Type/, {}],
      [400, /no boundary/, { body: whole, headers: { "content-type": "multipart/form-data" } }],
      [400, /no boundary/, {
        body: whole,
        headers: { "content-type": `multipart/form-data; boundary=${"b".repeat(71)}` },
      }],
      [400, /it is empty/, { headers: { "content-type": "multipart/form-data; boundary=b" } }],
      [400, /ends before its closing boundary/, raw("")],
      [400, /does not begin with the boundary/, raw(whole, "another")],
      [400, /ends before its closing boundary/, raw(field("structure", "x"))],
      [400, /ends before its closing boundary/, raw("--b\r\ncontent-disposition: form-data")],
      [400, /has no name/, raw("--b\r\ncontent-type: text/plain\r\n\r\nx\r\n--b--")],
      [400, /more than 64 parts/, raw(Array.from({ length: 65 }, (_, i) => field(`f${i}`, "x")).join("") + "--b--")],
      [400, /header of one of its parts is too long/, raw(`--b\r\nx: ${"y".repeat(9000)}\r\n\r\nx\r\n--b--`)],
    ];
    for (const [status, detail, init] of cases) {
      const refusal = await refused(theatre, "/v1/jobs", init);
      assert.equal(refusal.status, status, String(detail));
      assert.match(refusal.detail, detail);
    }
    const broken = await refused(theatre, "/v1/jobs", {
      ...raw(""),
      body: new ReadableStream({ start: (controller) => controller.error(new Error("connection reset")) }),
      duplex: "half",
    } as RequestInit);
    assert.equal(broken.status, 400);
    assert.match(broken.detail, /connection broke/);
  }));

Deno.test("upload: fields are UTF-8 text of a sane length, under names of any kind", () =>
  onStage({}, async (theatre) => {
    const bytes = (...parts: (string | number[])[]) =>
      new Uint8Array(parts.flatMap((part) => typeof part === "string" ? [...text(part)] : part));
    const broken = await refused(theatre, "/v1/jobs", {
      ...raw(""),
      body: bytes('--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n', [0xff, 0xfe], "\r\n--b--\r\n"),
    });
    assert.match(broken.messages.model, /not UTF-8/);
    const header = await refused(theatre, "/v1/jobs", {
      ...raw(""),
      body: bytes('--b\r\ncontent-disposition: form-data; name="', [0xff], '"\r\n\r\nx\r\n--b--\r\n'),
    });
    assert.deepEqual(header.fields, ["structure", "appearance", "ÿ"], "what is not UTF-8 is Latin-1");
    const long = await refused(theatre, "/v1/jobs", { body: pairForm({ model: "m".repeat(10_001) }) });
    assert.match(long.messages.model, /more than 10000 bytes/);
    const odd = await refused(theatre, "/v1/jobs", {
      body: pairForm({ __proto__x: 1, constructor: "2", "": 3, "模型": "4" }),
    });
    assert.deepEqual(odd.fields.toSorted(), ["", "__proto__x", "constructor", "模型"]);
    const proto = await refused(theatre, "/v1/jobs", raw(field("__proto__", "1") + field("toString", "1") + "--b--"));
    assert.equal(proto.status, 422);
    assert.ok(proto.fields.includes("__proto__"), proto.fields.join());
  }));

Deno.test("upload: the parts are the same however the body is cut, and what follows it does not matter", () =>
  onStage({}, async ({ ask }) => {
    const form = new Response(pairForm({ steps: 9 }));
    const type = form.headers.get("content-type")!;
    const whole = new Uint8Array([...await form.bytes(), ...text("\r\nan epilogue")]);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(whole.length), { maxLength: 12 }), async (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), whole.length];
        const pieces = at.slice(1).map((end, i) => whole.subarray(at[i], end));
        const init = {
          method: "POST",
          body: ReadableStream.from(pieces),
          headers: { "content-type": type },
          duplex: "half",
        };
        const response = await ask("/v1/jobs", init as RequestInit);
        assert.equal(response.status, 202);
        assert.equal((await response.json()).steps, 9);
      }),
      { numRuns: 25 },
    );
  }));

Deno.test("upload: at every length a form can be cut off at, and with any byte damaged, the answer is the client's mistake", () =>
  onStage({ queue: 100_000 }, async (theatre) => {
    const form = new Response(pairForm({ steps: 9, model: "splice-tiny8" }));
    const headers = { "content-type": form.headers.get("content-type")! };
    const whole = await form.bytes();
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 3), async (length) => {
        const response = await theatre.ask("/v1/jobs", { method: "POST", body: whole.slice(0, length), headers });
        const { status } = await refusalOf(response);
        assert.equal(status, 400);
      }),
      { numRuns: 60 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), async (at, byte) => {
        const body = whole.slice();
        body[at] = byte;
        const response = await theatre.ask("/v1/jobs", { method: "POST", body, headers });
        if (response.status === 202) await response.body?.cancel();
        else assert.ok([400, 415, 422].includes((await refusalOf(response)).status));
      }),
      { numRuns: 120 },
    );
    assert.deepEqual(theatre.uploads(), []);
  }));

Deno.test("upload: names in Latin-1, parameters in capitals and without quotes are taken", () =>
  onStage({}, async ({ ask }) => {
    const latin = (words: string) => Uint8Array.from(words, (letter) => letter.charCodeAt(0));
    const part = (header: string, content: Uint8Array) => [latin(`--b\r\n${header}\r\n\r\n`), content, latin("\r\n")];
    const file = "Content-Type: image/png\r\nCONTENT-DISPOSITION: form-data; ";
    // A large part in between, so that later headers are seen where they are.
    const large = new Uint8Array(150_000);
    large.set(fixture("orientation-1.png"));
    const body = new Blob([
      ...part(`${file}NAME="structure"; FILENAME="caf\xe9 \\"x\\".png"`, png),
      ...part(`${file}filename=h\xe4user; Name=appearance`, large),
      ...part('Content-Disposition: form-data; Name="steps"', text("3")),
      ...part("content-disposition: FORM-DATA;name=seed", text("5")),
      latin("--b--\r\n"),
    ] as Uint8Array<ArrayBuffer>[]);
    const answer = await ask("/v1/jobs", {
      method: "POST",
      body,
      headers: { "content-type": "multipart/form-data; boundary=b" },
    });
    const job = await answer.json();
    assert.equal(answer.status, 202, JSON.stringify(job));
    assert.deepEqual([job.options.steps, job.options.seed], [3, 5]);
  }));
