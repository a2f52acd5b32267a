/** Inversions and looks over HTTP, without a socket: which forms make them, what is wrong with others, and what the document says of them. */
import assert from "node:assert/strict";
import { type Job, jobSchema, problemSchema } from "../../src/jobs/model/job.ts";
import { inversionOptionNames } from "../../src/splice/instruments/inversion_options.ts";
import { lookNames, lookOptionNames } from "../../src/splice/instruments/look_options.ts";
import { recipeNames } from "../../src/splice/transfer/recipe.ts";
import { fixture, formOf, inversionForm, onStage, pairForm, type Theatre } from "../support/routes/service.ts";

const post = ({ ask }: Theatre, path: string, body: FormData, headers = {}) =>
  ask(path, { method: "POST", body, headers });

async function inverted(theatre: Theatre, fields: Parameters<typeof formOf>[0] = {}): Promise<Job> {
  const response = await post(theatre, "/v1/jobs", inversionForm(fields));
  const job = await response.json();
  assert.equal(response.status, 202, JSON.stringify(job));
  return jobSchema.parse(job);
}

async function refusal(response: Response) {
  const { type, errors = [], detail } = problemSchema.parse(await response.json());
  const messages = Object.fromEntries(errors.map(({ field, message }) => [field, message]));
  return { status: response.status, code: type.slice("/problems/".length), messages, detail };
}

Deno.test("instruments: an inversion is a job like others, with its own picture and options, and no generator", () =>
  onStage({}, async (theatre) => {
    const { ask, worker, uploads } = theatre;
    const job = await inverted(theatre, { layer: 2, steps: 5, prior: "none" });
    assert.ok(job.kind === "invert");
    const { feature, layer, steps, prior } = job.options;
    assert.deepEqual([feature, layer, steps, prior, job.steps], ["keys", 2, 5, "none", 5]);
    const image = await ask(job.urls.image!);
    assert.equal(image.headers.get("content-type"), "image/png");
    assert.deepEqual(await image.bytes(), fixture("orientation-1.png"));
    for (const name of ["structure", "appearance"]) {
      const { status, code } = await refusal(await ask(`/v1/jobs/${job.id}/${name}`));
      assert.deepEqual([status, code], [404, "not_found"]);
    }
    worker.start();
    worker.step(job.id, 5);
    await worker.succeed(job.id);
    const { urls, status } = jobSchema.parse(await (await ask(`/v1/jobs/${job.id}`)).json());
    assert.deepEqual([status, urls.generator, urls.apply, urls.result], [
      "succeeded",
      null,
      null,
      `/v1/jobs/${job.id}/result`,
    ]);
    assert.equal((await refusal(await ask(`/v1/jobs/${job.id}/generator`))).code, "not_found");
    const apply = await post(theatre, `/v1/generators/${job.id}/apply`, formOf({ image: fixture("grey.png") }));
    assert.equal((await refusal(apply)).code, "not_found");
    const result = await ask(urls.result!);
    assert.equal(result.status, 200);
    await result.body?.cancel();
    assert.deepEqual(uploads(), []);
  }));

Deno.test("instruments: an idempotency key tells an inversion from another, and from a transfer", () =>
  onStage({}, async (theatre) => {
    const key = { "Idempotency-Key": "k" };
    const first = await post(theatre, "/v1/jobs", inversionForm(), key);
    const again = await post(theatre, "/v1/jobs", inversionForm(), key);
    assert.equal(again.headers.get("Idempotent-Replayed"), "true");
    assert.equal((await again.json()).id, (await first.json()).id);
    for (const body of [inversionForm({ feature: "cls" }), inversionForm({ image: fixture("grey.png") }), pairForm()]) {
      const { status, code } = await refusal(await post(theatre, "/v1/jobs", body, key));
      assert.deepEqual([status, code], [409, "idempotency_conflict"]);
    }
    assert.equal(theatre.ledger.list({ limit: 9 }).length, 1);
  }));

Deno.test("instruments: all that is wrong with a job's form is said at once, whatever its kind", () =>
  onStage({}, async (theatre) => {
    const said = async (path: string, fields: Parameters<typeof formOf>[0]) =>
      await refusal(await post(theatre, path, formOf(fields)));
    const picture = fixture("grey.png");
    const wrong = await said("/v1/jobs", {
      kind: "invert",
      structure: picture,
      layer: -1,
      weight_cls: 1,
      prior: "best",
      webhook_url: "x",
    });
    assert.deepEqual([wrong.status, wrong.code], [422, "invalid_options"]);
    assert.deepEqual(Object.keys(wrong.messages).toSorted(), [
      "feature",
      "image",
      "layer",
      "prior",
      "structure",
      "webhook_url",
      "weight_cls",
    ]);
    assert.equal(wrong.messages.feature, "Cannot do without feature: it must be cls or keys");
    assert.equal(wrong.messages.structure, 'Cannot use the file "structure": image is all that is taken');
    assert.match(wrong.messages.image, /^Cannot go on without image: /);

    const mixed = await said("/v1/jobs", { image: picture, feature: "keys" });
    assert.deepEqual(Object.keys(mixed.messages).toSorted(), ["appearance", "feature", "image", "structure"]);

    const unknown = await said("/v1/jobs", { kind: "paint", image: picture, other: picture });
    assert.deepEqual(Object.keys(unknown.messages).toSorted(), ["kind", "other"]);
    assert.equal(unknown.messages.kind, 'Cannot use kind = "paint": it must be splice or invert');

    const waiting = await said("/v1/splice", { kind: "invert", feature: "keys", image: picture });
    assert.ok("kind" in waiting.messages && "image" in waiting.messages);
    assert.deepEqual(theatre.uploads(), []);
    assert.equal(theatre.ledger.list({ limit: 1 }).length, 0);
  }));

Deno.test("instruments: a look is a picture in the format that is liked best, and leaves nothing behind", () =>
  onStage({}, async (theatre) => {
    const fields = { pca: {}, attention: { head: 1, overlay: "true" }, similarity: { x: 0.2, y: 1, overlay: "false" } };
    for (const look of lookNames) {
      const body = () => formOf({ image: fixture("grey.png"), layer: 3, vit_side: 64, ...fields[look] });
      const png = await post(theatre, `/v1/${look}`, body());
      assert.deepEqual([png.status, png.headers.get("content-type")], [200, "image/png"]);
      assert.deepEqual(await png.bytes(), fixture("rgb-16.png"));
      const webp = await post(theatre, `/v1/${look}`, body(), { accept: "image/webp" });
      assert.equal(webp.headers.get("content-disposition"), `inline; filename="${look}.webp"`);
      await webp.body?.cancel();
      const other = await post(theatre, `/v1/${look}`, body(), { accept: "text/html" });
      assert.equal((await refusal(other)).code, "not_acceptable");
    }
    assert.deepEqual(theatre.uploads(), []);
  }));

Deno.test("instruments: a look's wrong fields are named with what they must be", () =>
  onStage({}, async (theatre) => {
    const said = async (look: string, fields: Parameters<typeof formOf>[0]) =>
      (await refusal(await post(theatre, `/v1/${look}`, formOf(fields)))).messages;
    const image = fixture("grey.png");
    assert.deepEqual(await said("pca", { image, layer: "x", head: 1 }), {
      layer: 'Cannot use layer = "x": it must be a whole number from 0 to 255',
      head: "Cannot use head: there is no such option; did you mean layer?",
    });
    assert.deepEqual(Object.keys(await said("attention", { head: -1, overlay: "1", x: 0 })).toSorted(), [
      "head",
      "image",
      "overlay",
      "x",
    ]);
    assert.deepEqual(await said("similarity", { image, x: 1.5, y: "" }), {
      x: 'Cannot use x = "1.5": it must be a number from 0 to 1',
      y: 'Cannot use y = "": it must be a number from 0 to 1',
    });
    assert.deepEqual(theatre.uploads(), []);
  }));

Deno.test("instruments: the document knows both kinds' options and each look's", () =>
  onStage({}, async ({ ask }) => {
    const document = await (await ask("/openapi.json")).json();
    const formAt = (path: string) => document.paths[path].post.requestBody.content["multipart/form-data"].schema;
    const { properties, required, oneOf } = formAt("/v1/jobs");
    assert.deepEqual(
      Object.keys(properties).toSorted(),
      [...new Set([...recipeNames, ...inversionOptionNames, "kind", "structure", "appearance", "image", "webhook_url"])]
        .toSorted(),
    );
    assert.deepEqual([required, properties.kind.default, properties.kind.enum], [[], "splice", ["splice", "invert"]]);
    assert.deepEqual(oneOf.map(({ required }: { required: string[] }) => required), [
      ["structure", "appearance"],
      ["kind", "feature", "image"],
    ]);
    assert.match(properties.steps.description, /^splice: .*2000\); invert: .*20000\)$/);
    for (const look of lookNames) {
      assert.deepEqual(Object.keys(formAt(`/v1/${look}`).properties), ["image", ...lookOptionNames(look)]);
    }
    const kinds = document.components.schemas.Job.oneOf ?? document.components.schemas.Job.anyOf;
    assert.equal(kinds.length, 2);
  }));
