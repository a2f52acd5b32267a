/**
 * Whether a photograph can be sent as it came to whoever wants to look at it: an `img` says in its Accept header what it shows. Kinds that it does not name are not shown
 * everywhere, and browsers do not turn a WebP or some PNGs by their EXIF orientation as this program does.
 */
import { BEGINNING, kindOf, mediaTypes } from "../../images/kinds.ts";
import { orientationOf } from "../../images/orientation.ts";
import type { ImageFormatName } from "../../jobs/model/messages.ts";
import type { Ask } from "../middleware/environment.ts";

/** Every browser shows these, named or not. */
const EVERYWHERE: readonly string[] = ["image/jpeg", "image/png", "image/gif", "image/bmp"];

/** The format that the file is to be sent in instead of its own; undefined where it may go as it is. @throws Deno.errors.NotFound */
export async function shownInstead(c: Ask, path: string): Promise<ImageFormatName | undefined> {
  c.header("Vary", "Accept", { append: true });
  const accepted = c.req.header("Accept") ?? "";
  if (!accepted.includes("image/")) return undefined; // a program, which asked for no picture in particular
  const bytes = await Deno.readFile(path);
  const kind = kindOf(bytes.subarray(0, BEGINNING));
  if (kind === null) return undefined;
  const type = mediaTypes[kind];
  return (EVERYWHERE.includes(type) || accepted.includes(type)) && orientationOf(bytes) === 1 ? undefined : "jpeg";
}
