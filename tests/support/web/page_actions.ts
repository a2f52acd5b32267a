/** What a person does on the page, for tests: choose a pair, type options, start, download, drop. */
import { fileURLToPath } from "node:url";
import type { Locator, Page } from "playwright-core";

export const root = fileURLToPath(new URL("../../../", import.meta.url));
export const example = (name: string) => `${root}examples/${name}.jpg`;

export const button = (page: Page, name: string | RegExp) => page.getByRole("button", { name });

/** Resolves when the job is in that phase. @throws Error with what the page says instead */
export async function phase(page: Page, name: string): Promise<void> {
  try {
    await page.waitForSelector(`.job[data-phase=${name}]`);
  } catch (error) {
    throw new Error(`No ${name} job. The page says:\n${await page.locator("body").innerText()}`, { cause: error });
  }
}

/** Chooses one of the example pairs. */
export async function choosePair(page: Page, at = 0): Promise<void> {
  await page.locator(".pair-button").nth(at).click();
  await page.locator(".place-image").nth(1).waitFor();
}

/** Types into options, which are opened first. */
export async function setOptions(page: Page, values: Readonly<Record<string, string | number>>): Promise<void> {
  for (const details of await page.locator("details.options").all()) {
    if (await details.getAttribute("open") === null) await details.locator("summary").first().click();
  }
  for (const [name, value] of Object.entries(values)) await page.locator(`#option-${name}`).fill(String(value));
}

/** Starts the pair that is chosen; the address of its job. */
export async function startJob(page: Page, values: Readonly<Record<string, string | number>>): Promise<string> {
  await setOptions(page, values);
  await button(page, "Start").click();
  await page.waitForURL(/\?job=/);
  return page.url();
}

/** The file that pressing gives: its name and first bytes, one character each. */
export async function downloaded(page: Page, press: Locator): Promise<{ name: string; head: string }> {
  const [download] = await Promise.all([page.waitForEvent("download"), press.click()]);
  const bytes = await Deno.readFile(await download.path());
  return { name: download.suggestedFilename(), head: String.fromCharCode(...bytes.subarray(0, 12)) };
}

/** Gives the page a file as a dropped or pasted one, given.jpg: an example's, or the one at `path`, without a media type. */
export async function handFile(
  page: Page,
  type: "drop" | "paste",
  selector: string,
  path?: string | URL,
): Promise<void> {
  const bytes = (await Deno.readFile(path ?? example("sunset"))).toBase64();
  const mediaType = path === undefined ? "image/jpeg" : "";
  await page.evaluate(`{
    const data = new DataTransfer();
    const bytes = Uint8Array.from(atob("${bytes}"), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], "given.jpg", { type: "${mediaType}" }));
    const options = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
    const event = new ${type === "drop" ? "DragEvent" : "ClipboardEvent"}("${type}", options);
    document.querySelector("${selector}").dispatchEvent(event);
  }`);
}
