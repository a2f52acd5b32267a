/**
 * The real GPU worker, as a process of its own with its own permissions: what it makes of a job, with and without being killed in the middle of it.
 */
import assert from "node:assert/strict";
import { selfCommand } from "../../../src/cli/launch.ts";
import { examineImage } from "../../../src/images/decode.ts";
import { encodeImage } from "../../../src/images/encode.ts";
import { onFloor } from "../../support/jobs/floor.ts";
import { killHard } from "../../support/cli/server.ts";
import { tinyModel, tinyPicture } from "../../support/splice/tiny.ts";

const adapter = await navigator.gpu?.requestAdapter();
if (!adapter) console.log("skipped: every test of the GPU worker, because no adapter was found");

const pictures = {
  structure: await encodeImage(tinyPicture(52, 44, 1), "png"),
  appearance: await encodeImage(tinyPicture(40, 48, 2), "png"),
};
const options = { vit_side: 32, entire_every: 4, preview_every: 5, steps: 24 };
const real = {
  model: tinyModel,
  command: (data: string) => selfCommand(["worker", "--data", data], { data }),
};

Deno.test({
  name:
    "worker: a job killed in the middle, once before and once after a checkpoint, ends with the bytes of an undisturbed one",
  ignore: !adapter,
  async fn() {
    await onFloor(real, async ({ folder, create, ended, until, supervisor, names, logged }) => {
      const undisturbed = await create(options, pictures);
      const first = await ended(undisturbed);
      assert.deepEqual([first.status, first.attempts, first.step], ["succeeded", 1, 24], logged.join("\n"));
      assert.ok(names(undisturbed).includes("progress"));

      const killed = await create({ ...options, steps: 60 }, pictures);
      await until(killed, ({ step }) => step >= 1);
      await killHard(supervisor.pids()[0]);
      await until(killed, ({ attempts, step }) => attempts === 2 && step >= 1);
      await saved(`${folder}/jobs/${killed}/checkpoint.safetensors`);
      await killHard(supervisor.pids()[0]);
      const again = await ended(killed);
      assert.deepEqual([again.status, again.attempts], ["succeeded", 3], logged.join("\n"));

      const whole = await create({ ...options, steps: 60 }, pictures);
      assert.equal((await ended(whole)).attempts, 1);
      for (const name of ["result.png", "generator.safetensors"]) {
        const [a, b] = [killed, whole].map((id) => Deno.readFileSync(`${folder}/jobs/${id}/${name}`));
        assert.deepEqual(a, b, name);
      }
      const left = [...Deno.readDirSync(`${folder}/jobs/${whole}`)].map(({ name }) => name).sort();
      assert.deepEqual(left, ["appearance", "generator.safetensors", "preview.jpg", "result.png", "structure"]);
    });
  },
});

Deno.test({
  name: "worker: a job killed between training and enlargement loses nothing; its result has the photograph's size",
  ignore: !adapter,
  async fn() {
    await onFloor(real, async ({ folder, ledger, create, ended, supervisor, logged }) => {
      const large = { ...pictures, structure: await encodeImage(tinyPicture(1801, 1201, 1), "png") };
      const small = { ...options, size: 64, steps: 6 };
      const killed = await create(small, large);
      const file = (id: string, name: string) => `${folder}/jobs/${id}/${name}`;
      await saved(file(killed, "trained.png"));
      await killHard(supervisor.pids()[0]);
      await assert.rejects(Deno.stat(file(killed, "result.png")), Deno.errors.NotFound, "it was killed too late");
      const again = await ended(killed);
      assert.deepEqual([again.status, again.attempts, again.step], ["succeeded", 2, 6], logged.join("\n"));

      const whole = await create(small, large);
      assert.deepEqual([(await ended(whole)).attempts, logged.filter((line) => /Error/.test(line))], [1, []]);
      for (const name of ["result.png", "trained.png", "generator.safetensors"]) {
        const [a, b] = [killed, whole].map((id) => Deno.readFileSync(file(id, name)));
        assert.deepEqual(a, b, name);
      }
      assert.deepEqual(await sizeOf(file(whole, "result.png")), [1801, 1201]);
      assert.deepEqual(await sizeOf(file(whole, "trained.png")), [64, 43]);
      assert.deepEqual(await sizeOf(file(whole, "preview.jpg")), [768, 512]);
      const left = [...Deno.readDirSync(`${folder}/jobs/${whole}`)].map(({ name }) => name).sort();
      assert.deepEqual(left.filter((name) => name.endsWith(".png")), ["result.png", "trained.png"]);

      // The time left was told of the enlargement too, when all steps were done.
      const told = ledger.events(whole, { after: 0, limit: 1000 }).filter(({ name }) => name === "progress");
      const finishing = told.map(({ data }) => JSON.parse(data)).filter(({ step }) => step === 6);
      assert.ok(finishing.some(({ eta_seconds }) => eta_seconds > 0), JSON.stringify(finishing));

      const none = await create({ ...small, detail: "none" }, large);
      assert.equal((await ended(none)).status, "succeeded");
      assert.deepEqual(Deno.readFileSync(file(none, "result.png")), Deno.readFileSync(file(whole, "trained.png")));
      await assert.rejects(Deno.stat(file(none, "trained.png")), Deno.errors.NotFound);
    });
  },
});

Deno.test({
  name:
    "worker: an inversion killed in the middle ends with the bytes of an undisturbed one, and leaves a picture alone",
  ignore: !adapter,
  async fn() {
    await onFloor(real, async ({ folder, create, ended, supervisor, names, logged }) => {
      const inversion = { kind: "invert", feature: "cls", vit_side: 32, steps: 60, preview_every: 20 };
      const inputs = { image: pictures.structure };
      const killed = await create(inversion, inputs);
      await saved(`${folder}/jobs/${killed}/checkpoint.safetensors`);
      await killHard(supervisor.pids()[0]);
      const again = await ended(killed);
      assert.deepEqual([again.status, again.attempts, again.step], ["succeeded", 2, 60], logged.join("\n"));
      assert.deepEqual(Object.keys(again.losses!), ["total"]);
      assert.ok(names(killed).includes("progress"));

      const whole = await create(inversion, inputs);
      assert.deepEqual([(await ended(whole)).attempts, names(whole).at(-1)], [1, "succeeded"]);
      const [a, b] = [killed, whole].map((id) => Deno.readFileSync(`${folder}/jobs/${id}/result.png`));
      assert.deepEqual(a, b);
      const left = [...Deno.readDirSync(`${folder}/jobs/${whole}`)].map(({ name }) => name).sort();
      assert.deepEqual(left, ["image", "preview.jpg", "result.png"]);
    });
  },
});

Deno.test({
  name: "worker: what cannot be trained is the job's problem, and the worker goes on",
  ignore: !adapter,
  async fn() {
    await onFloor(real, async ({ create, ended, supervisor }) => {
      const broken = await create(options, { ...pictures, appearance: pictures.appearance.subarray(0, 200) });
      const next = await create({ ...options, steps: 2 }, pictures);
      const job = await ended(broken);
      assert.deepEqual([job.status, job.error?.status, job.attempts], ["failed", 422, 1]);
      assert.match(job.error!.detail, /^Cannot read appearance/);
      const [pid] = supervisor.pids();
      assert.equal((await ended(next)).status, "succeeded");
      assert.deepEqual(supervisor.pids(), [pid]);
    });
  },
});

Deno.test({
  name: "worker: canceled within a step; pictures are rendered between the steps of a running job",
  ignore: !adapter,
  async fn() {
    await onFloor(real, async ({ folder, ledger, create, ended, until, supervisor }) => {
      const done = await create({ ...options, steps: 2 }, pictures);
      await ended(done);
      const long = await create({ ...options, steps: 100_000 }, pictures);
      await until(long, ({ step }) => step >= 4);
      await Deno.mkdir(`${folder}/uploads/x`);
      const [picture, out] = [`${folder}/uploads/x/image`, `${folder}/uploads/x/result.webp`];
      await Deno.writeFile(picture, await encodeImage(tinyPicture(77, 35, 3), "png"));
      const generator = `${folder}/jobs/${done}/generator.safetensors`;
      await supervisor.call({ task: "apply", generator, picture, options: { detail: "guided" }, out, format: "webp" });
      assert.deepEqual(await sizeOf(out), [77, 35]);
      const { step } = await until(long, () => true);
      ledger.cancel(long);
      const job = await ended(long);
      assert.equal(job.status, "canceled");
      assert.ok(job.step - step < 100, `canceled at step ${step}, ended at ${job.step}`);
    });
  },
});

async function sizeOf(path: string): Promise<number[]> {
  const { width, height } = await examineImage(await Deno.readFile(path), { label: path });
  return [width, height];
}

/** Resolves when the file is there. */
async function saved(path: string): Promise<void> {
  while (!(await Deno.stat(path).then(() => true, () => false))) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
