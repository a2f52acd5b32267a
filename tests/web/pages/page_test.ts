/**
 * The page in a real browser, on the real routes, jobs and store; only the training is an act (`tests/support/jobs/painter.ts`). Every step ends with the question whether anything was
 * logged, forbidden or asked of another server.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Page } from "playwright-core";
import { browserTest } from "../../support/web/browser.ts";
import {
  button,
  choosePair,
  downloaded,
  example,
  handFile,
  phase,
  setOptions,
  startJob,
} from "../../support/web/page_actions.ts";
import { openPageServer } from "../../support/web/page_server.ts";
import { PAINTER_SEEDS } from "../../support/jobs/painter.ts";

const isChecked = (page: Page, name: string) => page.getByRole("radio", { name }).isChecked();

browserTest(
  "choosing: examples, files, drop, paste, swap, and a reload that keeps everything",
  async (browser, data) => {
    const server = await openPageServer({ data });
    try {
      const page = await browser.open(server.address);
      assert.equal(await page.title(), "Splice");
      await button(page, "Start").click();
      await page.locator("#structure:focus").waitFor(); // the first thing that is missing
      assert.equal(await page.locator(".fault").count(), 2);

      await choosePair(page);
      assert.equal(await page.locator(".fault").count(), 0);
      const names = () => page.locator(".place-name span").allTextContents();
      assert.deepEqual(await names(), ["Picos de Europa", "Sunset"]);
      await button(page, "Swap the two pictures").click();
      assert.deepEqual(await names(), ["Sunset", "Picos de Europa"]);
      await setOptions(page, { seed: 12 });
      await page.reload();
      await page.locator(".place-image").nth(1).waitFor();
      assert.deepEqual(await names(), ["Sunset", "Picos de Europa"]);
      assert.ok(await isChecked(page, "Quick"));
      await setOptions(page, {});
      assert.equal(await page.locator("#option-seed").inputValue(), "12");

      await page.setInputFiles("#structure", example("dandelions"));
      await page.getByText("dandelions.jpg").waitFor();
      await page.setInputFiles("#appearance", {
        name: "notes.txt",
        mimeType: "text/plain",
        buffer: Buffer.from("not a picture"),
      });
      assert.match(
        (await page.locator("#appearance-fault").textContent())!,
        /“notes\.txt” is of an unknown kind\. Use JPEG, PNG/,
      );
      await page.setInputFiles("#appearance", {
        name: "small.png",
        mimeType: "image/png",
        buffer: Buffer.from(await tinyPng()),
      });
      await page.locator("#appearance-fault").filter({ hasText: "16 × 16 pixels" }).waitFor();

      await button(page, /Remove.*structure/).click();
      await handFile(page, "drop", ".place[data-part=structure] .drop");
      await page.locator(".place-image").nth(1).waitFor();
      await button(page, /Remove.*appearance/).click();
      await handFile(page, "paste", "body");
      await page.locator(".place[data-part=appearance] .place-image").waitFor();
      assert.deepEqual(await names(), ["given.jpg", "given.jpg"]);
      assert.deepEqual(browser.complaints(), []);
    } finally {
      await server.stop();
    }
  },
);

browserTest(
  "a job: live, reloaded in the middle, over a restart of the server, to the result and on",
  async (browser, data) => {
    let server = await openPageServer({ data });
    try {
      const page = await browser.open(server.address);
      await choosePair(page);
      const address = await startJob(page, { seed: PAINTER_SEEDS.held, steps: 70, preview_every: 5 });
      await phase(page, "warming");
      await phase(page, "running");
      await page.locator(".stage .chip").filter({ hasText: "Preview, step 30" }).waitFor();
      assert.match(await page.title(), /^\d+ % · Splice$/);
      await page.locator(".progress-words").filter({ hasText: /Step 30 of 70\s*50 steps\/s · 1 s left/ }).waitFor();

      await page.reload();
      await page.locator(".legend button").first().waitFor();
      await page.locator(".progress-words").filter({ hasText: "Step 30 of 70" }).waitFor();
      assert.match(
        (await page.locator(".chart").getAttribute("aria-label"))!,
        /The total went from 7\d\./,
        "the curves begin at the first step again",
      );
      const total = button(page, /^Total/);
      await total.click();
      assert.equal(await total.getAttribute("aria-pressed"), "false");

      const port = Number(new URL(server.address).port);
      await server.stop();
      await page.locator(".standing").filter({ hasText: /Connecting|No connection/ }).waitFor();
      server = await openPageServer({ data, port });
      await phase(page, "succeeded");
      assert.equal(page.url(), address);
      assert.equal(await page.title(), "Done · Splice");
      browser.complaints(/Failed to load resource/); // of the time without a server

      const slider = page.getByRole("slider").first();
      await slider.focus();
      await page.keyboard.press("End");
      await page.locator('[role=slider][aria-valuenow="100"]').waitFor();
      await page.keyboard.press("ArrowLeft", { delay: 100 });
      await page.locator('[role=slider]:not([aria-valuenow="100"])').waitFor(); // it moves with the next frame
      const { x, y, width, height } = (await slider.boundingBox())!;
      await page.mouse.click(x + width / 4, y + height / 2);
      await page.locator('[role=slider][aria-valuenow="25"]').waitFor();

      const id = new URL(address).searchParams.get("job")!.slice(0, 8);
      const png = await downloaded(page, button(page, "Download picture"));
      assert.deepEqual([png.name, png.head.slice(1, 4)], [`splice-${id}.png`, "PNG"]);
      assert.match((await downloaded(page, button(page, "Download as JPEG"))).head, /^\xff\xd8\xff/);
      assert.match((await downloaded(page, button(page, "Download as WebP"))).head, /^RIFF....WEBP/s);
      assert.equal((await downloaded(page, button(page, "Download the generator"))).name, `splice-${id}.safetensors`);
      await page.setInputFiles("#apply", example("aitzgorri"));
      const painted = await downloaded(page, button(page, "Download this one"));
      assert.deepEqual([painted.name, painted.head.slice(1, 4)], ["aitzgorri-spliced.png", "PNG"]);
      await button(page, "Have the network paint all of the structure picture").click();
      await page.locator(".applied .stage[style*='1.333']").waitFor();
      assert.equal((await downloaded(page, button(page, "Download this one"))).name, "structure-spliced.png");

      await button(page, "Again with other options").click();
      await page.locator(".place-image").nth(1).waitFor();
      await setOptions(page, {});
      assert.deepEqual([
        await page.locator("#option-steps").inputValue(),
        await page.locator("#option-preview_every").inputValue(),
      ], ["70", "5"]);
      assert.deepEqual(browser.complaints(), []);
    } finally {
      await server.stop();
    }
  },
);

browserTest("errors at their fields, failures, the queue, cancelling, the gallery", async (browser, data) => {
  const server = await openPageServer({ data });
  try {
    const page = await browser.open(server.address);
    await choosePair(page);
    await setOptions(page, { steps: 0 });
    assert.match((await page.locator("#option-steps-fault").textContent())!, /whole number from 1 to 1000000/);
    await setOptions(page, {
      steps: 60,
      weight_cls: 0,
      weight_ssim: 0,
      weight_id: 0,
      weight_entire_cls: 0,
      weight_entire_ssim: 0,
    });
    await button(page, "Start").click();
    await page.locator("#option-weight_cls-fault").filter({ hasText: "one of the weights must be above 0" }).waitFor();
    await page.locator("#option-weight_cls:focus").waitFor();
    assert.deepEqual(browser.complaints(/status of 422/), []);

    // The first answer is lost on its way: the page asks again, and there is one job all the same.
    await page.route("**/v1/jobs", async (route) => {
      await route.fetch();
      await route.abort("connectionreset");
    }, { times: 1 });
    await startJob(page, { weight_cls: 10, seed: PAINTER_SEEDS.fails });
    const { jobs } = await (await fetch(`${server.address}/v1/jobs`)).json();
    assert.equal(jobs.length, 1);
    assert.deepEqual(browser.complaints(/ERR_CONNECTION_RESET/), []);
    await phase(page, "failed");
    assert.match((await page.locator(".notice").textContent())!, /Try a smaller learning_rate/);
    assert.equal(await page.locator("main h1").textContent(), "Failed");
    await button(page, "Change and try again").click();
    await page.locator(".place-image").nth(1).waitFor();

    const slow = await startJob(page, { seed: PAINTER_SEEDS.slow, steps: 500 });
    await phase(page, "running");
    const waiting = await browser.open(server.address);
    await choosePair(waiting);
    await startJob(waiting, { seed: 1 });
    await waiting.getByRole("heading", { name: "Next in the queue" }).waitFor();
    await button(waiting, "Cancel").click();
    await phase(waiting, "canceled");

    await page.getByRole("link", { name: "Gallery" }).click();
    await page.locator(".card").nth(2).waitFor();
    assert.deepEqual(
      await page.locator(".card").evaluateAll((cards) => cards.map((card) => card.getAttribute("data-status"))),
      ["canceled", "running", "failed"],
    );
    await page.goBack();
    assert.equal(page.url(), slow);
    await button(page, "Cancel").click();
    await phase(page, "canceled");
    assert.match((await page.locator(".job-lead").textContent())!, /It was stopped after step \d+ of 500/);
    await page.getByRole("link", { name: "Gallery" }).click();
    for (let left = 3; left > 0; left--) {
      const remove = page.locator(".card .button").first();
      await remove.click();
      await remove.filter({ hasText: "Really remove?" }).click();
      await page.locator(".card").nth(left - 1).waitFor({ state: "detached" });
    }
    await page.getByText("Nothing has been made here yet").waitFor();
    await page.goto(slow);
    await page.getByRole("heading", { name: "There is no such job" }).waitFor();
    assert.deepEqual(browser.complaints(/status of 404/), []);
  } finally {
    await server.stop();
  }
});

browserTest("an API key is asked for once; on a phone nothing is wider than the screen", async (browser, data) => {
  const key = "correct-horse-battery";
  const server = await openPageServer({ data, keys: [key] });
  try {
    const page = await browser.open(server.address, {
      viewport: { width: 360, height: 740 },
      hasTouch: true,
      isMobile: true,
      colorScheme: "dark",
    });
    const field = page.getByRole("textbox", { name: "API key" });
    await field.fill("wrong-key-wrong-key");
    await button(page, "Continue").click();
    await page.getByText("did not accept that key").waitFor();
    await field.fill(key);
    await button(page, "Continue").click();
    await field.waitFor({ state: "hidden" });
    await choosePair(page);
    await fits(page);
    await startJob(page, { seed: 3, steps: 40, preview_every: 10 });
    await phase(page, "succeeded");
    await page.getByRole("slider").waitFor();
    const sources = await page.locator(".job img").evaluateAll((images) =>
      images.map((image) => image.getAttribute("src")!.slice(0, 5))
    );
    assert.deepEqual(new Set(sources), new Set(["blob:"]), "pictures are fetched with the key");
    await fits(page);
    await page.reload();
    await page.getByRole("slider").waitFor(); // the key is still there
    await page.getByRole("link", { name: "Gallery" }).click();
    await page.locator(".card img").waitFor();
    await fits(page);
    assert.deepEqual(browser.complaints(/status of 401/), []);
  } finally {
    await server.stop();
  }
});

async function fits(page: Page): Promise<void> {
  const [content, screen] = await page.evaluate<number[]>("[document.documentElement.scrollWidth, innerWidth]");
  assert.ok(content <= screen, `${page.url()} is ${content} pixels wide on a screen of ${screen}`);
}

async function tinyPng(): Promise<Uint8Array> {
  const { encodeImage } = await import("../../../src/images/encode.ts");
  return await encodeImage({ width: 16, height: 16, data: new Float32Array(3 * 16 * 16) }, "png");
}
