/** Promises of a training run: the same bytes for the same seed, also across an interruption; stopping; what it refuses; what it does not compute. */
import assert from "node:assert/strict";
import { compile, EngineError, type Profile } from "../../../src/engine/mod.ts";
import { fitPicture } from "../../../src/images/picture.ts";
import { openGenerator } from "../../../src/nets/unet.ts";
import { openVit } from "../../../src/nets/vit.ts";
import {
  decodeCheckpoint,
  encodeCheckpoint,
  encodeGenerator,
  freshSlab,
  packGenerator,
  readGenerator,
  unpackGenerator,
} from "../../../src/splice/transfer/checkpoint.ts";
import { fingerprintChanges, fingerprintOf } from "../../../src/splice/transfer/fingerprint.ts";
import { objective, TERMS, termsAt, type Weights } from "../../../src/splice/transfer/objective.ts";
import { openPace } from "../../../src/splice/transfer/pace.ts";
import { decodeSafetensors, encodeSafetensors } from "../../../src/weights/formats/safetensors.ts";
import { randomStream } from "../../../src/engine/mod.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { recipe, tinyExtractor, tinyPicture, trainTo, withTrainer } from "../../support/splice/tiny.ts";

gpuTest("training: the same seed gives the same bytes, another seed others", async () => {
  const train = (seed: number) =>
    withTrainer({ recipe: recipe({ seed }) }, async (trainer) => {
      const reports = await trainTo(trainer, 6);
      return { reports, slab: await trainer.slab(), picture: await trainer.render() };
    });
  const [once, twice, other] = [await train(7), await train(7), await train(8)];
  assert.deepEqual(once.reports.map(({ step }) => step), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(twice, once);
  assert.notDeepEqual(other.slab, once.slab);
  assert.notDeepEqual(other.picture, once.picture);
});

gpuTest("training: a run that goes on from a checkpoint gives the bytes of one that never stopped", async () => {
  const whole = await withTrainer({}, async (trainer) => ({
    reports: await trainTo(trainer, 6),
    end: await trainer.checkpoint(),
  }));
  const first = await withTrainer({}, async (trainer) => {
    const reports = await trainTo(trainer, 3);
    const { tensors, metadata } = encodeCheckpoint(await trainer.checkpoint(), "reflect");
    return { reports, file: encodeSafetensors(tensors, { metadata }) };
  });
  const { tensors, metadata } = decodeSafetensors(first.file, "checkpoint");
  const checkpoint = decodeCheckpoint(tensors, metadata)!;
  assert.equal(checkpoint.step, 3);
  assert.deepEqual(readGenerator({ tensors, metadata }, "checkpoint"), {
    slab: checkpoint.slab,
    size: 52,
    padding: "reflect",
  });
  const second = await withTrainer({ checkpoint, recipe: recipe({ steps: 9 }) }, async (trainer) => ({
    reports: await trainTo(trainer, 6),
    end: await trainer.checkpoint(),
  }));
  assert.deepEqual([...first.reports, ...second.reports], whole.reports);
  assert.deepEqual({ ...second.end, fingerprint: "" }, { ...whole.end, fingerprint: "" });
  assert.equal(second.end.fingerprint, whole.end.fingerprint, "more steps are the same run");

  const refuse = (options: Parameters<typeof withTrainer>[0], message: RegExp) =>
    assert.rejects(withTrainer({ checkpoint, ...options }, () => Promise.resolve()), (error) => {
      assert.ok(error instanceof EngineError);
      assert.match(error.message, message);
      return true;
    });
  await refuse(
    { recipe: recipe({ seed: 3, weight_cls: 5 }) },
    /another run \(seed is 3, was 0; weight_cls is 5, was 10\)/,
  );
  await refuse({ appearance: tinyPicture(40, 48, 9) }, /another run \(appearance is 40x48 /);
  await refuse({ recipe: recipe({ steps: 2 }) }, /made after 3 steps, and steps is 2/);
});

gpuTest("training: it stops when asked, between steps, and can go on", async () => {
  await withTrainer({ recipe: recipe({ steps: 40 }) }, async (trainer) => {
    const controller = new AbortController();
    let seen = 0;
    await trainer.train({
      until: 40,
      signal: controller.signal,
      onSteps(reports) {
        seen += reports.length;
        if (seen >= 3) controller.abort();
      },
    });
    assert.ok(seen >= 3 && seen < 14, `${seen} steps before it stopped`);
    assert.equal(trainer.step(), seen);
    assert.deepEqual((await trainTo(trainer, seen + 2)).map(({ step }) => step), [seen, seen + 1]);
  });
});

gpuTest("training: a loss that is no number stops it, with the step and the term", async () => {
  const initial = freshSlab(randomStream(1)).fill(NaN, 0, 100);
  await withTrainer({ initial }, async (trainer) => {
    await assert.rejects(
      trainTo(trainer, 6),
      /^EngineError: Training stopped: at step 0 the loss \w+ is NaN\. Try a lower/,
    );
  });
});

gpuTest("training: a plan that does not fit is refused with a size that does", async () => {
  const pictures = { structure: tinyPicture(260, 200, 1), appearance: tinyPicture(180, 200, 2) };
  const needed = await withTrainer(pictures, (trainer) => Promise.resolve(trainer.memory.totalBytes));
  const memoryLimit = Math.round(0.7 * needed);
  let size = 0;
  await assert.rejects(withTrainer({ ...pictures, memoryLimit }, () => Promise.resolve()), (error) => {
    const found =
      /^Cannot train at size 260, vit_side 32: it needs \d+ MiB, and \d+ MiB are free; size (\d+) would fit$/.exec(
        error instanceof EngineError ? error.message : "",
      );
    assert.ok(found, String(error));
    size = Number(found[1]);
    return true;
  });
  const fitted = { structure: fitPicture(pictures.structure, size), appearance: fitPicture(pictures.appearance, size) };
  await withTrainer({ ...fitted, memoryLimit }, (trainer) => trainTo(trainer, 1));
  await assert.rejects(
    withTrainer({ ...pictures, memoryLimit: 1e6 }, () => Promise.resolve()),
    /no smaller size would fit: a smaller model/,
  );
});

gpuTest("training: steps at which nothing counts are steps too", async () => {
  const only = { weight_cls: 0, weight_ssim: 0, weight_id: 0, weight_entire_cls: 0, entire_every: 2, steps: 4 };
  await withTrainer({ recipe: recipe(only) }, async (trainer) => {
    const before = await trainer.slab();
    const reports = await trainTo(trainer, 2);
    assert.deepEqual(reports.map(({ losses }) => Object.keys(losses)), [["entire_ssim", "total"], ["total"]]);
    assert.equal(reports[1].losses.total, 0);
    assert.notDeepEqual(await trainer.slab(), before);
  });
});

const profile: Profile = {
  name: "portable",
  maxStorageBuffers: 8,
  maxWorkgroupBytes: 16384,
  maxInvocations: 256,
  maxBindingBytes: 2 ** 27,
};
const usual: Weights = { global_cls: 10, global_ssim: 1, global_id: 1, entire_ssim: 1, entire_cls: 10 };

function stepPrograms(weights: Weights, step: number, crops: { structure: number; appearance: number } | null) {
  const options = {
    vit: openVit(tinyExtractor.vit),
    generator: openGenerator("reflect"),
    structure: { width: 52, height: 44 },
    appearance: { width: 40, height: 48 },
    weights,
    side: 32,
    longest: 64,
    resize: "bilinear" as const,
    crops,
  };
  return compile("step", objective(options, termsAt(step, 4, weights)), { profile });
}

Deno.test("training: a weight of 0 removes the work of its term", () => {
  const dispatches = (without: Partial<Weights>, step = 4) =>
    stepPrograms({ ...usual, ...without }, step, { structure: 44, appearance: 40 }).step.steps.length;
  const all = dispatches({});
  for (const term of TERMS) assert.ok(dispatches({ [term]: 0 }) < all, `${term} of weight 0 still costs`);
  assert.ok(dispatches({ global_id: 0 }, 1) < 0.7 * dispatches({}, 1), "the identity term is one of two branches");
  assert.equal(dispatches({ entire_ssim: 0, entire_cls: 0 }, 4), dispatches({}, 1), "no whole image without its terms");
});

Deno.test("training: without augmentation what is aimed at is computed once", () => {
  const { prelude, step } = stepPrograms(usual, 4, null);
  const scopes = (program: typeof step | null) =>
    new Set(program?.steps.map(({ origin }) => origin.split("/")[0].split(".")[0]));
  for (const target of ["a", "b"]) {
    assert.ok(scopes(prelude).has(target), `${target} is not computed beforehand`);
    assert.ok(!scopes(step).has(target), `${target} is computed at every step`);
  }
  const augmented = scopes(stepPrograms(usual, 4, { structure: 44, appearance: 40 }).step);
  assert.ok(augmented.has("a") && augmented.has("b"));
});

Deno.test("checkpoint: a slab survives files bit for bit, and what is no checkpoint is none", () => {
  const slab = freshSlab(randomStream(3));
  assert.deepEqual(packGenerator(unpackGenerator(slab)), slab);
  assert.equal(decodeCheckpoint(unpackGenerator(slab), {}), null);
  assert.throws(
    () => readGenerator({ tensors: tinyExtractor.tensors, metadata: {} }, "vit"),
    /^WeightsError: Cannot use vit: it is not a generator/,
  );
});

Deno.test("checkpoint: what a file does not say of its padding is zero, and what is not known is refused", () => {
  const slab = freshSlab(randomStream(3));
  const { tensors, metadata } = encodeGenerator({ slab, size: undefined, padding: "reflect" }, { steps: "7" });
  assert.deepEqual(metadata, { kind: "splice-generator", steps: "7", padding: "reflect" });
  const paddingOf = (metadata: Record<string, string>) => readGenerator({ tensors, metadata }, "g").padding;
  assert.deepEqual([paddingOf({ ...metadata }), paddingOf({})], ["reflect", "zero"]);
  assert.throws(() => paddingOf({ padding: "same" }), /^WeightsError: Cannot use g: its padding is same, .* newer/);
  const state = { step: 1, slab, first: slab, second: slab, fingerprint: "" };
  for (const padding of ["zero", "reflect"] as const) {
    const { tensors, metadata } = encodeCheckpoint(state, padding);
    assert.deepEqual(decodeCheckpoint(tensors, metadata), { ...state, padding });
    const { padding: _, ...former } = metadata;
    assert.equal(decodeCheckpoint(tensors, former)?.padding, "zero");
    assert.equal(decodeCheckpoint(tensors, { ...former, padding: "same" }), null);
  }
});

Deno.test("fingerprint: what changes the numbers changes it, and nothing else does", () => {
  const base = {
    structure: tinyPicture(52, 44, 1),
    appearance: tinyPicture(40, 48, 2),
    extractor: tinyExtractor,
    recipe: recipe(),
  };
  const was = fingerprintOf(base);
  const same = fingerprintOf({ ...base, recipe: recipe({ steps: 99, preview_every: 0, model: "any" }) });
  assert.deepEqual(fingerprintChanges(was, same), []);
  const other = fingerprintOf({
    ...base,
    structure: base.appearance,
    recipe: recipe({ augment: false, vit_side: 40 }),
  });
  assert.deepEqual(fingerprintChanges(was, other).map((change) => change.split(" ")[0]), [
    "structure",
    "augment",
    "vit_side",
    "vit_longest",
  ]);
  assert.ok(fingerprintChanges("", was).length > 5);
  const zero = fingerprintOf({ ...base, recipe: recipe({ padding: "zero" }) });
  assert.ok(!zero.includes("padding"), "what does not say is of zeros: so were all runs before there was a choice");
  assert.deepEqual(fingerprintChanges(zero, was), ["padding is reflect, was zero"]);
  assert.deepEqual(fingerprintChanges(was, zero), ["padding is zero, was reflect"]);
});

Deno.test("pace: the time left ignores steps in which kernels were compiled", () => {
  const pace = openPace();
  assert.equal(pace.secondsLeft(10), null);
  pace.add(1, 60, true);
  assert.equal(pace.stepsPerSecond(), null);
  pace.add(2, 1, false);
  pace.add(1, 30, true);
  pace.add(2, 1, false);
  assert.equal(pace.stepsPerSecond(), 2);
  assert.equal(pace.secondsLeft(10), 5);
  for (let i = 0; i < 60; i++) pace.add(10, 1, false); // what is long past is forgotten
  assert.equal(pace.stepsPerSecond(), 10);
});
