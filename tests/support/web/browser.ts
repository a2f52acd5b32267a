/**
 * Debian's Chromium, driven by Playwright, for tests of the page: installed if it is missing and this user may install it. Every page is watched: what it logs as an error,
 * what its Content-Security-Policy forbids, and every request to anyone but its own server end up in `complaints`.
 */
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { apt, hasApt, isThere, missingPermission } from "../debian.ts";

const chromium = "/usr/bin/chromium";

/** Why there can be no browser here; null if there can. */
export function noBrowser(): string | null {
  const there = isThere(chromium);
  const commands = there ? [chromium] : [chromium, "apt-get"];
  const missing = missingPermission([
    ...commands.map((command) => ({ name: "run", command }) as const),
    ...(["homedir", "osRelease", "uid"] as const).map((kind) => ({ name: "sys", kind }) as const),
  ]);
  if (missing !== null || there) return missing;
  if (!hasApt()) return `${chromium} is missing, and there is no apt-get to install it`;
  return Deno.uid() === 0 ? null : `${chromium} is missing; as root: apt-get install chromium`;
}

async function install(): Promise<void> {
  console.log("installing Debian's chromium (once)");
  await apt(["install", "-y", "--no-install-recommends", "chromium"]);
}

export interface Watched {
  /** A page at the server's address: in a context of its own, or another tab beside one that is open. */
  open(address: string, options?: BrowserContextOptions & { beside?: Page }): Promise<Page>;
  /** What went wrong in any page since the last look, but what `but` matches. */
  complaints(but?: RegExp): string[];
}

export async function withBrowser(use: (browser: Watched) => Promise<void>): Promise<void> {
  if (!isThere(chromium)) await install();
  // Only now: a skipped test needs nothing of it. Unless told not to, the driver looks while it loads for a file in /proc/sys that Deno shows to no one with fewer than all
  // permissions.
  Deno.env.set("__IS_WSL_TEST__", "1");
  const { chromium: driver } = await import("playwright-core");
  const browser: Browser = await driver.launch({ executablePath: chromium, args: ["--no-sandbox"] });
  let heard: string[] = [];
  try {
    await use({
      async open(address, { beside, ...options } = {}) {
        const context = beside?.context() ??
          await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
        context.setDefaultTimeout(20_000);
        const page = await context.newPage();
        page.on("pageerror", (error) => heard.push(`error: ${error.message}`));
        page.on("console", (message) => {
          if (message.type() === "error" || message.type() === "warning") {
            heard.push(`${message.type()}: ${message.text()} (${message.location().url})`);
          }
        });
        page.on("request", (request) => {
          const url = request.url();
          if (!/^(blob|data):/.test(url) && new URL(url).origin !== new URL(address).origin) {
            heard.push(`outside request: ${url}`);
          }
        });
        await page.addInitScript(() => {
          addEventListener("securitypolicyviolation", (event) => {
            const { violatedDirective, blockedURI } = event as Event & {
              violatedDirective: string;
              blockedURI: string;
            };
            console.error(`CSP: ${violatedDirective} forbids ${blockedURI}`);
          });
        });
        await page.goto(address);
        return page;
      },
      complaints(but) {
        const all = heard;
        heard = [];
        return all.filter((text) => !but?.test(text));
      },
    });
  } finally {
    await browser.close();
  }
}

/** A test of the page, with a browser and an empty data folder; ignored, with the reason, where there can be no browser. Sanitizers are off: the browser's driver keeps pipes and timers of its own. */
export function browserTest(name: string, run: (browser: Watched, data: string) => Promise<void>): void {
  const reason = noBrowser();
  if (reason !== null) console.log(`Not tested in a browser: the page: ${name}. ${reason}.`);
  Deno.test({
    name: `the page: ${name}`,
    ignore: reason !== null,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const data = await Deno.makeTempDir();
      await withBrowser((browser) => run(browser, data)).finally(() => Deno.remove(data, { recursive: true }));
    },
  });
}
