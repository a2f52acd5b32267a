/** The page shows a photograph as the server reads it: kinds that no browser shows, and those that browsers do not turn; before it is sent, and when it is a job's. */
import assert from "node:assert/strict";
import { browserTest } from "../../support/web/browser.ts";
import { button, handFile } from "../../support/web/page_actions.ts";
import { openPageServer } from "../../support/web/page_server.ts";

const kinds = new URL("../../fixtures/images/kinds/", import.meta.url);

browserTest(
  "photographs that a browser cannot show, or would turn otherwise, are shown as the server reads them",
  async (browser, data) => {
    const server = await openPageServer({ data });
    try {
      const page = await browser.open(`${server.address}/?look`);
      const cases: [file: string, size: string][] = [["photo.heic", "64 × 48"], ["lzw.tif", "64 × 48"], [
        "exif.webp",
        "48 × 64",
      ], ["exif-last.png", "48 × 64"]];
      for (const [file, size] of cases) {
        await handFile(page, "paste", "body", new URL(file, kinds));
        await page.getByText(size).waitFor();
        await button(page, /Remove.*photograph/).click();
      }
      await handFile(page, "paste", "body", new URL("film.mp4", kinds));
      await page.getByText(/is a film\. Use JPEG, PNG, WebP, HEIC/).waitFor();

      const form = new FormData();
      const given: [field: string, file: string][] = [["structure", "photo.heic"], ["appearance", "exif.webp"]];
      for (const [field, file] of given) form.append(field, new Blob([await Deno.readFile(new URL(file, kinds))]));
      const fields = { size: 32, vit_side: 64, steps: 1, preview_every: 0 };
      for (const [field, value] of Object.entries(fields)) form.append(field, String(value));
      const created = await fetch(`${server.address}/v1/jobs`, { method: "POST", body: form });
      assert.equal(created.status, 202);
      const { urls } = await created.json();
      const asked = async (url: string, accept: string) => {
        const response = await fetch(new URL(url, server.address), { headers: { Accept: accept } });
        await response.body?.cancel();
        return response.headers.get("Content-Type");
      };
      const img = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
      assert.deepEqual(
        await Promise.all([
          asked(urls.structure, "*/*"),
          asked(urls.structure, img),
          asked(urls.appearance, "*/*"),
          asked(urls.appearance, img),
        ]),
        ["image/heic", "image/jpeg", "image/webp", "image/jpeg"],
      );
    } finally {
      await server.stop();
    }
    assert.deepEqual(browser.complaints(), []);
  },
);
