/**
 * Seven hundred damaged pictures of all kinds through the real routes, the real creation of jobs and the real inspector: each is taken or refused with words about its field, nothing goes
 * wrong inside, and the inspector is there for the next one.
 */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { encodeImage } from "../../../src/images/encode.ts";
import { isFinal, type Job } from "../../../src/jobs/model/job.ts";
import { type DamagedFile, damagedFiles } from "../../support/weights/damage.ts";
import { withLiveApp } from "../../support/routes/live_app.ts";
import { tinyPicture } from "../../support/splice/tiny.ts";

const COUNT = 700;
const AT_ONCE = 6;

const fixtures = fileURLToPath(new URL("../../fixtures/images/", import.meta.url));
const stored = [...Deno.readDirSync(fixtures)].map(({ name }) => name).filter((name) => /\.(png|jpg|webp)$/.test(name));
const kinds = `${fixtures}kinds/`;
const others = [...Deno.readDirSync(kinds)].map(({ name }) => name).filter((name) => /\.(?!png$|mp4$)\w+$/.test(name));
const good = tinyPicture(64, 48, 1);
const fresh = await Promise.all((["png", "jpeg", "webp"] as const).map((format) => encodeImage(good, format)));
const whole = [
  ...stored.sort().map((name) => Deno.readFileSync(fixtures + name)),
  ...others.sort().map((name) => Deno.readFileSync(kinds + name)),
  ...fresh,
  ...fresh,
  ...fresh,
];

function formOf({ name, bytes }: DamagedFile): FormData {
  const form = new FormData();
  form.append("structure", new Blob([fresh[0]]), "structure.png");
  form.append("appearance", new Blob([bytes]), name);
  for (const [field, value] of Object.entries({ size: 32, vit_side: 64, steps: 1, preview_every: 0 })) {
    form.append(field, String(value));
  }
  return form;
}

Deno.test("damaged: 700 broken pictures of all kinds are taken or refused by name; none goes wrong inside, and the inspector lives on", async () => {
  await withLiveApp({ queue: COUNT }, async ({ live, ask, logged, errors }) => {
    const files = damagedFiles(COUNT, whole, 20);
    const accepted: string[] = [];
    const refusals = new Map<string, number>();
    const waiting = [...files];
    async function send(): Promise<void> {
      for (let file = waiting.shift(); file; file = waiting.shift()) {
        const response = await ask("/v1/jobs", { method: "POST", body: formOf(file) });
        const answer = await response.json();
        const said = `${file.about}, ${file.bytes.length} bytes: ${JSON.stringify(answer)}`;
        if (response.status === 202) accepted.push((answer as Job).id);
        else {
          assert.ok([413, 415, 422].includes(response.status), said);
          assert.equal(response.headers.get("Content-Type"), "application/problem+json");
          assert.ok(answer.errors, said);
          assert.deepEqual(answer.errors.map(({ field }: { field: string }) => field), ["appearance"], said);
          assert.match(answer.detail, /appearance/, said);
          refusals.set(answer.type, (refusals.get(answer.type) ?? 0) + 1);
        }
        const health = await ask("/healthz");
        assert.equal(health.status, 200);
        await health.body?.cancel();
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, send));
    const ended = await Promise.all(accepted.map((id) => live.service.finished(id)));
    assert.ok(ended.every(({ status }) => isFinal(status)));
    console.log(`  ${accepted.length} were whole enough;`, Object.fromEntries(refusals));
    assert.ok(accepted.length > 20, "hardly any could be read");
    for (const code of ["damaged", "too_large", "too_small", "unsupported_type", "untrainable"]) {
      assert.ok(refusals.has(`/problems/${code}`), `none was refused as ${code}`);
    }

    const last = await ask("/v1/jobs", { method: "POST", body: formOf({ about: "", name: "x", bytes: fresh[1] }) });
    assert.equal(last.status, 202);
    assert.equal((await live.service.finished((await last.json()).id)).status, "succeeded");
    assert.deepEqual([errors, logged], [[], []]);
  });
});
