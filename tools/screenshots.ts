/**
 * Takes the README's pictures of the page from a running server: docs/page-start.jpg, a pair that is chosen, and docs/page-result.jpg, the newest job that has succeeded. If
 * there is none, it starts the first example pair and waits for it. Needs Chromium at /usr/bin/chromium.
 *
 *   deno run -A tools/screenshots.ts http://127.0.0.1:8080 [folder]
 */
import { chromium } from "playwright-core";

const [address = "http://127.0.0.1:8080", folder = new URL("../docs", import.meta.url).pathname] = Deno.args;
/** In pixels; at this quality neither picture passes 400 KB. */
const viewport = { width: 1440, height: 960 };
const quality = 85;

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const light = await browser.newPage({ viewport, colorScheme: "light", reducedMotion: "reduce" });
  await light.goto(address);
  await light.locator(".pair-button").first().click();
  await light.locator(".place-image").nth(1).waitFor();
  // Without the mark of the focus, and from the top.
  await light.evaluate("document.activeElement.blur(); scrollTo(0, 0)");
  await light.screenshot({ path: `${folder}/page-start.jpg`, type: "jpeg", quality });

  const list = await (await fetch(`${address}/v1/jobs?status=succeeded&limit=1`)).json();
  let job = list.jobs[0] ? `${address}/?job=${list.jobs[0].id}` : null;
  if (job === null) {
    await light.getByRole("button", { name: "Start" }).click();
    await light.waitForURL(/\?job=/);
    await light.waitForSelector(".job[data-phase=succeeded]", { timeout: 0 });
    job = light.url();
  }
  const dark = await browser.newPage({ viewport, colorScheme: "dark", reducedMotion: "reduce" });
  await dark.goto(job);
  await dark.getByRole("slider").waitFor();
  await dark.locator(".legend").waitFor();
  await dark.waitForTimeout(500); // the curves are drawn a frame later
  await dark.screenshot({ path: `${folder}/page-result.jpg`, type: "jpeg", quality });
  console.log(`${folder}/page-start.jpg\n${folder}/page-result.jpg`);
} finally {
  await browser.close();
}
