/** The formats in which a picture can be had, by their media types; the first is the usual one. */
import type { ImageFormatName } from "../../jobs/model/messages.ts";

export const pictureTypes = ["image/png", "image/jpeg", "image/webp"] as const;
export type PictureType = (typeof pictureTypes)[number];

export const formatNames = ["png", "jpeg", "webp"] as const satisfies readonly ImageFormatName[];

export function formatOf(type: PictureType): ImageFormatName {
  return formatNames[pictureTypes.indexOf(type)];
}
