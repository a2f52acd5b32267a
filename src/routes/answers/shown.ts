/**
 * Whether a photograph can be sent as it came to whoever wants to look at it: an `img` says in its Accept header what it shows. Kinds that it does not name are not shown
 * everywhere, and browsers do not turn a WebP or some PNGs by their EXIF orientation as this program does.
 */
import type { ImageFormatName } from "../../jobs/model/messages.ts";
import type { ServedPicture } from "../../jobs/model/service.ts";
import type { Ask } from "../middleware/environment.ts";

/** Every browser shows these, named or not. */
const EVERYWHERE: readonly string[] = ["image/jpeg", "image/png", "image/gif", "image/bmp"];

/** The format that the photograph is to be sent in instead of its own; undefined where it may go as it is. @throws Deno.errors.NotFound */
export async function shownInstead(c: Ask, { type, upright }: ServedPicture): Promise<ImageFormatName | undefined> {
  c.header("Vary", "Accept", { append: true });
  const accepted = c.req.header("Accept") ?? "";
  if (!accepted.includes("image/")) return undefined; // a program, which asked for no picture in particular
  if (!type.startsWith("image/")) return undefined;
  return (EVERYWHERE.includes(type) || accepted.includes(type)) && await upright() ? undefined : "jpeg";
}
