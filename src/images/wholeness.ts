/** Whether a file is all there, read straight from its bytes, because Deno's decoder fills what a JPEG lacks with grey. Nothing here throws: unreadable means "as if whole". */
import type { Kind } from "./kinds.ts";

/** Is the file of this kind all there, as far as its outermost structure tells? A PNG is taken on trust: the decoder refuses a short one. */
export function isWhole(bytes: Uint8Array, kind: Kind): boolean {
  switch (kind) {
    case "jpeg":
      return jpegIsWhole(bytes);
    case "webp": // "RIFF", then the length of what follows
      return bytes.length >= 8 && bytes.length >= 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
    default:
      return true;
  }
}

/** Does the end-of-image marker follow the start of the first scan? Thumbnails inside the header do not count, nor does data after the end. */
function jpegIsWhole(bytes: Uint8Array): boolean {
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda) {
    at += bytes[at + 1] === 0xff ? 1 : 2 + bytes[at + 2] * 256 + bytes[at + 3]; // 0xff may be repeated as padding
  }
  for (let i = at; i + 1 < bytes.length; i++) {
    if (bytes[i] === 0xff && bytes[i + 1] === 0xd9) return true; // inside a scan 0xff is followed by 0 or a restart marker
  }
  return false;
}
