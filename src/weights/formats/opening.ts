// How a weight file is opened, whatever its format: a PyTorch zip, PyTorch's old pickles, safetensors, or many of these by their index. It reads no
// tensor and knows no network. Invariant: a file's content decides how it is read, never its name.

import { basename } from "node:path";
import type { Contents } from "./contents.ts";
import { openLegacy } from "./legacy.ts";
import { openPth } from "./pth.ts";
import { openSafetensors } from "./safetensors.ts";
import { isIndex, locateWeights, openShards } from "./sharded.ts";
import { readWholeFile, WeightsError } from "./tensor.ts";

/** `path` is the file or index that was opened, `from` the name to remember it by, `files` are the bytes it consists of. */
export type Opened = {
  readonly contents: Contents;
  readonly path: string;
  readonly from: string;
  readonly files: readonly Uint8Array[];
};

/** A weight file in memory, by its first bytes; `label` names it in errors. @throws WeightsError if it is none, or damaged. */
export function openBytes(bytes: Uint8Array, label: string): Contents {
  const head = String.fromCharCode(...bytes.subarray(0, 512));
  if (head.startsWith("PK")) return openPth(bytes, label);
  if (head[8] === "{") return openSafetensors(bytes, label);
  const legacy = isPickle(head) ? openLegacy(bytes, label) : null;
  if (legacy !== null) return legacy;
  throw new WeightsError(`Cannot read ${label}: ${strangeness(head, bytes.length)}`);
}

/** A weight file, or of many shards the index, the folder with it, or one of them. @throws WeightsError as `openBytes`, and if it cannot be read. */
export async function openWeights(path: string): Promise<Opened> {
  const file = await locateWeights(path);
  if (isIndex(file)) return { ...await openShards(file, openBytes), path: file, from: basename(file) };
  const bytes = await readWholeFile(file);
  return { contents: openBytes(bytes, file), path: file, from: basename(file), files: [bytes] };
}

/** A pickle opens with its protocol. */
function isPickle(head: string): boolean {
  return head[0] === "\x80" && head.charCodeAt(1) <= 5;
}

/** Why a file that begins with `head` (a character a byte) is no weight file, and what to do. */
function strangeness(head: string, size: number): string {
  const resave =
    `Open it with PyTorch 1.13 or later and save it again: torch.save(torch.load("old.pth", map_location="cpu", weights_only=True), "new.pth"). ` +
    "Without weights_only PyTorch runs whatever the file says: only where you trust it.";
  if (size === 0) return "the file is empty. Fetch it again.";
  if (head.startsWith("version https://git-lfs")) {
    return "it is a Git LFS pointer, not the weights. Run `git lfs pull`, or fetch the file itself.";
  }
  if (/^\s*<(?:!doctype|html|\?xml)/i.test(head)) {
    return "it is a web page, not the weights. Fetch the file itself, not the page about it.";
  }
  if (head.slice(257, 262) === "ustar") {
    return `it is a tar archive, as PyTorch 0.1 saved and people pack. Unpack it, or, if PyTorch made it: ${resave}`;
  }
  if (head.startsWith("\x1f\x8b")) return "it is packed with gzip. Run `gunzip` on it first.";
  if (isPickle(head)) return `it is a bare pickle, not a checkpoint of torch.save. ${resave}`;
  const first = Array.from(head.slice(0, 8), (c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join(" ");
  return `it is neither safetensors nor a PyTorch checkpoint (it begins with ${first}). Name a .safetensors, .pth or .bin file of weights.`;
}
