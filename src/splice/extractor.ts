/**
 * The frozen extractor on its way to the GPU: the tensors of a checked weight file, and the states that programs read them from.
 */
import type { Program, Runtime } from "../engine/mod.ts";
import { vitConstants } from "../nets/vit.ts";
import type { VitDescription } from "../weights/names.ts";
import type { StateDict } from "../weights/tensor.ts";

export interface Extractor {
  readonly tensors: StateDict;
  readonly vit: VitDescription;
}

/** Writes what these programs read of the extractor, and no more: features of an early block need no later one. */
export function uploadExtractor(runtime: Runtime, { tensors }: Extractor, programs: readonly (Program | null)[]): void {
  const wanted = new Set<string>();
  for (const program of programs) {
    for (const { role } of program?.buffers.values() ?? []) if (role.kind === "state") wanted.add(role.name);
  }
  for (const [name, { data }] of tensors) if (wanted.has(`vit.${name}`)) runtime.writeState(`vit.${name}`, data);
  for (const [name, data] of vitConstants()) if (wanted.has(name)) runtime.writeState(name, data);
}
