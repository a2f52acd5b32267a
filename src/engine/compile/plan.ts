/**
 * The memory plan: which stored value lies in which buffer.
 *
 * Values live from the step that writes them to the last step that reads them; scratch buffers are shared by values whose
 * lives do not meet, largest first. Buffers are separate objects rather than ranges of one, because WebGPU forbids one buffer
 * as read-only and writable in one dispatch, and orders everything that touches it. Where that would take more than BUDGET, values also
 * lie beside each other in the space that larger ones left, as long as no dispatch reads the one and writes the other. Invariant: no two
 * live values overlap.
 */
import type { Apply, Graph, Value } from "../ir/graph.ts";
import { valuesOf } from "../ir/graph.ts";
import type { BufferId, BufferRole } from "../ir/program.ts";
import { byteSize, contiguous, contiguousStrides, type Layout } from "../ir/type.ts";
import { baseOf, isView, placeIn } from "./views.ts";

/** Bytes that a program may hold beside its states and results before memory is worth more than time: steps of small pictures hold less. */
export const BUDGET = 768 * 2 ** 20;

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

/** What shares one place: a stored value, or a concatenation and its pieces. Steps are indices into the order. */
export interface Storage {
  readonly owner: Value;
  readonly bytes: number;
  first: number;
  last: number;
}

export interface Lives {
  readonly order: readonly Apply[];
  readonly storages: ReadonlyMap<Value, Storage>;
  /** Whose place a stored value lies in, and where in it. */
  settle(value: Value): { readonly owner: Value; readonly layout: Layout };
}

/** From when to when everything stored is needed. */
export function livesOf(graph: Graph): Lives {
  const order = valuesOf(graph).filter((value): value is Apply => value.kind === "apply" && !isView(value));

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
  for (const [step, value] of order.entries()) {
    touch(value, step);
    for (const input of value.inputs) if (baseOf(input).kind !== "const") touch(baseOf(input), step);
  }
  return { order, storages, settle };
}

/** `results`: what the roots become, buffers of their own or states of their names. */
export function planMemory(graph: Graph, results: "io" | "state" = "io", budget = BUDGET): MemoryPlan {
  const lives = livesOf(graph);
  const apart = placed(graph, lives, { results, dense: false });
  if (scratchBytes(apart) <= budget) return apart;
  const dense = placed(graph, lives, { results, dense: true });
  return scratchBytes(dense) < scratchBytes(apart) ? dense : apart;
}

/** What a plan takes beside states, inputs and results. */
export function scratchBytes({ buffers }: MemoryPlan): number {
  return [...buffers.values()].reduce((sum, { bytes, role }) => sum + (role.kind === "scratch" ? bytes : 0), 0);
}

/** Where values begin in a buffer, in bytes: so that four words can be loaded at once. */
const ALIGNMENT = 16;

/** Where a storage begins, in elements. */
interface Place {
  readonly buffer: BufferId;
  readonly offset: number;
}

interface Shelf {
  readonly id: BufferId;
  readonly bytes: number;
  readonly taken: { readonly storage: Storage; readonly offset: number }[];
}

/** The lowest offset at which a shelf is free for as long as the storage lives; null where there is none. `dense`: not only at its beginning. */
function roomOn({ bytes, taken }: Shelf, storage: Storage, dense: boolean): number | null {
  const meet = taken.filter(({ storage: other }) => other.first <= storage.last && storage.first <= other.last);
  if (!dense) return meet.length === 0 ? 0 : null;
  let offset = 0;
  for (const other of meet.sort((a, b) => a.offset - b.offset)) {
    if (other.offset - offset >= storage.bytes) break;
    offset = Math.max(offset, Math.ceil((other.offset + other.storage.bytes) / ALIGNMENT) * ALIGNMENT);
  }
  return offset + storage.bytes <= bytes ? offset : null;
}

/** Whose places no buffer may hold both: one dispatch reads the one and writes the other. */
function opposedIn({ order, settle }: Lives): (a: Value, b: Value) => boolean {
  const against = new Map<Value, Set<Value>>();
  for (const value of order) {
    const { owner } = settle(value);
    const others = against.get(owner) ?? new Set();
    for (const input of value.inputs) others.add(settle(baseOf(input)).owner);
    against.set(owner, others);
  }
  return (a, b) => against.get(a)?.has(b) === true || against.get(b)?.has(a) === true;
}

function placed(
  graph: Graph,
  lives: Lives,
  { results, dense }: { readonly results: "io" | "state"; readonly dense: boolean },
): MemoryPlan {
  const { order, storages, settle } = lives;
  const opposed = dense ? opposedIn(lives) : () => false;
  const outputs = new Map([...graph.roots].map(([name, value]) => [baseOf(value), name]));

  const buffers = new Map<BufferId, { bytes: number; role: BufferRole }>();
  const places = new Map<Value, Place>();
  let nextBuffer = 0;
  const open = (bytes: number, role: BufferRole): BufferId => {
    const id = nextBuffer++ as BufferId;
    buffers.set(id, { bytes, role });
    return id;
  };
  const scratch: Shelf[] = [];
  const shelve = (storage: Storage): Place => {
    for (const shelf of scratch) {
      const offset = roomOn(shelf, storage, dense);
      if (offset === null || shelf.taken.some((other) => opposed(other.storage.owner, storage.owner))) continue;
      shelf.taken.push({ storage, offset });
      return { buffer: shelf.id, offset: offset / 4 };
    }
    const id = open(storage.bytes, { kind: "scratch" });
    scratch.push({ id, bytes: storage.bytes, taken: [{ storage, offset: 0 }] });
    return { buffer: id, offset: 0 };
  };
  const alone = (storage: Storage, role: BufferRole) => ({ buffer: open(storage.bytes, role), offset: 0 });
  const bySize = [...storages.values()].sort((a, b) => b.bytes - a.bytes || a.first - b.first);
  for (const storage of bySize) {
    const { owner } = storage;
    const name = owner.kind === "state" ? owner.name : results === "state" ? outputs.get(owner) : undefined;
    if (name !== undefined) places.set(owner, alone(storage, { kind: "state", name }));
    else if (owner.kind === "input" || outputs.has(owner)) places.set(owner, alone(storage, { kind: "io" }));
    else places.set(owner, shelve(storage));
  }

  const placement = new Map<Value, Placement>();
  for (const value of valuesOf(graph)) {
    if (isView(value) || value.kind === "const") continue;
    const { owner, layout } = settle(value);
    const place = places.get(owner);
    if (place) {
      placement.set(value, { buffer: place.buffer, layout: { ...layout, offset: place.offset + layout.offset } });
    }
  }
  return { order, placement, buffers };
}
