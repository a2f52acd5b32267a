/**
 * Builds the page: bundles src/web/app.tsx and the worker of all tabs for browsers, joins the styles, writes what the page needs to know of the options into its HTML, and lays the API page's two
 * files beside it, all in src/web/dist. Does nothing when that is newer than everything it is made of. Nothing in dist refers to another server.
 */
import { fileURLToPath } from "node:url";
import sliderStyle from "img-comparison-slider/dist/styles.css" with { type: "text" };
import swaggerScript from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "text" };
import swaggerStyle from "swagger-ui-dist/swagger-ui.css" with { type: "text" };
import chartStyle from "uplot/dist/uPlot.min.css" with { type: "text" };
import { z } from "zod";
import { inversionSchema } from "../src/splice/instruments/inversion_options.ts";
import { presets, recipeSchema } from "../src/splice/transfer/recipe.ts";

const root = new URL("../", import.meta.url);
const web = new URL("src/web/", root);
const dist = new URL("dist/", web);
const products = ["index.html", "app.js", "tabs.js", "app.css", "swagger-ui.css", "swagger-ui-bundle.js"];

function newest(url: URL): number {
  const found = Deno.statSync(url);
  if (!found.isDirectory) return found.mtime?.getTime() ?? Infinity;
  const names = Array.from(Deno.readDirSync(url)).filter((entry) => entry.name !== "dist");
  return Math.max(...names.map((entry) => newest(new URL(entry.isDirectory ? `${entry.name}/` : entry.name, url))));
}

function isFresh(): boolean {
  const options = ["transfer/recipe.ts", "instruments/inversion_options.ts"].map((name) =>
    new URL(`src/splice/${name}`, root)
  );
  const sources = [web, ...options, new URL("deno.json", root), new URL(import.meta.url)];
  try {
    const made = products.map((name) => Deno.statSync(new URL(name, dist)).mtime?.getTime() ?? 0);
    return Math.min(...made) > Math.max(...sources.map(newest));
  } catch {
    return false; // something is missing
  }
}

/** @param entry a file of src/web */
async function bundle(entry: string): Promise<string> {
  const result = await Deno.bundle({
    entrypoints: [fileURLToPath(new URL(entry, web))],
    platform: "browser",
    minify: true,
    write: false,
  });
  if (!result.success || !result.outputFiles) {
    const reasons = result.errors.map((error) => error.text).join("; ");
    throw new Error(`Cannot bundle the page: ${reasons}. See what deno check says of src/web.`);
  }
  return result.outputFiles[0].text();
}

function styles(): string {
  const own = Array.from(Deno.readDirSync(new URL("style/", web)), (entry) => new URL(`style/${entry.name}`, web))
    .sort();
  const all = [chartStyle, sliderStyle, ...own.map((url) => Deno.readTextFileSync(url))];
  return all.join("\n").replaceAll(/\/\*[^]*?\*\//g, "").replaceAll(/\s*\n\s*/g, "\n").trim() + "\n";
}

function page(): string {
  const html = Deno.readTextFileSync(new URL("page.html", web));
  const told = {
    "options": { schema: z.toJSONSchema(recipeSchema, { io: "input" }), presets },
    "inversion-options": { schema: z.toJSONSchema(inversionSchema, { io: "input" }), presets: {} },
  };
  return Object.entries(told).reduce((text, [id, options]) => {
    const json = JSON.stringify(options).replaceAll("<", "\\u003c");
    return text.replace(new RegExp(`(id="${id}">)[^<]*`), (_, tag) => tag + json);
  }, html);
}

/** Builds the page unless it is fresh; true if it was built. */
export async function buildWeb(): Promise<boolean> {
  if (isFresh()) return false;
  const [app, tabs] = [await bundle("app.tsx"), await bundle("talk/tabs_worker.ts")];
  Deno.mkdirSync(dist, { recursive: true });
  const write = (name: string, text: string) => Deno.writeTextFileSync(new URL(name, dist), text);
  write("swagger-ui.css", swaggerStyle);
  write("swagger-ui-bundle.js", swaggerScript);
  write("app.js", app);
  write("tabs.js", tabs);
  write("app.css", styles());
  write("index.html", page());
  return true;
}

if (import.meta.main) {
  const built = await buildWeb();
  if (built) console.error("splice: built the page (src/web/dist)");
}
