/** How forms arrive: too slowly, too many at once, too fast for everyone else, or broken off. */
import assert from "node:assert/strict";
import { type Problem, problemSchema } from "../../../src/jobs/model/job.ts";
import { fixture, onStage, pairForm } from "../../support/routes/service.ts";

const text = (words: string) => new TextEncoder().encode(words);
const type = "multipart/form-data; boundary=b";
const field = (name: string, value: string) =>
  `--b\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;

async function problemOf(response: Response): Promise<Problem> {
  const problem = problemSchema.parse(await response.json());
  assert.equal(problem.status, response.status);
  return problem;
}

/** A body that begins well and then waits for `more`. */
function stalling(): { init: RequestInit; end: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(text(field("steps", "3"))),
    async pull(controller) {
      await promise;
      controller.close();
    },
  });
  const init = { method: "POST", body, headers: { "content-type": type }, duplex: "half" } as RequestInit;
  return { init, end: resolve };
}

Deno.test("upload: who sends nothing for long, or takes too long, is not waited for", () =>
  onStage({ receiving: { idleMs: 30 } }, async (theatre) => {
    const { init, end } = stalling();
    const refusal = await problemOf(await theatre.ask("/v1/jobs", init));
    assert.deepEqual([refusal.status, refusal.type], [408, "/problems/too_slow"]);
    assert.deepEqual(theatre.uploads(), []);
    assert.match(refusal.detail, /nothing has arrived for 0\.03 s/);
    end();
  }).then(() =>
    onStage({ receiving: { totalMs: 30 } }, async (theatre) => {
      const { init, end } = stalling();
      const refusal = await problemOf(await theatre.ask("/v1/jobs", init));
      assert.equal(refusal.status, 408);
      assert.match(refusal.detail, /more than 0\.03 s/);
      end();
    })
  ));

Deno.test("upload: only so many arrive at one time, and none once the server stops", () =>
  onStage({ receiving: { uploads: 2 } }, async (theatre) => {
    const slow = [stalling(), stalling()];
    const waiting = slow.map(({ init }) => theatre.ask("/v1/jobs", init));
    const third = await problemOf(await theatre.ask("/v1/jobs", { method: "POST", body: pairForm() }));
    assert.deepEqual([third.status, third.type], [503, "/problems/unavailable"]);
    slow[0].end();
    assert.equal((await problemOf(await waiting[0])).status, 400);
    const fourth = await theatre.ask("/v1/jobs", { method: "POST", body: pairForm() });
    assert.equal(fourth.status, 202, "the place is free again");
    await fourth.body?.cancel();
    theatre.stop();
    const stopped = await problemOf(await waiting[1]);
    assert.equal(stopped.status, 503);
    assert.match(stopped.detail, /the server is stopping/);
    slow[1].end();
    assert.deepEqual(theatre.uploads(), []);
  }));

Deno.test("upload: one client does not take all the places", () =>
  onStage({ receiving: { uploads: 3, uploadsOfClient: 1 } }, async (theatre) => {
    const slow = stalling();
    const waiting = theatre.ask("/v1/jobs", slow.init);
    const second = await problemOf(await theatre.ask("/v1/jobs", { method: "POST", body: pairForm() }));
    assert.equal(second.status, 503);
    assert.match(second.detail, /1 others of yours are arriving/);
    slow.end();
    assert.equal((await problemOf(await waiting)).status, 400);
    const third = await theatre.ask("/v1/jobs", { method: "POST", body: pairForm() });
    assert.equal(third.status, 202, "the place is free again");
    await third.body?.cancel();
  }));

Deno.test("upload: while 50 MB arrive as fast as they can, the event loop has its turns", () =>
  onStage({}, async ({ ask }) => {
    const picture = new Uint8Array(25e6);
    picture.set(fixture("orientation-1.png"));
    const body = await new Response(pairForm({ structure: picture, appearance: picture })).blob();
    const longestTurn = async () => {
      let [worst, last] = [0, performance.now()];
      const ticking = setInterval(() => {
        worst = Math.max(worst, performance.now() - last);
        last = performance.now();
      }, 1);
      const response = await ask("/v1/jobs", { method: "POST", body });
      clearInterval(ticking);
      assert.equal(response.status, 202);
      await response.body?.cancel();
      return worst;
    };
    // The best of three: other programs of this machine have their turns too.
    const worst = [await longestTurn(), await longestTurn(), await longestTurn()];
    assert.ok(Math.min(...worst) < 100, `turns of ${worst} ms`);
  }));

Deno.test("upload: over a socket, a body that is too long or breaks off is refused, and the server goes on", () =>
  onStage({}, async ({ serve, records, uploads }) => {
    const base = serve();
    const port = Number(new URL(base).port);
    const open = async (head: string) => {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      const start = `POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n`;
      await connection.write(text(`${start}${head}\r\n`));
      return connection;
    };
    const long = await open("Content-Length: 99000000\r\n");
    const buffer = new Uint8Array(2000);
    const answer = new TextDecoder().decode(buffer.subarray(0, (await long.read(buffer))!));
    assert.match(answer, /^HTTP\/1\.1 413 /);
    long.close();

    const broken = await open("Content-Length: 5000\r\n");
    await broken.write(text(field("structure", "x")));
    broken.close();
    const chunked = await open("Transfer-Encoding: chunked\r\n");
    await chunked.write(text("5\r\n--b\r\n\r\n0\r\n\r\n"));
    const refusal = new TextDecoder().decode(buffer.subarray(0, (await chunked.read(buffer))!));
    assert.match(refusal, /^HTTP\/1\.1 400 /);
    chunked.close();

    const fine = await fetch(`${base}/v1/jobs`, { method: "POST", body: pairForm() });
    assert.equal(fine.status, 202);
    await fine.body?.cancel();
    const statuses = records.map((record) => record.what === "request" ? record.status : record.what);
    assert.ok(statuses.every((status) => [413, 400, 202].includes(status as number)), statuses.join());
    assert.deepEqual(uploads(), []);
  }));
