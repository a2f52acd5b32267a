/**
 * Programs run on paper: every element of every buffer carries the number of the step that wrote it last, so a value that was
 * overwritten while someone still wanted it, or was never written, shows without a GPU and without numbers.
 */
import assert from "node:assert/strict";
import { describe, type Graph, type Value, valuesOf } from "../../../src/engine/ir/graph.ts";
import type { BufferId, Program } from "../../../src/engine/ir/program.ts";
import { type Layout, sizeOf } from "../../../src/engine/ir/type.ts";
import type { MemoryPlan } from "../../../src/engine/compile/plan.ts";
import { baseOf, isView, layoutIn } from "../../../src/engine/compile/views.ts";

/** What WebGPU promises everywhere. */
const MOST_BINDINGS = 8;
const MOST_GROUPS = 65535;

/** Every read sees what was written as that value, from the first step to the roots. */
export function replayPlan(graph: Graph, plan: MemoryPlan): void {
  const stamps = new Map<BufferId, Int32Array>();
  for (const [id, { bytes }] of plan.buffers) stamps.set(id, new Int32Array(bytes / 4));
  const written = new Map<Value, readonly number[]>();

  /** The buffer's stamps, and where in it each element of the value lies. */
  const place = (value: Value): { all: Int32Array; at: number[] } => {
    const placed = plan.placement.get(value);
    assert.ok(placed, `${describe(value)} has no place`);
    const all = stamps.get(placed.buffer)!;
    const at = elementsOf(placed.layout);
    assert.ok(
      at.every((element) => element >= 0 && element < all.length),
      `${describe(value)} lies outside its buffer`,
    );
    return { all, at };
  };
  const stampsOf = (value: Value): number[] => {
    const { all, at } = place(value);
    return at.map((element) => all[element]);
  };
  const read = (value: Value, reader: string): void => {
    const base = baseOf(value);
    assert.ok(written.has(base), `${reader} reads ${describe(base)}, which was never written`);
    assert.deepEqual(stampsOf(base), written.get(base), `${reader} reads ${describe(base)}, which was overwritten`);
    const layout = layoutIn(value);
    assert.ok(layout, `${reader} reads ${describe(value)}, which strides cannot express`);
    const ends = layout.shape.map((side, axis) => (side - 1) * layout.strides[axis]);
    const low = ends.reduce((sum, end) => sum + Math.min(end, 0), layout.offset);
    const high = ends.reduce((sum, end) => sum + Math.max(end, 0), layout.offset);
    assert.ok(low >= 0 && high < sizeOf(base.type.shape), `${reader} reads past the ends of ${describe(base)}`);
  };
  const write = (value: Value, step: number): void => {
    const { all, at } = place(value);
    for (const element of at) all[element] = step;
    written.set(value, at.map(() => step));
  };

  let step = 1;
  for (const value of valuesOf(graph)) {
    if ((value.kind === "input" || value.kind === "state") && plan.placement.has(value)) write(value, step++);
  }
  for (const value of plan.order) {
    value.inputs.forEach((from) => read(from, describe(value)));
    // A concatenation is there as soon as its pieces are: nothing is done for it.
    if (value.op.lower.kind === "concat") {
      const pieces = value.inputs.flatMap((from) => place(baseOf(from)).at);
      const sorted = (at: readonly number[]) => at.toSorted((a, b) => a - b);
      assert.deepEqual(sorted(pieces), place(value).at, `${describe(value)} is not made of its pieces`);
      written.set(value, stampsOf(value));
    } else write(value, step++);
  }
  for (const [name, value] of graph.roots) read(value, `root ${name}`);
  const owners = [...graph.roots.values()].map((value) => plan.placement.get(baseOf(value))!.buffer);
  assert.equal(new Set(owners).size, owners.length, "two roots share a buffer");
  assert.ok(!valuesOf(graph).some((value) => isView(value) && plan.placement.has(value)), "a view has a place");
}

function elementsOf({ offset, shape, strides }: Layout): number[] {
  return shape.reduce(
    (found, side, axis) => found.flatMap((at) => Array.from({ length: side }, (_, i) => at + i * strides[axis])),
    [offset],
  );
}

/** What WebGPU would refuse: a buffer read and written in one dispatch, too many bindings, a grid too large. */
export function checkProgram(program: Program): void {
  for (const { kernel, args, origin } of program.steps) {
    const what = `${kernel.name} (at ${origin})`;
    assert.equal(args.length, kernel.access.length, `${what} binds as many buffers as it declares`);
    assert.ok(args.length <= MOST_BINDINGS, `${what} binds ${args.length} buffers`);
    const readOnly = new Set(args.filter((_, i) => kernel.access[i] === "read"));
    const writable = args.filter((_, i) => kernel.access[i] !== "read");
    assert.ok(writable.every((id) => !readOnly.has(id)), `${what} reads and writes one buffer`);
    assert.equal(new Set(writable).size, writable.length, `${what} writes one buffer twice`);
    assert.ok(
      kernel.grid.every((side) => Number.isInteger(side) && side >= 1 && side <= MOST_GROUPS),
      `${what} has the grid ${kernel.grid}`,
    );
    for (const id of args) {
      assert.ok(program.buffers.has(id), `${what} binds b${id}, which is no buffer of its program`);
    }
  }
}
