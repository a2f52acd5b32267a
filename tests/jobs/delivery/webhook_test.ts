/** Webhooks: what is sent, how often, in which order, and where it never goes. The receivers are servers on the loopback address. */
import assert from "node:assert/strict";
import { openOutbox } from "../../../src/jobs/local/outbox.ts";
import { post } from "../../../src/jobs/delivery/post.ts";
import { openWebhooks, verifySignature, type WebhookOptions } from "../../../src/jobs/delivery/webhook.ts";
import { atBench, type Bench, startedEvent } from "../../support/jobs/job_store.ts";

interface Got {
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

interface Receiver {
  readonly port: number;
  readonly got: Got[];
}

type Answer = (request: Request, count: number) => Response | Promise<Response>;

async function atReceiver(answer: Answer, use: (receiver: Receiver, bench: Bench) => Promise<void>): Promise<void> {
  const got: Got[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    got.push({ path: new URL(request.url).pathname, headers: request.headers, body: await request.text() });
    return await answer(request, got.length);
  });
  try {
    await atBench((bench) => use({ port: server.addr.port, got }, bench), { now: () => new Date() });
  } finally {
    await server.shutdown();
  }
}

/** Sends, and counts what became of it. */
function opened(bench: Bench, options: Partial<WebhookOptions> = {}) {
  const lines: string[] = [];
  const marks: { count: number; resolve(): void }[] = [];
  let settled = 0;
  const settle = () => {
    settled++;
    marks.filter(({ count }) => count <= settled).forEach(({ resolve }) => resolve());
  };
  const { outbox } = bench;
  const webhooks = openWebhooks({
    secret: "s3cret",
    allowPrivate: true,
    version: "1.2.3",
    log: (line) => lines.push(line),
    delays: [5, 5, 5],
    timeout: 5000,
    ...options,
    outbox: {
      ...outbox,
      async next(signal) {
        const due = await outbox.next(signal);
        return due && {
          ...due,
          delivered: () => due.delivered().then(settle),
          later: (ms) => due.later(ms).then(settle),
        };
      },
    },
  });
  return {
    ...webhooks,
    lines,
    /** Resolves when so many tries have been noted. */
    tries: (count: number) =>
      new Promise<void>((resolve) => settled >= count ? resolve() : marks.push({ count, resolve })),
  };
}

function runJob(bench: Bench, webhookUrl: string): string {
  const { id } = bench.add({ webhookUrl }).job;
  bench.ledger.claim();
  bench.ledger.started(id, startedEvent);
  return id;
}

const waiting = ({ ledger }: Bench) => ledger.deliveriesDue(new Date(8e15), 99).length;
const names = (got: readonly Got[]) => got.map(({ body }) => JSON.parse(body).event);
/** The timers of what is tested keep no process alive. */
async function alive<T>(work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => {}, 20_000);
  return await work.finally(() => clearTimeout(timer));
}

Deno.test("webhook: start and end arrive in order, signed", () =>
  atReceiver(() => new Response("thanks"), async ({ port, got }, bench) => {
    const webhooks = opened(bench);
    const id = runJob(bench, `http://127.0.0.1:${port}/hooks/a?b=c`);
    bench.ledger.succeed(id, 1);
    await alive(webhooks.tries(2));
    assert.deepEqual([names(got), waiting(bench), webhooks.lines], [["started", "succeeded"], 0, []]);
    for (const { path, headers, body } of got) {
      const parsed = JSON.parse(body);
      assert.deepEqual([path, parsed.job.id], ["/hooks/a", id]);
      assert.equal(headers.get("content-type"), "application/json");
      assert.equal(headers.get("user-agent"), "splice/1.2.3");
      assert.equal(headers.get("x-splice-event"), parsed.event);
      assert.equal(headers.get("x-splice-delivery"), parsed.delivered_id);
      assert.equal(headers.get("content-length"), String(new TextEncoder().encode(body).length));
      const signature = headers.get("x-splice-signature")!;
      assert.ok(verifySignature("s3cret", { body, signature }));
      assert.ok(!verifySignature("s3cret", { body: `${body} `, signature }));
    }
    assert.notEqual(JSON.parse(got[0].body).delivered_id, JSON.parse(got[1].body).delivered_id);
    await webhooks.close();
  }));

Deno.test("webhook: what fails is sent again, the same, before anything later", () =>
  atReceiver((_, count) => new Response(null, { status: count < 3 ? 500 : 204 }), async ({ port, got }, bench) => {
    const webhooks = opened(bench);
    const id = runJob(bench, `http://127.0.0.1:${port}/`);
    bench.ledger.cancel(id);
    await alive(webhooks.tries(4));
    assert.deepEqual(names(got), ["started", "started", "started", "canceled"]);
    assert.equal(new Set(got.slice(0, 3).map(({ body }) => body)).size, 1);
    assert.equal(waiting(bench), 0);
    assert.match(
      webhooks.lines[0],
      new RegExp(`^Webhook of job ${id} to 127.0.0.1:${port} failed: it answered 500; trying again in 1 s$`),
    );
    await webhooks.close();
  }));

Deno.test("webhook: a receiver that hangs, hangs up or sends without end holds up nobody", async () => {
  const endless = () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(1024)),
      }),
    );
  const hanging = Promise.withResolvers<Response>();
  const answers: Answer = (_, count) => count === 1 ? hanging.promise : endless();
  await atReceiver(answers, async ({ port, got }, bench) => {
    const webhooks = opened(bench, { timeout: 100 });
    runJob(bench, `http://127.0.0.1:${port}/`);
    await alive(webhooks.tries(2));
    assert.deepEqual([names(got), waiting(bench)], [["started", "started"], 0]);
    assert.match(webhooks.lines[0], /no answer within 0.1 seconds/);
    hanging.resolve(new Response());

    const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
    const other = runJob(bench, `http://127.0.0.1:${listener.addr.port}/`);
    (await listener.accept()).close();
    await alive(webhooks.tries(3));
    listener.close();
    await alive(webhooks.tries(6));
    assert.equal(waiting(bench), 0);
    assert.match(webhooks.lines.at(-1)!, new RegExp(`Webhook of job ${other} .*; given up after 4 tries`));
    await webhooks.close();
  });
});

Deno.test("webhook: redirects are followed nowhere, and after the last try it is given up", () =>
  atReceiver(() => Response.redirect("http://127.0.0.1:1/other", 307), async ({ port, got }, bench) => {
    const webhooks = opened(bench);
    const id = runJob(bench, `http://127.0.0.1:${port}/`);
    bench.ledger.succeed(id, 1);
    await alive(webhooks.tries(8));
    assert.deepEqual(names(got), [...Array(4).fill("started"), ...Array(4).fill("succeeded")]);
    assert.ok(got.every(({ path }) => path === "/"));
    assert.match(webhooks.lines[3], /it answered 307, and redirects are not followed; given up after 4 tries/);
    assert.equal(waiting(bench), 0);
    await webhooks.close();
  }));

Deno.test("webhook: a name that stands for a private address is not called, even among good ones", () =>
  atReceiver(() => new Response(), async ({ port, got }, bench) => {
    const good = { address: "93.184.216.34", family: 4 };
    const bad = [{ address: "127.0.0.1", family: 4 }, { address: "::ffff:127.0.0.1", family: 6 }, {
      address: "::1",
      family: 6,
    }];
    const answers = [[bad[0]], [good, bad[1]], [bad[2], good], []];
    const webhooks = opened(bench, {
      allowPrivate: false,
      resolve: (host) => {
        assert.equal(host, "rebind.test");
        return Promise.resolve(answers.shift()!);
      },
    });
    runJob(bench, `http://rebind.test:${port}/`);
    await alive(webhooks.tries(4));
    assert.deepEqual(got, []);
    const why = webhooks.lines.map((line) => /failed: (.*);/.exec(line)![1]);
    assert.deepEqual(
      why.slice(0, 3),
      bad.map(({ address }) => `rebind.test is ${address}, which is not a public address`),
    );
    assert.equal(why[3], "rebind.test has no address");
    await webhooks.close();

    const literal = opened(bench, { allowPrivate: false, delays: [] });
    runJob(bench, `http://127.0.0.1:${port}/`);
    runJob(bench, `http://[::1]:${port}/`);
    runJob(bench, `http://localhost:${port}/`);
    await alive(literal.tries(3));
    assert.deepEqual(got, []);
    assert.match(literal.lines[0], /failed: 127.0.0.1 is not a public address; given up after 1 try$/);
    assert.match(literal.lines[1], /failed: ::1 is not a public address; given up/);
    // A test may not resolve names; if it may, the name is what stops it.
    assert.match(literal.lines[2], /EPERM|localhost is .*, which is not a public address/);
    await literal.close();
  }));

Deno.test("webhook: it connects to the very address that was checked, under the name that was given", () =>
  atReceiver(() => new Response(), async ({ port, got }, bench) => {
    const asked: string[] = [];
    const resolve = (host: string) => {
      asked.push(host);
      return Promise.resolve([{ address: "127.0.0.1", family: 4 }]);
    };
    const webhooks = opened(bench, { resolve, delays: [] });
    runJob(bench, `http://hook.invalid:${port}/x`);
    await alive(webhooks.tries(1));
    assert.deepEqual([asked, got[0].headers.get("host"), got[0].path], [
      ["hook.invalid"],
      `hook.invalid:${port}`,
      "/x",
    ]);

    await webhooks.close();
  }));

Deno.test("webhook: https too, to the address that was checked, and only with a certificate that is trusted for the name", async () => {
  const pem = (name: string) => Deno.readTextFileSync(new URL(`../../fixtures/tls/${name}.pem`, import.meta.url));
  const bodies: string[] = [];
  const secure = { port: 0, hostname: "127.0.0.1", cert: pem("certificate"), key: pem("key"), onListen() {} };
  const server = Deno.serve(secure, async (request) => {
    bodies.push(await request.text());
    return new Response(null, { status: 202 });
  });
  const { port } = server.addr;
  const addresses = [{ address: "127.0.0.1", family: 4 }];
  const { signal } = new AbortController();
  const send = (host: string, ca?: string) =>
    post(new URL(`https://${host}:${port}/`), { body: "é", headers: {}, addresses, signal, ...(ca ? { ca } : {}) });
  try {
    assert.equal(await send("hook.invalid", pem("authority")), 202);
    assert.deepEqual(bodies, ["é"]);
    await assert.rejects(send("other.invalid", pem("authority")), /does not match|not in the cert/);
    await assert.rejects(send("127.0.0.1", pem("authority")), /does not match|not in the cert/);
    await assert.rejects(send("hook.invalid"), /unable to|self-signed|unknown/i);
    await atBench(async (bench) => {
      const webhooks = opened(bench, { resolve: () => Promise.resolve(addresses), delays: [] });
      runJob(bench, `https://hook.invalid:${port}/`);
      await alive(webhooks.tries(1));
      assert.match(webhooks.lines[0], /failed: unable to .*certificate/);
      await webhooks.close();
    }, { now: () => new Date() });
    assert.deepEqual(bodies, ["é"], "nothing was told to whom nobody trusts");
  } finally {
    await server.shutdown();
  }
});

Deno.test("webhook: what a stop interrupts is sent by the next start, and no try is counted", async () => {
  const hanging = Promise.withResolvers<Response>();
  const arrived = Promise.withResolvers<void>();
  const answer: Answer = (_, count) => {
    arrived.resolve();
    return count === 1 ? hanging.promise : new Response();
  };
  await atReceiver(answer, async ({ port, got }, bench) => {
    const first = opened(bench);
    const id = runJob(bench, `http://127.0.0.1:${port}/`);
    await arrived.promise;
    bench.ledger.succeed(id, 1);
    await first.close();
    hanging.resolve(new Response());
    assert.deepEqual(bench.ledger.deliveriesDue(new Date(), 9).map(({ tries }) => tries), [0]);
    assert.deepEqual(first.lines, []);
    bench.reopen();
    const second = opened(bench);
    await alive(second.tries(2));
    assert.deepEqual([names(got), waiting(bench)], [["started", "started", "succeeded"], 0]);
    assert.equal(got[0].body, got[1].body);
    await second.close();
  });
});

Deno.test("webhook: four at once, no more, and one slow receiver does not keep the others waiting", async () => {
  const slow = Promise.withResolvers<void>();
  let now = 0;
  let most = 0;
  const answer: Answer = async (request) => {
    most = Math.max(most, ++now);
    if (new URL(request.url).pathname === "/slow") await slow.promise;
    else await new Promise((resolve) => setTimeout(resolve, 5));
    now--;
    return new Response();
  };
  await atReceiver(answer, async ({ port, got }, bench) => {
    const ids = Array.from(
      { length: 9 },
      (_, index) => runJob(bench, `http://127.0.0.1:${port}/${index === 0 ? "slow" : index}`),
    );
    const webhooks = opened(bench);
    ids.forEach((id) => bench.ledger.succeed(id, 1));
    await alive(webhooks.tries(16));
    assert.equal(most, 4);
    assert.equal(got.filter(({ path }) => path === "/slow").length, 1);
    slow.resolve();
    await alive(webhooks.tries(18));
    assert.deepEqual([got.length, waiting(bench)], [18, 0]);
    await webhooks.close();
  });
});

Deno.test("webhook: a store that cannot note what arrived does not make a storm", () =>
  atReceiver(() => new Response(), async ({ port, got }, bench) => {
    const noted = Promise.withResolvers<string>();
    const broken = () => {
      throw new Error("the disk is full");
    };
    const webhooks = openWebhooks({
      outbox: openOutbox({
        ledger: { ...bench.ledger, delivered: broken, deliverLater: broken },
        folder: bench.folder,
      }),
      secret: "s",
      allowPrivate: true,
      version: "1",
      log: (line) => line.startsWith("Cannot note") && noted.resolve(line),
    });
    runJob(bench, `http://127.0.0.1:${port}/`);
    assert.match(await noted.promise, /Cannot note what became of a webhook of job .*: .*disk is full/);
    bench.add();
    assert.equal(got.length, 1);
    await webhooks.close();
    assert.equal(waiting(bench), 1);
  }));
