/**
 * What the engine says when something is wrong: `Cannot <action> <values>: <why, and what is needed> (at <scope>)` as an
 * EngineError for what a user did, `Bug:` as a plain Error for what the engine did.
 */
import assert from "node:assert/strict";
import * as ops from "../../src/engine/mod.ts";
import {
  compile,
  EngineError,
  f32,
  gradients,
  type Graph,
  input,
  state,
  type Value,
  withScope,
} from "../../src/engine/mod.ts";
import { apply, type Op } from "../../src/engine/ir/graph.ts";
import { interpret } from "../../src/engine/ir/interpret.ts";
import { verify } from "../../src/engine/ir/verify.ts";
import { allOps } from "../../src/engine/ops/mod.ts";
import { lowered } from "../../src/engine/compile/compile.ts";
import { applyOp } from "../support/engine/cases/case.ts";
import { gpuTest } from "../support/engine/gpu.ts";
import { promisedProfile } from "../support/engine/profiles.ts";

const x = (...shape: number[]) => input("x", f32(...shape));
const graphOf = (roots: Record<string, Value>): Graph => ({ roots: new Map(Object.entries(roots)) });

/** What is built, and the whole message. */
const mistakes: readonly [build: () => unknown, message: string][] = [
  [
    () => ops.add(x(3, 4), x(5)),
    "Cannot add [3,4] with [5]: axis -1 has 4 on the left and 5 on the right; sides must be equal, or one of them 1",
  ],
  [
    () => applyOp("mul", [x(2), x(3)]),
    "Cannot mul f32[2] with f32[3]: operands must be f32 of one shape",
  ],
  [
    () => applyOp("neg", [input("x", { dtype: "u32", shape: [2] })]),
    "Cannot neg u32[2]: operands must be f32 of one shape",
  ],
  [() => ops.reshape(x(3, 4), [5]), "Cannot reshape f32[3,4] to [5]: 12 elements cannot become 5"],
  [() => ops.permute(x(3, 4), [0, 0]), "Cannot permute f32[3,4] by [0,0]: the order must name each axis once"],
  [
    () => ops.slice(x(6), 0, 4, 3),
    "Cannot slice f32[6] from [4] by [1], [3] elements: that leaves the tensor",
  ],
  [
    () => ops.slice(x(6), 0, 1, 3, -1),
    "Cannot slice f32[6] from [1] by [-1], [3] elements: that leaves the tensor",
  ],
  [
    () => ops.expand(x(3, 4), [3, 8]),
    "Cannot expand f32[3,4] to [3,8]: only axes of side 1 and new leading axes can grow",
  ],
  [
    () => ops.concat([x(2, 3), x(2, 4)]),
    "Cannot concat f32[2,3] with f32[2,4]: all axes but the joined one must agree",
  ],
  [
    () => ops.crop(x(3, 4), input("at", f32(2)), 2, 2),
    "Cannot crop f32[3,4] at f32[2]: needs [C,H,W] and an offset f32[2] (y, x)",
  ],
  [() => ops.sum(x(3), 2), "Cannot sum f32[3] over 2 trailing axes: operands must agree and have them"],
  [
    () => applyOp("column_sum", [x(2, 3, 4)]),
    "Cannot sum the columns of f32[2,3,4]: needs [R, n]",
  ],
  [
    () => ops.layerNorm(x(2, 8), x(8), x(7), 1e-6),
    "Cannot layer_norm f32[2,8] by f32[8] and f32[7]: both must be f32[8]",
  ],
  [
    () => ops.batchNorm(x(1, 3, 4, 4), x(3, 2), 1e-5),
    "Cannot batch_norm f32[1,3,4,4] by f32[3,2]: needs [B,C,H,W] and weight and bias as f32[2,C]",
  ],
  [
    () => ops.matmul(x(3, 4), x(5, 6)),
    "Cannot matmul f32[3,4] with f32[5,6]: the left has 4 columns, the right 5 rows; they must be equal",
  ],
  [
    () => ops.matmul(x(2, 3, 4), x(4, 6)),
    "Cannot matmul f32[2,3,4] with f32[4,6]: both must be [M,K], or both [B,M,K]",
  ],
  [() => ops.matmul(x(2, 3, 4), x(3, 4, 5)), "Cannot matmul f32[2,3,4] with f32[3,4,5]: 2 batches meet 3"],
  [
    () => ops.attention(x(3, 65), x(3, 65), x(3, 65)),
    "Cannot attend with f32[3,65] to f32[3,65] and f32[3,65]: needs [M,D], [N,D], [N,D] with D a multiple of 64",
  ],
  [
    () => ops.conv2d(x(1, 3, 8, 8), x(8, 4, 3, 3)),
    "Cannot conv2d f32[1,3,8,8] with f32[8,4,3,3]: input has 3 channels, weight expects 4",
  ],
  [
    () => ops.conv2d(x(1, 3, 8, 8), x(8, 3, 4, 4)),
    "Cannot conv2d f32[1,3,8,8] with f32[8,3,4,4]: kernels are square, of side 1, 3, 5 or 7",
  ],
  [
    () => ops.conv2d(x(1, 3, 2, 8), x(8, 3, 5, 5), { padding: "reflect" }),
    "Cannot conv2d f32[1,3,2,8] with f32[8,3,5,5]: reflection by 2 needs sides larger than that",
  ],
  [
    () => applyOp("conv2d", [x(1, 3, 8, 8), x(8, 3, 3, 3)], { stride: 3, padding: "zero" }),
    "Cannot conv2d f32[1,3,8,8] with f32[8,3,3,3]: stride is 3; it can be 1 or 2",
  ],
  [() => applyOp("resample", [x(4, 4)]), "Cannot resample f32[4,4]: needs planes [N,H,W]"],
  [
    () =>
      applyOp("conv2d_input_gradient", [x(1, 8, 4, 5), x(8, 3, 3, 3)], {
        stride: 2,
        padding: "zero",
        shape: [1, 3, 8, 8],
      }),
    "Cannot take the gradient of conv2d f32[1,3,8,8] with f32[8,3,3,3] from f32[1,8,4,5]: the result was f32[1,8,4,4]",
  ],
  [
    () => applyOp("embed", [x(3)], { shape: [5], start: [1], step: [2] }),
    "Cannot slice f32[5] from [1] by [2], [3] elements: that leaves the tensor",
  ],
  [() => ops.softmax(x()), "Cannot softmax f32[]: needs at least one axis"],
  [() => gradients(x(3), [x(3)]), "Cannot differentiate f32[3]: needs a scalar, or a seed of its shape"],
  [
    () => gradients(x(3), [x(3)], x(4)),
    "Cannot differentiate f32[3] with the seed f32[4]: shapes must agree",
  ],
];

for (const [build, message] of mistakes) {
  Deno.test(`errors: ${message}`, () => {
    assert.throws(build, (error) => error instanceof EngineError && (assert.equal(error.message, message), true));
  });
}

Deno.test("errors: the scope in which a value was made is named, once", () => {
  const build = () => withScope("unet", () => withScope("down1", () => ops.matmul(x(3, 4), x(5, 6))));
  assert.throws(build, { message: /^Cannot matmul .* equal \(at unet\.down1\)$/ });
  assert.throws(() => withScope("vit", () => ops.add(x(3), x(4))), { message: /\(at vit\)$/ });
  // An error leaves its scopes.
  assert.equal(x(1).scope, "");
});

Deno.test("errors: a Bug is the engine's own", () => {
  const lying: Op = { ...allOps[0], name: "lying", pullback: ({ g }) => [ops.sum(g, 1), null] };
  const made = apply(lying, [x(3), x(3)]);
  const [a] = made.kind === "apply" ? made.inputs : [];
  assert.throws(() => gradients(ops.sumAll(made), [a]), {
    name: "Error",
    message: "Bug: the pullback of lying gives f32[] for an input of f32[3]",
  });

  const wrong = { ...made, type: f32(4) };
  assert.throws(() => verify(graphOf({ wrong }), "testing"), {
    message: /^Bug: after testing, %\d+ lying f32\[4\] should be f32\[3\]$/,
  });

  const late = { ...made, id: a.id };
  assert.throws(() => verify(graphOf({ late }), "testing"), { message: /^Bug: after testing, .* which comes later$/ });

  assert.throws(() => interpret(graphOf({ out: ops.neg(x(3)) }), new Map()), {
    message: /^Bug: %\d+ input x f32\[3\] was fed nothing$/,
  });

  const fused = lowered(graphOf({ out: ops.exp(x(3)) }), { profile: promisedProfile("portable") }).roots.get("out")!;
  assert.throws(() => gradients(fused, [fused.kind === "apply" ? fused.inputs[0] : fused], fused), {
    message: "Bug: gradients are taken before fusion",
  });
});

Deno.test("errors: a tensor no index can reach is refused when it is compiled", () => {
  const huge = ops.exp(ops.add(x(50000, 1), input("y", f32(1, 50000))));
  assert.throws(() => compile("huge", graphOf({ huge }), { profile: promisedProfile("portable") }), EngineError);
});

gpuTest("errors: what is fed and what is read must be there, and of its size", async ({ runtime }) => {
  const weight = state("errors.weight", f32(3), { trained: true });
  const graph = graphOf({ out: ops.mul(x(3), weight), other: ops.neg(x(3)) });
  const { step } = compile("example", graph, { profile: runtime.gpu.profile });
  const [loaded] = await runtime.load([step]);
  const refuses = (action: () => unknown, message: RegExp) => assert.throws(action, { name: "EngineError", message });
  refuses(() => runtime.run(loaded), /^Cannot run example: input x was not fed$/);
  refuses(
    () => runtime.run(loaded, new Map([["x", new Float32Array(4)]])),
    /^Cannot feed x: 4 numbers given, 3 needed$/,
  );
  const rejects = (action: () => Promise<unknown>, message: RegExp) =>
    assert.rejects(async () => await action(), { name: "EngineError", message });
  await rejects(() => runtime.readOutput(loaded, "loss"), /^Cannot read loss: example has the outputs out, other$/);
  await rejects(() => runtime.readState("nothing"), /^Cannot read state nothing: there is none of that name$/);
});
