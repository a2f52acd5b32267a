/** The place "Look" in a real browser: every instrument, the last click of several, links and reloads, errors at their fields, and an inversion as a job. */
import assert from "node:assert/strict";
import { browserTest } from "../../support/web/browser.ts";
import { button, downloaded, handFile, phase } from "../../support/web/page_actions.ts";
import { openPageServer } from "../../support/web/page_server.ts";
import { PAINTER_SEEDS } from "../../support/jobs/painter.ts";

browserTest("looking at a photograph, and inverting it", async (browser, data) => {
  const server = await openPageServer({ data });
  try {
    const page = await browser.open(`${server.address}/?look`);
    const shown = () => page.locator(".done .primary[aria-disabled=false]").waitFor();
    await handFile(page, "paste", "body");
    await page.getByText("given.jpg").waitFor();
    await button(page, /Remove.*photograph/).click();
    await button(page, /Choose the example.*Picos/).click();
    await shown();

    // Of several clicks the last one counts, and those before it are dropped.
    const asked: string[] = [];
    page.on("requestfinished", (request) => void (request.url().includes("/v1/similarity") && asked.push("answered")));
    const picker = page.getByRole("application");
    const { width, height } = (await picker.boundingBox())!;
    for (const x of [0.2, 0.4, 0.6, 0.75]) await picker.click({ position: { x: width * x, y: height / 4 } });
    await page.waitForURL(/at=0\.7[45]\d?,0\.2[45]\d?/);
    await shown();
    assert.ok(asked.length < 4, `${asked.length} of 4 questions were answered`);
    await picker.press("ArrowDown");
    await page.waitForURL(/at=0\.7[45]\d?,0\.28/);
    await page.locator(".unseen[role=status]").filter({ hasText: /75 percent across, 2\d percent down is shown/ })
      .waitFor();
    const address = page.url();
    await page.reload();
    await shown();
    assert.equal(page.url(), address);
    const elsewhere = await browser.open(address);
    await elsewhere.locator('#picker img[src^="blob:"]').waitFor();
    assert.equal(elsewhere.url(), address, "a link leads to the same in another browser");

    await page.getByRole("radio", { name: /^Parts/ }).check({ force: true });
    await page.getByRole("slider").waitFor();
    await page.locator("details.options summary").click();
    await page.locator("#look-vit_side").fill("200");
    await page.locator("#look-vit_longest").fill("100");
    await page.locator("#look-vit_longest-fault").filter({ hasText: "it must be at least vit_side, 200" }).waitFor();
    await page.locator("#look-vit_longest").fill("");
    await page.locator("#look-vit_side").fill("");
    await page.locator("#look-layer").fill("3");
    await shown();
    const parts = await downloaded(page, button(page, "Download picture"));
    assert.deepEqual([parts.name, parts.head.slice(1, 4)], ["picos-de-europa-parts.png", "PNG"]);
    await page.getByRole("radio", { name: /^Attention/ }).check({ force: true });
    await page.waitForURL("**/?look=attention&layer=3&example=picos-de-europa.jpg");
    await shown();
    assert.match((await downloaded(page, button(page, "Download as JPEG"))).head, /^\xff\xd8\xff/);

    await page.getByRole("radio", { name: /^Inversion/ }).check({ force: true });
    await page.locator("#inversion-steps").fill("0");
    await button(page, "Invert").click();
    await page.locator("#inversion-steps:focus").waitFor();
    await page.locator("#inversion-steps").fill("40");
    await page.locator("#inversion-seed").fill(String(PAINTER_SEEDS.slow));
    await page.getByRole("radio", { name: /^Appearance/ }).check({ force: true });
    await button(page, "Invert").click();
    await phase(page, "running");
    await page.getByRole("img", { name: "The photograph" }).first().waitFor();
    await page.reload();
    await phase(page, "succeeded");
    await page.getByRole("slider", { name: "Photograph and result, compared" }).waitFor();
    assert.deepEqual([await button(page, "Download the generator").count(), await page.locator("#apply").count()], [
      0,
      0,
    ]);
    assert.match((await downloaded(page, button(page, "Download picture"))).head, /^.PNG/s);
    await button(page, "Again with other options").click();
    await page.locator("#inversion-steps").waitFor();
    assert.equal(await page.locator("#inversion-steps").inputValue(), "40");
    await page.getByRole("link", { name: "Gallery" }).click();
    await page.locator(".card").filter({ hasText: "Inversion, appearance" }).waitFor();
    assert.deepEqual(browser.complaints(/status of 422/), []);
  } finally {
    await server.stop();
  }
});
