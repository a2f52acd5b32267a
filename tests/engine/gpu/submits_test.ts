/** How programs reach the queue: where they are cut, that the pieces give the bytes of the whole, and that a run which is stopped between them leaves nothing. */
import assert from "node:assert/strict";
import { compile, f32, input, matmul, openRuntime, type Runtime, type Value } from "../../../src/engine/mod.ts";
import { cut, workOf } from "../../../src/engine/gpu/submits.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { noise } from "../../support/engine/numbers.ts";

const SIDE = 512;
/** Enough of them that the first run, of whose pace nothing is known, takes several submits. */
const PRODUCTS = 24;

Deno.test("submits: as many dispatches as fit the budget go together, and at least one", () => {
  const works = [3, 3, 3, 10, 1, 1];
  assert.equal(cut(works, 0, 6), 2);
  assert.equal(cut(works, 2, 6), 3, "the next does not fit");
  assert.equal(cut(works, 3, 6), 4, "one that is too large goes alone");
  assert.equal(cut(works, 4, 6), 6);
  assert.equal(cut(works, 0, Infinity), 6);
});

gpuTest(
  "submits: a program of known cost is cut where it must be, and gives the same bytes however it is cut",
  async ({ runtime: { gpu } }) => {
    const runtime = openRuntime(gpu); // of whose pace nothing is known
    const { loaded, feeds } = await chain(runtime);
    const works = loaded.program.steps.map(({ kernel }) => workOf(kernel));
    assert.equal(works.length, PRODUCTS);
    const { queue } = runtime.gpu.device;
    const submit = queue.submit.bind(queue);
    let submits = 0;
    queue.submit = (buffers) => {
      submits++;
      submit(buffers);
    };
    try {
      const first = await runtime.run(loaded, feeds);
      assert.equal(first, submits, "what it says is what was submitted");
      assert.ok(first !== null && first > 1, `${first} submits`);
      const cold = await runtime.readOutput(loaded, "out");
      await runtime.run(loaded, feeds);
      assert.deepEqual(await runtime.readOutput(loaded, "out"), cold);
    } finally {
      queue.submit = submit;
      runtime.release();
    }
  },
);

gpuTest(
  "submits: a run that is stopped between two submits says so, and the next one is whole",
  async ({ runtime: { gpu } }) => {
    const runtime = openRuntime(gpu); // of whose pace nothing is known
    const { loaded, feeds } = await chain(runtime);
    const stopped = await runtime.run(loaded, feeds, { signal: AbortSignal.abort() });
    assert.equal(stopped, null);
    assert.ok(await runtime.run(loaded, feeds) !== null);
    runtime.release();
  },
);

/** Products one after the other, of one matrix. */
async function chain(runtime: Runtime) {
  const x = input("x", f32(SIDE, SIDE));
  let out: Value = x;
  for (let i = 0; i < PRODUCTS; i++) out = matmul(out, x);
  const { step } = compile("chain", { roots: new Map([["out", out]]) }, { profile: runtime.gpu.profile });
  const [loaded] = await runtime.load([step]);
  return { loaded, feeds: new Map([["x", new Float32Array(noise(SIDE * SIDE, 1)).map((value) => value / 32)]]) };
}
