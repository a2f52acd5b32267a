/** What a picture's format cannot hold, as a refusal to a client: before the work where the size is known by then. */
import { sizeProblem } from "../../images/encode.ts";
import { Fault } from "../model/job.ts";
import type { ImageFormatName } from "../model/messages.ts";

/** @throws Fault not_acceptable for a picture that the format cannot hold: WebP ends early */
export function refuseLongWebp(
  size: { readonly width: number; readonly height: number },
  format: ImageFormatName,
): void {
  const problem = sizeProblem(size, format);
  if (problem !== null) throw new Fault("not_acceptable", `Cannot write the picture: ${problem}`);
}
