/** What is refused before anything is allocated: why, and what would fit. */
import assert from "node:assert/strict";
import { EngineError } from "../../../src/engine/mod.ts";
import { type MemoryReport, refuseUnlessItFits, tryPlan } from "../../../src/splice/transfer/memory.ts";

const MIB = 2 ** 20;
/** Of a picture of so many pixels a side. */
const report = (side: number): MemoryReport => ({
  stateBytes: 0,
  ioBytes: 0,
  scratchBytes: 400 * side ** 2,
  totalBytes: 400 * side ** 2,
  largestBytes: 12 * side ** 2,
});
const limits = (value: number, planAt: (side: number) => MemoryReport) => ({
  action: "train",
  bindingBytes: 128 * MIB,
  totalBytes: 1024 * MIB,
  options: [{ name: "size", value, planAt }],
});

Deno.test("memory: the largest size that fits is named, to within a few per cent", () => {
  for (const side of [1700, 3000, 5000]) {
    let size = 0;
    assert.throws(() => refuseUnlessItFits(report(side), limits(side, report)), ({ message }: Error) => {
      size = Number(/^Cannot train at size \d+: .*; size (\d+) would fit$/.exec(message)?.[1]);
      return true;
    });
    assert.ok(report(size).totalBytes <= 1024 * MIB, `${size} does not fit`);
    assert.ok(report(1.05 * size).totalBytes > 1024 * MIB, `much more than ${size} would fit`);
  }
  refuseUnlessItFits(report(1600), limits(1600, report));
});

Deno.test("memory: what cannot be planned at all says why", () => {
  const plan = (side: number) =>
    tryPlan(() => {
      if (side > 2000) throw new EngineError("Cannot compute softmax on this device", { kind: "memory" });
      return {
        prelude: null,
        step: { name: "", steps: [], buffers: new Map(), inputs: new Map(), outputs: new Map() },
      };
    }).memory;
  assert.throws(() => refuseUnlessItFits(plan(3000), limits(3000, plan)), {
    name: "EngineError",
    message:
      "Cannot train at size 3000: it cannot be planned (Cannot compute softmax on this device); size 1488 would fit",
  });
});
