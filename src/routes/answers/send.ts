/** Files as answers: streamed from where they lie, never held in memory, with what caches need to ask "still the same?". */
import type { FileFacts, Served } from "../../jobs/model/service.ts";
import type { Ask } from "../middleware/environment.ts";

export interface Sending {
  /** What a browser calls the file when it saves it; without ending, that follows from the type. */
  readonly name: string;
  /** Shown or saved? */
  readonly disposition: "inline" | "attachment";
  /** May it be kept and bodiless for again? Answers to POSTs may not. */
  readonly kept: boolean;
  /** Called once the last byte is out, or nobody wants more. */
  readonly after?: () => Promise<void>;
}

const endings: Readonly<Record<string, string>> = {
  "image/png": "png",
  "image/jpeg": "jpg",
  "image/webp": "webp",
  "image/heic": "heic",
  "image/avif": "avif",
  "image/tiff": "tif",
  "image/gif": "gif",
  "image/bmp": "bmp",
  "image/jxl": "jxl",
  "application/octet-stream": "safetensors",
};

/** @throws Fault not_found if the file has gone in the meantime */
export async function sendFile(c: Ask, served: Served, { name, disposition, kept, after }: Sending): Promise<Response> {
  const ending = endings[served.type];
  const tagOf = ({ tag }: FileFacts) => kept ? `"${tag}-${ending ?? "x"}"` : null;
  c.header("Cache-Control", kept ? "private, no-cache" : "no-store");
  const known = tagOf(served);
  if (known !== null && knows(c, known)) {
    await after?.();
    c.header("ETag", known);
    return c.body(null, 304);
  }
  // A preview may be replaced at any time: what is said of the file must be of the one that is sent.
  const file = await served.open().catch(async (error) => {
    await after?.();
    throw error;
  });
  const tag = tagOf(file);
  if (tag !== null) c.header("ETag", tag);
  if (kept && file.modified !== null) c.header("Last-Modified", file.modified.toUTCString());
  c.header("Content-Type", served.type);
  c.header("Content-Disposition", `${disposition}; filename="${name}${ending === undefined ? "" : `.${ending}`}"`);
  c.header("Content-Length", String(file.bytes));
  if (c.req.raw.method !== "HEAD") return c.body(after === undefined ? file.stream : followed(file.stream, after));
  await file.stream.cancel();
  await after?.();
  return c.body(null);
}

/** Has the client the file of this tag already? */
export function knows(c: Ask, tag: string): boolean {
  const tags = c.req.header("if-none-match")?.split(",").map((one) => one.trim().replace(/^W\//, "")) ?? [];
  return tags.includes(tag) || tags.includes("*");
}

/** The same stream, and `after` at its end. */
function followed(
  stream: ReadableStream<Uint8Array>,
  after: () => Promise<void>,
): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (!done) return controller.enqueue(value);
      await after();
      controller.close();
    },
    async cancel(reason) {
      await reader.cancel(reason);
      await after();
    },
  }, { highWaterMark: 0 });
}
