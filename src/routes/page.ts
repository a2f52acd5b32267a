/**
 * The page, its files and the bundled photographs. Files are looked up in a list of names, never joined to what a client sent, and asked again only when they have
 * changed on the disk, so that a rebuilt page shows at once.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { getMimeType } from "hono/utils/mime";
import { Fault } from "../jobs/model/job.ts";
import type { Ask, Shared } from "./middleware/environment.ts";
import { knows } from "./answers/send.ts";

interface Asset {
  readonly stamp: string;
  readonly plain: Uint8Array<ArrayBuffer>;
  /** Null where compressing gains nothing. */
  readonly gzip: Uint8Array<ArrayBuffer> | null;
  readonly tag: string;
  readonly type: string;
}

const aitzol = {
  attribution: "Aitzol Berasategi, 2018",
  licence: "CC BY 4.0",
  licence_url: "https://creativecommons.org/licenses/by/4.0/",
};
const engelhardt = {
  attribution: "Clemens Engelhardt, 2018",
  licence: "CC0 1.0",
  licence_url: "https://creativecommons.org/publicdomain/zero/1.0/",
};

/** The photographs of the folder `examples`, as its README tells of them. */
const photographs = [
  { file: "picos-de-europa.jpg", title: "Picos de Europa", ...aitzol },
  { file: "aitzgorri.jpg", title: "Aitzgorri", ...aitzol },
  { file: "sunset.jpg", title: "Sunset", ...aitzol },
  { file: "dandelions.jpg", title: "Dandelions", ...engelhardt },
] as const;

export function addPage({ app, assets, examples }: Shared): void {
  const built = openFolder(assets);
  const pictures = openFolder(examples);

  app.get("/", async (c) => {
    const index = await built("index.html");
    if (index !== null) return sendAsset(c, index);
    throw new Fault(
      "not_found",
      "Cannot show the page: it is not built. The API is here all the same; /docs shows it.",
    );
  });
  app.get("/assets/:file", async (c) => {
    const asset = await built(c.req.param("file"));
    return asset === null ? c.notFound() : sendAsset(c, asset);
  });
  for (const name of ["app.js", "tabs.js", "app.css"]) {
    app.get(`/${name}`, async (c) => {
      const asset = await built(name);
      return asset === null ? c.notFound() : sendAsset(c, asset);
    });
  }

  app.get("/examples", (c) => {
    const list = photographs.map((photograph) => ({ ...photograph, url: `/examples/${photograph.file}` }));
    return c.json({ examples: list });
  });
  app.get("/examples/:file", async (c) => {
    const name = c.req.param("file");
    const picture = photographs.some(({ file }) => file === name) ? await pictures(name) : null;
    return picture === null ? c.notFound() : sendAsset(c, picture);
  });
}

function sendAsset(c: Ask, { plain, gzip, tag, type }: Asset): Response {
  const zipped = gzip !== null && /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(c.req.header("accept-encoding") ?? "");
  const exact = zipped ? `"${tag}-gz"` : `"${tag}"`;
  c.header("ETag", exact);
  c.header("Cache-Control", "no-cache"); // kept, and asked for again: names stay the same over versions
  if (gzip !== null) c.header("Vary", "Accept-Encoding", { append: true });
  if (knows(c, exact)) return c.body(null, 304);
  const bytes = zipped ? gzip : plain;
  c.header("Content-Type", type);
  c.header("Content-Length", String(bytes.length));
  if (zipped) c.header("Content-Encoding", "gzip");
  return c.body(bytes);
}

/** Finds a file of one folder, by its name alone; null for what is not there. */
function openFolder(folder: string): (name: string) => Promise<Asset | null> {
  const held = new Map<string, Asset>();
  return async (name) => {
    if (!/^[\w-]+(\.[\w-]+)+$/.test(name)) return null;
    const path = join(folder, name);
    try {
      const { isFile, size, mtime } = await Deno.stat(path);
      if (!isFile) return null;
      const stamp = `${size} ${mtime?.getTime()}`;
      const known = held.get(name);
      if (known?.stamp === stamp) return known;
      const asset = await assetOf(name, { stamp, plain: await Deno.readFile(path) });
      held.set(name, asset);
      return asset;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null;
      throw error;
    }
  };
}

async function assetOf(
  name: string,
  { stamp, plain }: { stamp: string; plain: Uint8Array<ArrayBuffer> },
): Promise<Asset> {
  const type = getMimeType(name) ?? "application/octet-stream";
  const text = /^text\/|javascript|json|svg|manifest/.test(type);
  const tag = createHash("sha256").update(plain).digest("base64url").slice(0, 22);
  return { stamp, plain, gzip: text && plain.length > 1000 ? await zip(plain) : null, tag, type };
}

async function zip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}
