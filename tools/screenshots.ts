/**
 * Takes the README's pictures of the page from a running server: docs/page-start.png, a pair that is chosen, and docs/page-result.png, the newest job that has succeeded. If
 * there is none, it starts the first example pair and waits for it. Needs Chromium at /usr/bin/chromium.
 *
 *   deno run -A tools/screenshots.ts http://127.0.0.1:8080 [folder]
 */
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [address = "http://127.0.0.1:8080", folder = fileURLToPath(new URL("../docs", import.meta.url))] = Deno.args;
/** As a window of 1440 x 960 shows it, at 0.6 of its pixels: enough for two beside each other, and less than 400 KB each. */
const view = { viewport: { width: 1440, height: 960 }, deviceScaleFactor: 0.6, reducedMotion: "reduce" } as const;

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const light = await browser.newPage({ ...view, colorScheme: "light" });
  await light.goto(address);
  await light.locator(".pair-button").first().click();
  await light.locator(".place-image").nth(1).waitFor();
  // Without the mark of the focus, and from the top.
  await light.evaluate("document.activeElement.blur(); scrollTo(0, 0)");
  await light.screenshot({ path: `${folder}/page-start.png` });

  const list = await (await fetch(`${address}/v1/jobs?status=succeeded&limit=1`)).json();
  let job = list.jobs[0] ? `${address}/?job=${list.jobs[0].id}` : null;
  if (job === null) {
    await light.getByRole("button", { name: "Start" }).click();
    await light.waitForURL(/\?job=/);
    await light.waitForSelector(".job[data-phase=succeeded]", { timeout: 0 });
    job = light.url();
  }
  const dark = await browser.newPage({ ...view, colorScheme: "dark" });
  await dark.goto(job);
  await dark.getByRole("slider").waitFor();
  await dark.locator(".legend").waitFor();
  await dark.waitForTimeout(500); // the curves are drawn a frame later
  await dark.screenshot({ path: `${folder}/page-result.png` });
  console.log(`${folder}/page-start.png\n${folder}/page-result.png`);
} finally {
  await browser.close();
}
