/**
 * The memory plan: which stored value lies in which buffer.
 *
 * Values live from the step that writes them to the last step that reads them; scratch buffers are shared by values whose
 * lives do not meet, largest first. Buffers are separate objects rather than ranges of one, because WebGPU forbids one buffer
 * as read-only and writable in one dispatch, and orders everything that touches it. Invariant: no two live values overlap.
 */
import type { Apply, Graph, Value } from "../ir/graph.ts";
import { valuesOf } from "../ir/graph.ts";
import type { BufferId, BufferRole } from "../ir/program.ts";
import { byteSize, contiguous, contiguousStrides, type Layout } from "../ir/type.ts";
import { baseOf, isView, placeIn } from "./views.ts";

export interface Placement {
  readonly buffer: BufferId;
  /** Where in the buffer the value's elements lie; contiguous, but for a piece of a concatenation along an inner axis, which nobody reads by itself. */
  readonly layout: Layout;
}

export interface MemoryPlan {
  /** Values in the order in which they are computed: everything stored that is computed at all. */
  readonly order: readonly Apply[];
  readonly placement: ReadonlyMap<Value, Placement>;
  readonly buffers: ReadonlyMap<BufferId, { readonly bytes: number; readonly role: BufferRole }>;
}

interface Storage {
  readonly owner: Value;
  readonly bytes: number;
  first: number;
  last: number;
}

/** `results`: what the roots become, buffers of their own or states of their names. */
export function planMemory(graph: Graph, results: "io" | "state" = "io"): MemoryPlan {
  const values = valuesOf(graph);
  const order = values.filter((value): value is Apply => value.kind === "apply" && !isView(value));

  // A piece of a concatenation lives in its whole, which is never a piece itself.
  const home = new Map<Value, { whole: Value; layout: Layout }>();
  for (const value of order) {
    if (value.op.lower.kind !== "concat") continue;
    const axis = value.attrs.axis as number;
    const stride = contiguousStrides(value.type.shape)[axis];
    let offset = 0;
    for (const input of value.inputs) {
      home.set(baseOf(input), { whole: value, layout: { ...placeIn(value.type.shape, input)!, offset } });
      offset += input.type.shape[axis] * stride;
    }
  }
  const settle = (value: Value): { owner: Value; layout: Layout } => {
    const at = home.get(value);
    return at ? { owner: at.whole, layout: at.layout } : { owner: value, layout: contiguous(value.type.shape) };
  };

  const storages = new Map<Value, Storage>();
  const touch = (value: Value, step: number) => {
    const { owner } = settle(value);
    const known = storages.get(owner);
    if (!known) storages.set(owner, { owner, bytes: byteSize(owner.type), first: step, last: step });
    else {
      known.first = Math.min(known.first, step);
      known.last = Math.max(known.last, step);
    }
  };
  const outputs = new Map([...graph.roots].map(([name, value]) => [baseOf(value), name]));
  for (const [step, value] of order.entries()) {
    touch(value, step);
    for (const input of value.inputs) if (baseOf(input).kind !== "const") touch(baseOf(input), step);
  }

  const buffers = new Map<BufferId, { bytes: number; role: BufferRole }>();
  const bufferOf = new Map<Value, BufferId>();
  let nextBuffer = 0;
  const open = (bytes: number, role: BufferRole): BufferId => {
    const id = nextBuffer++ as BufferId;
    buffers.set(id, { bytes, role });
    return id;
  };
  const scratch: { id: BufferId; lives: Storage[] }[] = [];
  const bySize = [...storages.values()].sort((a, b) => b.bytes - a.bytes || a.first - b.first);
  for (const storage of bySize) {
    const { owner } = storage;
    if (owner.kind === "state") bufferOf.set(owner, open(storage.bytes, { kind: "state", name: owner.name }));
    else if (outputs.has(owner) && results === "state") {
      bufferOf.set(owner, open(storage.bytes, { kind: "state", name: outputs.get(owner)! }));
    } else if (owner.kind === "input" || outputs.has(owner)) bufferOf.set(owner, open(storage.bytes, { kind: "io" }));
    else {
      const free = scratch.find(({ lives }) =>
        lives.every((other) => other.last < storage.first || storage.last < other.first)
      );
      const place = free ?? { id: open(storage.bytes, { kind: "scratch" }), lives: [] };
      if (!free) scratch.push(place);
      place.lives.push(storage);
      bufferOf.set(owner, place.id);
    }
  }

  const placement = new Map<Value, Placement>();
  for (const value of values) {
    if (isView(value) || value.kind === "const") continue;
    const { owner, layout } = settle(value);
    const buffer = bufferOf.get(owner);
    if (buffer !== undefined) placement.set(value, { buffer, layout });
  }
  return { order, placement, buffers };
}
