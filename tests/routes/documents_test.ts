/** What the server says of itself: the OpenAPI document, its page, the page's files, the bundled photographs, health and counters. */
import assert from "node:assert/strict";
import { Validator } from "@seriousme/openapi-schema-validator";
import { imageSize } from "image-size";
import { problemSchema } from "../../src/jobs/model/job.ts";
import { optionFlags, recipeNames } from "../../src/splice/transfer/recipe.ts";
import { onStage, pairForm, queued, root } from "../support/routes/service.ts";

Deno.test("documents: the OpenAPI document is valid 3.1 and knows every route", () =>
  onStage({ keys: ["a-key-of-sixteen-letters"] }, async ({ ask }) => {
    const response = await ask("/openapi.json");
    assert.equal(response.headers.get("content-type"), "application/json");
    const document = await response.json();
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors));
    assert.equal(document.openapi, "3.1.0");
    assert.equal(document.info.version, "1.2.3");
    assert.deepEqual(document.security, [{ bearer: [] }]);
    assert.deepEqual(document.paths["/healthz"].get.security, []);
    const routes = Object.entries(document.paths as Record<string, object>)
      .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`));
    assert.deepEqual(routes.toSorted(), [
      "delete /v1/jobs/{id}",
      "get /healthz",
      "get /metrics",
      "get /readyz",
      "get /v1/events",
      "get /v1/jobs",
      "get /v1/jobs/{id}",
      "get /v1/jobs/{id}/appearance",
      "get /v1/jobs/{id}/events",
      "get /v1/jobs/{id}/generator",
      "get /v1/jobs/{id}/image",
      "get /v1/jobs/{id}/preview",
      "get /v1/jobs/{id}/result",
      "get /v1/jobs/{id}/structure",
      "get /v1/jobs/{id}/trained",
      "get /v1/models",
      "post /v1/attention",
      "post /v1/features",
      "post /v1/generators/{id}/apply",
      "post /v1/jobs",
      "post /v1/pca",
      "post /v1/preview",
      "post /v1/similarity",
      "post /v1/splice",
      "post /v1/splice/stream",
    ]);
  }));

Deno.test("documents: a form's options are documented by the schema of the command line", () =>
  onStage({}, async ({ ask }) => {
    const document = await (await ask("/openapi.json")).json();
    const { properties, required } =
      document.paths["/v1/splice"].post.requestBody.content["multipart/form-data"].schema;
    assert.deepEqual(required, ["structure", "appearance"]);
    assert.deepEqual(
      Object.keys(properties).toSorted(),
      [...recipeNames, "structure", "appearance", "webhook_url"].toSorted(),
    );
    for (const { name, default: usual } of optionFlags()) {
      assert.ok(properties[name].description.length > 10, name);
      if (usual !== undefined) assert.equal(properties[name].default, usual);
    }
    assert.deepEqual([properties.steps.type, properties.steps.minimum, properties.steps.maximum], [
      "integer",
      1,
      1_000_000,
    ]);
    assert.deepEqual(document.security, []);
  }));

Deno.test("documents: the API page is made of this server's own files", () =>
  onStage({}, async ({ ask }) => {
    const response = await ask("/docs");
    assert.match(response.headers.get("content-type")!, /^text\/html/);
    const html = await response.text();
    const addresses = Array.from(html.matchAll(/(?:src|href)="(\/[^"]+)"/g), ([, address]) => address);
    assert.deepEqual(addresses, [
      "/assets/swagger-ui.css",
      "/assets/swagger-ui-bundle.js",
      "/docs/start.js",
      "/openapi.json",
    ]);
    assert.doesNotMatch(html, /<script>|<style|style=|onload/, "nothing inline, or the policy would stop it");
    const script = await ask("/docs/start.js");
    assert.match(script.headers.get("content-type")!, /^text\/javascript/);
    assert.match(await script.text(), /"\/openapi\.json".*validatorUrl: null/);
  }));

Deno.test("documents: the page's files with types, tags and compression, and nothing outside their folder", async () => {
  const folder = await Deno.makeTempDir();
  const script = `console.log("${"x".repeat(3000)}");`;
  await Deno.writeTextFile(`${folder}/index.html`, "<!doctype html><title>Splice</title>");
  await Deno.writeTextFile(`${folder}/app.js`, script);
  await Deno.writeTextFile(`${folder}/app.css`, "body {}");
  await Deno.writeTextFile(`${folder}/.secret.js`, "secret");
  await Deno.mkdir(`${folder}/folder.js`);
  try {
    await onStage({ assets: folder }, async ({ ask }) => {
      const page = await ask("/");
      assert.match(page.headers.get("content-type")!, /^text\/html; charset=utf-8/i);
      assert.match(await page.text(), /<title>Splice/);
      for (const path of ["/app.js", "/assets/app.js"]) {
        const plain = await ask(path);
        assert.match(plain.headers.get("content-type")!, /^text\/javascript/);
        assert.equal(plain.headers.get("cache-control"), "no-cache");
        assert.equal(plain.headers.get("content-length"), String(script.length));
        assert.equal(await plain.text(), script);
        const zipped = await ask(path, { headers: { "accept-encoding": "gzip, br" } });
        assert.equal(zipped.headers.get("content-encoding"), "gzip");
        assert.match(zipped.headers.get("vary")!, /Accept-Encoding/);
        assert.equal(await new Response(zipped.body!.pipeThrough(new DecompressionStream("gzip"))).text(), script);
        const tag = plain.headers.get("etag")!;
        assert.notEqual(zipped.headers.get("etag"), tag);
        const same = await ask(path, { headers: { "if-none-match": tag } });
        assert.deepEqual([same.status, await same.text()], [304, ""]);
        const refused = await ask(path, { headers: { "accept-encoding": "gzip;q=0" } });
        assert.equal(refused.headers.get("content-encoding"), null);
        await refused.body?.cancel();
      }
      const head = await ask("/assets/app.css", { method: "HEAD" });
      assert.deepEqual([head.status, head.headers.get("content-length"), head.body], [200, "7", null]);
      for (
        const name of [
          "nothing.js",
          ".secret.js",
          "folder.js",
          "..%2fapp.js",

          "app",
          "app.js%00",
          "a/app.js",
        ]
      ) {
        const response = await ask(`/assets/${name}`);
        assert.equal(response.status, 404, name);
        await response.body?.cancel();
      }
      await Deno.writeTextFile(`${folder}/app.css`, "main { color: red }");
      assert.equal(await (await ask("/app.css")).text(), "main { color: red }", "a rebuilt page shows at once");
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  await onStage({}, async ({ ask }) => {
    const response = await ask("/");
    assert.equal(response.status, 404);
    assert.match(problemSchema.parse(await response.json()).detail, /not built/);
  });
});

Deno.test("documents: every bundled photograph is named with its author and licence", () =>
  onStage({}, async ({ ask }) => {
    const { examples } = await (await ask("/examples")).json();
    const files = Array.from(Deno.readDirSync(`${root}examples`), ({ name }) => name).filter((name) =>
      /\.(jpg|png|webp)$/.test(name)
    );
    assert.deepEqual(examples.map(({ file }: { file: string }) => file).toSorted(), files.toSorted());
    const readme = Deno.readTextFileSync(`${root}examples/README.md`);
    for (const { file, title, attribution, licence, licence_url, url } of examples) {
      const row = readme.split("\n").find((line) => line.includes(`\`${file}\``))!;
      assert.ok(row.includes(attribution) && row.includes(`[${licence}](${licence_url})`), row);
      assert.ok(title.length > 3);
      const picture = await ask(url);
      assert.equal(picture.headers.get("content-type"), "image/jpeg");
      assert.equal(imageSize(await picture.bytes()).type, "jpg");
    }
    for (const name of ["README.md", "nothing.jpg", "..%2fdeno.json"]) {
      const response = await ask(`/examples/${name}`);
      assert.equal(response.status, 404);
      await response.body?.cancel();
    }
  }));

Deno.test("documents: healthz always, readyz once a worker is, and not while the server stops", () =>
  onStage({}, async (theatre) => {
    const { ask, stop } = theatre;
    const ready = await ask("/readyz");
    assert.deepEqual(await ready.json(), { status: "ready", workers: 1, ready: 1, adapter: "a scripted one" });
    theatre.ready = 0;
    const early = await ask("/readyz");
    assert.equal(early.status, 503);
    assert.ok(Number(early.headers.get("retry-after")) >= 1);
    assert.match(problemSchema.parse(await early.json()).detail, /none of 1 GPU workers/);
    theatre.ready = 1;
    stop();
    const late = await ask("/readyz");
    assert.equal(late.status, 503);
    await late.body?.cancel();
    const alive = await ask("/healthz");
    assert.deepEqual([alive.status, await alive.json()], [200, { status: "ok", version: "1.2.3" }]);
  }));

Deno.test("documents: the counters follow requests and jobs, without a path among their labels", () =>
  onStage({}, async (theatre) => {
    const { ask, worker } = theatre;
    const first = await queued(theatre);
    worker.start();
    worker.step(first.id, 1);
    worker.step(first.id, 2);
    await worker.succeed(first.id);
    await queued(theatre);
    await queued(theatre);
    worker.start();
    for (const path of [`/v1/jobs/${first.id}`, "/v1/jobs/none", "/secret/path", "/v1/jobs"]) {
      await (await ask(path)).body?.cancel();
    }
    await (await ask("/v1/jobs", { method: "POST", body: pairForm({ steps: "x" }) })).body?.cancel();
    await (await ask("/v1/jobs", { method: "BREW" })).body?.cancel();
    const response = await ask("/metrics");
    assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    for (
      const line of [
        'splice_http_requests_total{method="POST",route="/v1/jobs",status="202"} 3',
        'splice_http_requests_total{method="POST",route="/v1/jobs",status="422"} 1',
        'splice_http_requests_total{method="GET",route="/v1/jobs/{id}",status="200"} 1',
        'splice_http_requests_total{method="GET",route="/v1/jobs/{id}",status="404"} 1',
        'splice_http_requests_total{method="GET",route="unmatched",status="404"} 1',
        'splice_http_requests_total{method="other",route="unmatched",status="405"} 1',
        'splice_http_request_seconds_count{method="GET",route="/v1/jobs"} 1',
        "splice_queue_length 1",
        "splice_jobs_running 1",
        "splice_steps_total 2",
        "splice_step_seconds_sum 1",
        'splice_jobs_total{outcome="succeeded"} 1',
        'splice_jobs_total{outcome="failed"} 0',
        "splice_worker_restarts_total 0",
        "splice_device_planned_bytes 1000",
        "splice_workers_ready 1",
        "splice_event_streams_open 0",
        'splice_info{version="1.2.3"} 1',
      ]
    ) assert.ok(text.includes(`${line}\n`), line);
    assert.ok(Number(/^process_resident_memory_bytes (\d+)$/m.exec(text)![1]) > 1e7);
    assert.ok(!text.includes("secret") && !text.includes(first.id));
  }));
