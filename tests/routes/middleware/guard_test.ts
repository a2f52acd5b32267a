/** Who is let in and what is answered to those who are not, without a socket: keys, origins, names, rates, methods, errors, headers and the log. */
import assert from "node:assert/strict";
import { FAULTS, problemSchema } from "../../../src/jobs/model/job.ts";
import { boundedStore } from "../../../src/routes/middleware/limit.ts";
import { onStage, pairForm, queued } from "../../support/routes/service.ts";

const key = "a-key-of-sixteen-letters";

async function problemOf(response: Response) {
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  const problem = problemSchema.parse(await response.json());
  assert.equal(problem.status, response.status);
  return { ...problem, code: problem.type.slice("/problems/".length) };
}

Deno.test("guard: with keys, /v1 and /metrics want one; health, page and documents do not", () =>
  onStage({ keys: ["another-key-of-this-test", key] }, async ({ ask }) => {
    for (const path of ["/v1/jobs", "/v1/models", "/v1/nothing", "/metrics"]) {
      for (const authorization of [null, "Bearer", "Bearer wrong", `Basic ${btoa("a:b")}`, `Bearer ${key}x`, key]) {
        const response = await ask(path, authorization === null ? {} : { headers: { authorization } });
        assert.equal(response.status, 401, `${path} ${authorization}`);
        assert.equal(response.headers.get("www-authenticate"), 'Bearer realm="splice"');
        assert.match((await problemOf(response)).detail, /Authorization: Bearer KEY/);
      }
      const response = await ask(path, { headers: { authorization: `bearer ${key}` } });
      assert.equal(response.status, path === "/v1/nothing" ? 404 : 200);
      await response.body?.cancel();
    }
    for (const path of ["/healthz", "/readyz", "/openapi.json", "/docs", "/examples"]) {
      const response = await ask(path);
      assert.equal(response.status, 200, path);
      await response.body?.cancel();
    }
  }));

Deno.test("guard: a page of another site can neither send nor, under a name of its own, read", () =>
  onStage({}, async ({ ask, ledger }) => {
    const post = (headers: Record<string, string>, path = "/v1/jobs") =>
      ask(path, { method: "POST", body: pairForm(), headers });
    for (const origin of ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8080"]) {
      const refused = await post({ origin });
      assert.equal(refused.status, 403, origin);
      assert.equal((await problemOf(refused)).code, "forbidden");
      const removal = await ask("/v1/jobs/x", { method: "DELETE", headers: { origin } });
      assert.equal(removal.status, 403);
      await removal.body?.cancel();
    }
    assert.equal(ledger.counts().queued, 0);
    const own = await post({ origin: "http://localhost:8080" });
    assert.equal(own.status, 202);
    await own.body?.cancel();

    for (
      const [host, status] of [["evil.example:8080", 403], ["127.0.0.1:9", 200], ["[::1]:9", 200], [
        "splice.localhost",
        200,
      ]] as const
    ) {
      for (const path of ["/v1/jobs", "/healthz"]) {
        const response = await ask(`http://${host}${path}`);
        assert.equal(response.status, status, host);
        await response.body?.cancel();
      }
    }
    const distant = await ask("http://gpu.lan:8080/v1/jobs", { from: "192.168.1.7" });
    assert.equal(distant.status, 200, "who comes over the network may know this machine by any name");
    await distant.body?.cancel();
  }));

Deno.test("guard: without configured origins there is no CORS; with them, for these alone", async () => {
  await onStage({}, async ({ ask }) => {
    const response = await ask("/v1/models", { headers: { origin: "https://a.example" } });
    assert.equal(response.headers.get("access-control-allow-origin"), null);
    await response.body?.cancel();
    const preflight = await ask("/v1/jobs", {
      method: "OPTIONS",
      headers: { origin: "https://a.example", "access-control-request-method": "POST" },
    });
    assert.equal(preflight.headers.get("access-control-allow-origin"), null);
  });
  await onStage({ cors: ["https://a.example"], keys: [key] }, async ({ ask }) => {
    const headers = { origin: "https://a.example", authorization: `Bearer ${key}` };
    const preflight = await ask("/v1/jobs", {
      method: "OPTIONS",
      headers: { origin: headers.origin, "access-control-request-method": "POST" },
    });
    assert.equal(preflight.status, 204, "a preflight carries no key");
    assert.equal(preflight.headers.get("access-control-allow-origin"), "https://a.example");
    assert.match(preflight.headers.get("access-control-allow-headers")!, /Idempotency-Key/);
    const sent = await ask("/v1/jobs", { method: "POST", body: pairForm(), headers });
    assert.equal(sent.status, 202);
    assert.equal(sent.headers.get("access-control-allow-origin"), "https://a.example");
    assert.match(sent.headers.get("access-control-expose-headers")!, /Location/);
    await sent.body?.cancel();
    const refused = await ask("/v1/jobs", {
      method: "POST",
      body: pairForm(),
      headers: { ...headers, origin: "https://b.example" },
    });
    assert.equal(refused.status, 403);
    assert.equal(refused.headers.get("access-control-allow-origin"), null);
    await refused.body?.cancel();
    const unauthorized = await ask("/v1/jobs", { headers: { origin: headers.origin } });
    assert.equal(
      unauthorized.headers.get("access-control-allow-origin"),
      "https://a.example",
      "or its page could not read why",
    );
    await unauthorized.body?.cancel();
  });
});

Deno.test("guard: creating requests are counted by client", () =>
  onStage({ rateLimit: 2 }, async ({ ask, ledger }) => {
    const post = (from: string, headers = {}) => ask("/v1/jobs", { method: "POST", body: pairForm(), from, headers });
    for (const left of ["1", "0"]) {
      const response = await post("192.0.2.1");
      assert.equal(response.status, 202);
      assert.equal(response.headers.get("ratelimit-limit"), "2");
      assert.equal(response.headers.get("ratelimit-remaining"), left);
      await response.body?.cancel();
    }
    const refused = await post("192.0.2.1", { "x-forwarded-for": "192.0.2.99" });
    assert.equal(refused.status, 429);
    const wait = Number(refused.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 60);
    assert.equal(refused.headers.get("ratelimit-remaining"), "0");
    assert.match((await problemOf(refused)).detail, /more than 2 creating requests a minute/);
    assert.equal(ledger.counts().queued, 2);

    const reading = await ask("/v1/jobs", { from: "192.0.2.1" });
    assert.deepEqual([reading.status, reading.headers.get("ratelimit-limit")], [200, "60000"]);
    await reading.body?.cancel();
    const statuses: number[] = [];
    for (const from of ["2001:db8:1:2::1", "2001:db8:1:2:ffff::2", "2001:db8:1:2::3", "2001:db8:1:3::1"]) {
      const response = await post(from);
      statuses.push(response.status);
      await response.body?.cancel();
    }
    assert.deepEqual(statuses, [202, 202, 429, 202], "a network of IPv6 is one client");
  }));

Deno.test("guard: behind a trusted proxy the last hop is the client, and the proxy's name is the server's", () =>
  onStage({ rateLimit: 1, trustProxy: true }, async ({ ask, records }) => {
    const post = (forwarded: string) =>
      ask("http://splice.example/v1/jobs", {
        method: "POST",
        body: pairForm(),
        headers: {
          "x-forwarded-for": forwarded,
          "x-forwarded-host": "public.example",
          origin: "https://public.example",
        },
      });
    const statuses: number[] = [];
    for (const forwarded of ["6.6.6.6, 192.0.2.1", "7.7.7.7, 192.0.2.2", "8.8.8.8, 192.0.2.1", "<script>"]) {
      const response = await post(forwarded);
      statuses.push(response.status);
      await response.body?.cancel();
    }
    assert.deepEqual(statuses, [202, 202, 429, 202]);
    const clients = records.map((record) => record.what === "request" ? record.client : "");
    assert.deepEqual(clients, ["192.0.2.1", "192.0.2.2", "192.0.2.1", "127.0.0.1"]);
  }));

Deno.test("guard: counting takes a bounded memory, and forgets those first whose window ends first", async () => {
  const store = boundedStore(3);
  for (const client of ["a", "a", "b", "c"]) await store.increment(client);
  assert.equal((await store.increment("a")).totalHits, 3);
  await store.increment("d");
  assert.equal((await store.increment("b")).totalHits, 2);
  assert.equal((await store.increment("a")).totalHits, 1, "it was forgotten for d");
});

Deno.test("guard: a known address answers other methods with 405 and Allow, an unknown one with 404", () =>
  onStage({}, async ({ ask }) => {
    const cases: [string, string, number, string | null][] = [
      ["PUT", "/v1/jobs", 405, "POST, GET, HEAD, OPTIONS"],
      ["GET", "/v1/splice", 405, "POST, OPTIONS"],
      ["HEAD", "/v1/splice", 405, "POST, OPTIONS"],
      ["POST", "/v1/jobs/x", 405, "GET, HEAD, DELETE, OPTIONS"],
      ["DELETE", "/healthz", 405, "GET, HEAD, OPTIONS"],
      ["FOO", "/v1/models", 405, "GET, HEAD, OPTIONS"],
      ["OPTIONS", "/v1/jobs/x", 204, "GET, HEAD, DELETE, OPTIONS"],
      ["GET", "/v1/nothing", 404, null],
      ["POST", "/nothing", 404, null],
      ["OPTIONS", "/nothing", 404, null],
    ];
    for (const [method, path, status, allow] of cases) {
      const response = await ask(path, { method });
      assert.deepEqual([response.status, response.headers.get("allow")], [status, allow], `${method} ${path}`);
      if (status === 204 || method === "HEAD") assert.equal(response.body, null);
      else assert.equal((await problemOf(response)).code, status === 405 ? "method_not_allowed" : "not_found");
    }
  }));

Deno.test("guard: what nobody foresaw is 500 without its inside, and the log has the rest", () =>
  onStage({}, async (theatre) => {
    theatre.broken = new Error("secret path /home/x");
    const response = await theatre.ask("/v1/models", { headers: { "x-request-id": "mine-1" } });
    assert.equal(response.status, 500);
    const { code, detail } = await problemOf(response);
    assert.equal(code, "internal");
    assert.ok(!detail.includes("secret") && detail.includes("mine-1"));
    assert.equal(response.headers.get("cache-control"), "no-store");
    assert.deepEqual(theatre.records.map(({ what, request }) => [what, request]), [["error", "mine-1"], [
      "request",
      "mine-1",
    ]]);
    const [logged] = theatre.records;
    assert.ok(logged.what === "error" && logged.error === theatre.broken);
  }));

Deno.test("guard: every answer has an id and the security headers, and a line in the log", () =>
  onStage({}, async (theatre) => {
    const { ask, records } = theatre;
    const { id } = await queued(theatre);
    records.length = 0;
    const paths = [
      "/healthz",
      `/v1/jobs/${id}?x=1`,
      `/v1/jobs/${id}/structure`,
      "/v1/nothing",
      "/docs",
      `/v1/jobs/${id}/events`,
    ];
    for (const path of paths) {
      const response = await ask(path, { headers: { "x-request-id": "not sane!" }, from: "192.0.2.7" });
      await response.body?.cancel();
      const { headers } = response;
      assert.match(headers.get("x-request-id")!, /^[\da-f-]{36}$/);
      const policy = headers.get("content-security-policy")!;
      assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/);
      assert.match(policy, /frame-ancestors 'none'; base-uri 'none'/);
      assert.equal(headers.get("x-content-type-options"), "nosniff");
      assert.equal(headers.get("referrer-policy"), "no-referrer");
      assert.equal(headers.get("x-frame-options"), "DENY");
      assert.equal(headers.get("strict-transport-security"), null);
      assert.equal(headers.get("server"), null);
      const record = records.at(-1);
      assert.ok(record?.what === "request");
      assert.deepEqual([record.request, record.client], [headers.get("x-request-id"), "192.0.2.7"]);
      assert.deepEqual([record.method, record.path, record.status], ["GET", path.split("?")[0], response.status]);
      assert.ok(record.ms >= 0);
    }
    const lines = records.map((record) => record.what === "request" ? [record.route, record.bytes] : []);
    assert.deepEqual(lines[1][0], "/v1/jobs/{id}");
    assert.deepEqual(lines[2], ["/v1/jobs/{id}/structure", 157]);
    assert.deepEqual(lines[3][0], "unmatched");
    assert.deepEqual(lines[5], ["/v1/jobs/{id}/events", null]);
  }));

Deno.test("guard: each kind of problem is explained at its own address, to people and to programs", () =>
  onStage({}, async ({ ask }) => {
    for (const [code, { status, title }] of Object.entries(FAULTS)) {
      const response = await ask(`/problems/${code}`);
      assert.equal(response.status, 200);
      const about = await response.json();
      assert.deepEqual([about.type, about.status, about.title], [`/problems/${code}`, status, title]);
      assert.ok(about.remedy.length > 10);
      const page = await ask(`/problems/${code}`, { headers: { accept: "text/html,*/*;q=0.8" } });
      assert.match(page.headers.get("content-type")!, /^text\/html/);
      assert.ok((await page.text()).includes(title));
    }
    for (const name of ["nothing", "constructor", "%3Cscript%3E"]) {
      assert.equal((await problemOf(await ask(`/problems/${name}`))).code, "not_found");
    }
  }));
