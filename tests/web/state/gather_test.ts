import assert from "node:assert/strict";
import { gather } from "../../../src/web/state/gather.ts";

const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

Deno.test("gather: what comes close together is handed on together, in order, once", async () => {
  const handed: number[][] = [];
  const { add, flush } = gather<number>({ quiet: () => 20, longest: 10_000 }, (things) => handed.push(things));
  add([1, 2]);
  add([3]);
  assert.deepEqual(handed, []);
  await after(100);
  flush();
  assert.deepEqual(handed, [[1, 2, 3]]);
  add([4]);
  flush();
  await after(100);
  assert.deepEqual(handed, [[1, 2, 3], [4]]);
});

Deno.test("gather: what never stops coming is handed on all the same", async () => {
  const handed: number[][] = [];
  const { add, flush } = gather<number>({ quiet: () => 60_000, longest: 50 }, (things) => handed.push(things));
  let count = 0;
  while (handed.length < 3) {
    add([count++]);
    await after(5);
  }
  flush();
  assert.deepEqual(handed.flat(), Array.from({ length: count }, (_, at) => at));
});
