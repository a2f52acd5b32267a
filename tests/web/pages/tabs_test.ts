/** Many tabs of one browser on one server, which browsers open six connections for: the seventh loads like the first, and all are live. */
import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { browserTest } from "../../support/web/browser.ts";
import { button, example, phase } from "../../support/web/page_actions.ts";
import { openPageServer } from "../../support/web/page_server.ts";
import { PAINTER_SEEDS } from "../../support/jobs/painter.ts";

browserTest("eight tabs on eight jobs load, live on one connection, and lose nothing", async (browser, data) => {
  const key = "correct-horse-battery";
  let server = await openPageServer({ data, keys: [key] });
  try {
    const headers = { Authorization: `Bearer ${key}` };
    const create = async (fields: Record<string, string | number>) => {
      const body = new FormData();
      for (const name of ["structure", "appearance"]) {
        body.append(name, new Blob([await Deno.readFile(example("sunset"))]), name);
      }
      for (const [name, value] of Object.entries({ preset: "quick", ...fields })) body.append(name, String(value));
      const made = await fetch(`${server.address}/v1/jobs`, { method: "POST", body, headers });
      return (await made.json()).id as string;
    };
    const ids = [await create({ seed: PAINTER_SEEDS.slow, steps: 100_000, preview_every: 0 })];
    while (ids.length < 8) ids.push(await create({ seed: ids.length, steps: 40 }));

    // The first one is met at full speed, ten events a second: a page that waited for a pause would never draw it.
    const first = async () => (await (await fetch(`${server.address}/v1/jobs/${ids[0]}`, { headers })).json()).step;
    const soon = () => new Promise((resolve) => setTimeout(resolve, 50));
    while (await first() === 0) await soon();

    const pages: Page[] = [];
    const took: number[] = [];
    for (const id of ids) {
      const began = performance.now();
      const page = await browser.open(`${server.address}/?job=${id}`, pages.length > 0 ? { beside: pages[0] } : {});
      const field = page.getByRole("textbox", { name: "API key" });
      await field.fill(key);
      await button(page, "Continue").click();
      await phase(page, id === ids[0] ? "running" : "queued");
      await page.locator(".standing").filter({ hasText: /Connecting|No connection/ }).waitFor({ state: "detached" });
      took.push(performance.now() - began);
      pages.push(page);
      if (pages.length > 1) continue;
      const steps = page.locator(".progress-words b");
      const reached = await first() + 5;
      for (const until = performance.now() + 3000; Number(await steps.innerText()) < reached; await soon()) {
        assert.ok(performance.now() < until, `the page stays at step ${await steps.innerText()} of ${reached}`);
      }
    }
    console.log(`tabs loaded in ${took.map((time) => `${(time / 1000).toFixed(1)} s`).join(", ")}`);
    const streams = /^splice_event_streams_open (\d+)$/m;
    const metrics = await (await fetch(`${server.address}/metrics`, { headers })).text();
    assert.equal(streams.exec(metrics)?.[1], "1");

    const port = Number(new URL(server.address).port);
    await server.stop();
    for (const page of pages) {
      await page.locator(".standing").filter({ hasText: /Connecting|No connection/ }).waitFor();
    }
    server = await openPageServer({ data, port, keys: [key] });
    await fetch(`${server.address}/v1/jobs/${ids[0]}`, { method: "DELETE", headers });
    await phase(pages[0], "canceled");
    for (const page of pages.slice(1)) await phase(page, "succeeded");
    browser.complaints(/status of 401|Failed to load resource/);
    await pages[7].close();
    await pages[6].reload();
    await phase(pages[6], "succeeded");
    assert.deepEqual(browser.complaints(), []);
  } finally {
    await server.stop();
  }
});
