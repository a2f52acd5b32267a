/** Feature inversion on small pictures: what it gives, that it can be stopped and continued, what it refuses. */
import assert from "node:assert/strict";
import { openGpu, openRuntime, type Runtime } from "../../../src/engine/mod.ts";
import { conduct, type Progress } from "../../../src/splice/transfer/conduct.ts";
import { extractFeatures } from "../../../src/splice/instruments/features.ts";
import {
  decodeInversion,
  encodeInversion,
  fingerprintOfInversion,
  type Inversion,
  type InversionOptions,
  openInversion,
} from "../../../src/splice/instruments/inversion.ts";
import { type InversionRecipe, parseInversion } from "../../../src/splice/instruments/inversion_options.ts";
import { noiseAt, planInversion } from "../../../src/splice/instruments/inversion_program.ts";
import { priorLevels } from "../../../src/nets/prior.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { tinyExtractor, tinyPicture, trainTo } from "../../support/splice/tiny.ts";

const picture = tinyPicture(45, 36, 1);

function recipe(options: Readonly<Record<string, unknown>> = {}): InversionRecipe {
  const parsed = parseInversion({ feature: "keys", vit_side: 32, steps: 8, preview_every: 0, ...options });
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.recipe;
}

/** A device of its own for each run, so that nothing of an earlier one is left. */
async function withInversion<T>(
  options: Partial<InversionOptions>,
  use: (inversion: Inversion, runtime: Runtime) => Promise<T>,
): Promise<T> {
  const runtime = openRuntime(await openGpu());
  const ingredients = { extractor: tinyExtractor, recipe: recipe(), picture, ...options };
  try {
    return await use(
      await openInversion({ fingerprint: fingerprintOfInversion(ingredients), ...ingredients, runtime }),
      runtime,
    );
  } finally {
    runtime.close();
  }
}

gpuTest("inversion: the picture comes to have the photograph's keys, at the size that the extractor sees", async () => {
  const steps = 40;
  await withInversion({ recipe: recipe({ steps }) }, async (inversion, runtime) => {
    assert.deepEqual(inversion.seen, { width: 40, height: 32 });
    const losses = (await trainTo(inversion, steps)).map(({ losses }) => losses.total!);
    assert.equal(losses.length, steps);
    assert.ok(losses.at(-1)! < 0.7 * losses[0], `the loss went from ${losses[0]} to ${losses.at(-1)}`);
    const painted = await inversion.render();
    assert.deepEqual([painted.width, painted.height], [40, 32]);
    assert.ok(painted.data.every((value) => value > 0 && value < 1));
    const keys = async (of: typeof painted) => {
      const options = { layers: [1], side: 32, longest: 64, resize: "bilinear" } as const;
      const { tensors } = await extractFeatures(runtime, { extractor: tinyExtractor, picture: of, ...options });
      return tensors.get("block.1.keys")!.data;
    };
    const [wanted, got] = [await keys(picture), await keys(painted)];
    const error = got.reduce((sum, value, i) => sum + (value - wanted[i]) ** 2, 0) / got.length;
    assert.ok(error < losses.at(-2)! * 1.2, `${error} is what features says, ${losses.at(-1)} what training said`);
  });
});

for (const options of [{ feature: "cls", layer: 0 }, { feature: "keys", prior: "none" }]) {
  const name = Object.values(options).join(" ");
  gpuTest(`inversion: ${name}: stopped and continued, it gives the bytes of a run that nothing disturbed`, async () => {
    const wanted = recipe({ ...options, seed: 4 });
    const whole = await withInversion({ recipe: wanted }, async (inversion) => ({
      reports: await trainTo(inversion, 8),
      picture: await inversion.render(),
    }));
    const { first, checkpoint } = await withInversion({ recipe: wanted }, async (inversion) => {
      const first = await trainTo(inversion, 3);
      await inversion.render(); // looking changes nothing
      const { tensors, metadata } = encodeInversion(await inversion.checkpoint());
      return { first, checkpoint: decodeInversion(tensors, metadata)! };
    });
    assert.equal(checkpoint.step, 3);
    await withInversion({ recipe: wanted, checkpoint }, async (inversion) => {
      assert.equal(inversion.step(), 3);
      assert.deepEqual([...first, ...await trainTo(inversion, 8)], whole.reports);
      assert.deepEqual(await inversion.render(), whole.picture);
    });
    await assert.rejects(
      withInversion({ recipe: { ...wanted, seed: 5 }, checkpoint }, () => Promise.resolve()),
      /another run \(seed is 5, was 4\)/,
    );
    const other = await withInversion({ recipe: { ...wanted, seed: 5 } }, (inversion) => trainTo(inversion, 1));
    assert.notDeepEqual(other, whole.reports.slice(0, 1), "another seed is another run");
  });
}

gpuTest(
  "inversion: weights are hashed only for who wants checkpoints: what a run is called is for its caller to say",
  async () => {
    await withInversion({ fingerprint: "" }, async (inversion) => {
      assert.equal((await inversion.checkpoint()).fingerprint, "");
    });
  },
);

gpuTest("inversion: is conducted as a transfer is: progress, previews, checkpoints, and a stop", async () => {
  await withInversion({ recipe: recipe({ steps: 100_000, preview_every: 3 }) }, async (inversion) => {
    const controller = new AbortController();
    const seen: Progress[] = [];
    const [previews, saved]: number[][] = [[], []];
    await conduct(inversion, {
      recipe: { steps: 100_000, preview_every: 3 },
      signal: controller.signal,
      onSteps(_, progress) {
        seen.push(progress);
        if (progress.step >= 6) controller.abort();
      },
      onPreview: (picture, step) => void previews.push(step, picture.width),
      save: (checkpoint) => Promise.resolve(void saved.push(checkpoint.step)),
    });
    assert.deepEqual([previews.length > 0, previews[1]], [true, 40]);
    assert.equal(saved.at(-1), inversion.step());
    assert.deepEqual(Object.keys(seen[0].losses), ["total"]);
    assert.equal(seen[0].steps, 100_000);
  });
});

gpuTest("inversion: what does not fit is refused with a size that does", async ({ runtime }) => {
  const plan = (options: Record<string, unknown>, memoryLimit: number) =>
    planInversion({
      recipe: recipe(options),
      vit: tinyExtractor.vit,
      profile: runtime.gpu.profile,
      picture: { width: 600, height: 500 },
      bindingBytes: 2 ** 27,
      memoryLimit,
    });
  const limit = 64 * 2 ** 20;
  let message = "";
  assert.throws(() => plan({ vit_side: 400 }, limit), (error: Error) => {
    message = error.message;
    return /^Cannot invert at vit_side 400: it needs \d+ MiB, and 64 MiB are free; vit_side \d+ would fit$/.test(
      message,
    );
  });
  const fits = Number(/vit_side (\d+) would/.exec(message)![1]);
  assert.ok(plan({ vit_side: fits }, limit).memory.totalBytes <= limit);
  assert.throws(() => plan({ layer: 2 }, limit), /Cannot look at block 2: the model has 2 blocks, 0 to 1/);
  await Promise.resolve();
});

Deno.test("inversion: the noise of [CLS] goes down as published, in proportion to the steps", () => {
  const published = [0, 9_999, 10_000, 14_999, 15_000, 19_999].map((t) => noiseAt(t, 20_000));
  assert.deepEqual(published, [10, 10, 2, 2, 0.5, 0.5]);
  assert.deepEqual([0, 49, 50, 74, 75, 99].map((t) => noiseAt(t, 100)), [10, 10, 2, 2, 0.5, 0.5]);
  assert.equal(noiseAt(0, 1), 10);
});

Deno.test("inversion: the network has as many levels as the picture has room for", () => {
  assert.deepEqual([224, 65, 64, 33, 32, 16, 8, 7].map((side) => priorLevels(side, 500)), [6, 6, 5, 5, 3, 2, 1, 1]);
  assert.throws(() => priorLevels(500, 6), /picture of 6 x 500 out of noise: its sides must be at least 7/);
});

Deno.test("inversion: options are completed, and what is wrong with them is said at once", () => {
  const parsed = parseInversion({ feature: "cls" });
  assert.deepEqual(parsed.ok && parsed.recipe, {
    feature: "cls",
    prior: "unet",
    steps: 20_000,
    seed: 0,
    learning_rate: 0.01,
    resize: "bilinear",
    preview_every: 100,
  });
  const refused = parseInversion({ layer: "-1", prior: "gan", vit_side: 96, vit_longest: 64, sede: 3 });
  assert.deepEqual(!refused.ok && refused.errors.map(({ message }) => message).sort(), [
    "Cannot do without feature: it must be cls or keys",
    'Cannot use layer = "-1": it must be a whole number from 0 to 255',
    'Cannot use prior = "gan": it must be unet or none',
    "Cannot use sede: there is no such option; did you mean seed?",
  ]);
});
