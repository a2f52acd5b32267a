/**
 * What the extractor is shown of a photograph, made on the host by the formula of the programs: so that what is not trained needs no room on the device for more of a
 * photograph than the extractor sees, however large that is, and one program serves all photographs that are seen alike.
 */
import { type Interpolation, resampleOnHost } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import type { Size } from "../transfer/augment.ts";

/** The photograph at the size `seen`, [3, height, width] in [0, 1] (bicubic: a little beyond). The same picture where nothing changes. */
export function seenPicture(picture: Picture, { height, width }: Size, resize: Interpolation): Picture {
  if (picture.height === height && picture.width === width) return picture;
  const data = resampleOnHost(picture.data, [3, picture.height, picture.width], { height, width, mode: resize });
  return { height, width, data };
}
