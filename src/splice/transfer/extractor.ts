/**
 * The frozen extractor on its way to the GPU: the tensors of a checked weight file, and the states that programs read them from.
 */
import { EngineError, type Program, type Runtime } from "../../engine/mod.ts";
import { seenSize } from "../../nets/vit.ts";
import { vitConstant } from "../../nets/vit_constants.ts";
import type { VitDescription } from "../../weights/formats/vit_family.ts";
import type { StateDict } from "../../weights/formats/tensor.ts";

export interface Extractor {
  readonly tensors: StateDict;
  readonly vit: VitDescription;
}

/** Writes what these programs read of the extractor, and no more: features of an early block need no later one. */
export function uploadExtractor(
  runtime: Runtime,
  { tensors, vit }: Extractor,
  programs: readonly (Program | null)[],
): void {
  const wanted = new Set<string>();
  for (const program of programs) {
    for (const { role } of program?.buffers.values() ?? []) {
      if (role.kind === "state" && role.name.startsWith(PREFIX)) wanted.add(role.name);
    }
  }
  for (const state of wanted) {
    const name = state.slice(PREFIX.length);
    const data = tensors.get(name)?.data ?? vitConstant(vit, name, periodsOf(tensors));
    if (data === null) throw new Error(`Bug: the extractor has nothing for the state ${state}`);
    runtime.writeState(state, data);
  }
}

const PREFIX = "vit.";

/** The periods of a network's own rotary positions, where its file has some. */
export const periodsOf = (tensors: StateDict) => tensors.get("rope_embed.periods")?.data;

/** Throws EngineError where the extractor would see less than a patch: of a picture that is many times longer than high. */
export function checkSeen(
  { width, height }: { readonly width: number; readonly height: number },
  { name, patch, side, longest }: { name: string; patch: number; side: number; longest: number },
): void {
  const seen = seenSize(height, width, side, longest);
  if (Math.min(seen.width, seen.height) >= patch) return;
  const limit = side < patch ? `vit_side (now ${side})` : `vit_longest (now ${longest})`;
  throw new EngineError(
    `Cannot see the ${name} picture of ${width} x ${height}: it would be seen as ${seen.width} x ${seen.height}, less than a ` +
      `patch of ${patch}; crop it, or raise ${limit}`,
  );
}
