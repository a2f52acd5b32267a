/**
 * What a picture is to the rest of the program, the one error that pictures raise, and the scaling that is done before training (how: scale.ts). Not about files: reading
 * and writing them is decode.ts and encode.ts. A picture is always opaque sRGB in upright orientation; nothing here changes one in place.
 */
import { fittedSize, planes, scaleRows, type Size } from "./scale.ts";

/** An opaque picture: `data` is planar RGB in [0, 1], shape [3, height, width]. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array<ArrayBuffer>;
}

/** Why a picture is refused. */
export type ImageFault = "unsupported_type" | "too_large" | "too_small" | "damaged";

/** A picture file that cannot be used: `code` for programs, `message` (what, why, what to do) for people. */
export class ImageError extends Error {
  override readonly name = "ImageError";
  readonly code: ImageFault;

  constructor(code: ImageFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Scales a picture down so that its longer side is `longest` pixels, aspect kept. A picture that is already no longer than that is returned as it is: nothing is
 * enlarged. Sides are rounded, and at least 1.
 */
export function fitPicture(picture: Picture, longest: number): Picture {
  const size = fittedSize(picture, longest);
  return size === null ? picture : scalePicture(picture, size);
}

/** Scales a picture to this size, in pixels, up or down: see `scaleRows`. */
export function scalePicture(picture: Picture, { width, height }: Size): Picture {
  return { width, height, data: scaleRows(planes(picture), { width, height }) };
}

/** Gives the memory of a picture back at once, instead of when it is found that nobody has it. It is empty from then on. */
export function releasePicture(picture: Picture): void {
  picture.data.buffer.transfer(0);
}
