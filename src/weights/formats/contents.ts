// What every reader of a weight file finds, before anybody knows what of it is wanted: names, and behind each name a tensor that is read when it
// is asked for. So a file's other networks cost nothing, and what cannot be read is refused only where it is needed. Invariant: the names and
// places of all tensors have been checked, and nothing of their data has been touched.

import type { HostTensor, StateDict, Weights } from "./tensor.ts";

/** Reads one tensor. @throws WeightsError if its data is damaged, or of a kind that is no weight. */
export type Stored = () => HostTensor;

/**
 * Tensors by name, in the order of the file; the dicts that a PyTorch file nests are part of the name ("teacher.backbone.cls_token"). `metadata`
 * are the file's own notes; `remarks` are ours, for whoever asked for the file: a sentence each.
 */
export type Contents = {
  readonly tensors: ReadonlyMap<string, Stored>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly remarks: readonly string[];
};

/** All of it. @throws WeightsError as the tensors do. */
export function readAll({ tensors, metadata }: Contents): Weights {
  return { tensors: readTensors(tensors), metadata };
}

/** Each of them, in their order. @throws WeightsError as they do. */
export function readTensors(tensors: ReadonlyMap<string, Stored>): StateDict {
  return new Map(Array.from(tensors, ([name, read]) => [name, read()]));
}

/**
 * The same tensors, taken out of files that are mostly something else: as views they would keep all of a training program's checkpoint in memory,
 * of which they are a quarter.
 */
export function detached(tensors: StateDict): StateDict {
  const bytes = [...tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
  return new Map(
    Array.from(tensors, ([name, { shape, data }]) => [
      name,
      { shape, data: data.buffer.byteLength > 2 * bytes ? data.slice() : data },
    ]),
  );
}
