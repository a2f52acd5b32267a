/** The one picture format here that not every picture fits into. */
import { Fault } from "./job.ts";
import type { ImageFormatName } from "./messages.ts";

/** WebP's own limit, in pixels a side. */
const WIDEST = 16_383;

/** @throws Fault not_acceptable for a picture that WebP cannot hold */
export function refuseLongWebp(
  { width, height }: { readonly width: number; readonly height: number },
  format: ImageFormatName,
): void {
  const longest = Math.max(width, height);
  if (format !== "webp" || longest <= WIDEST) return;
  throw new Fault(
    "not_acceptable",
    `Cannot write the picture as WebP: it is ${longest} pixels long, and WebP ends at ${WIDEST}; ask for image/png or image/jpeg`,
  );
}
