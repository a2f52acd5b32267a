// The generator's vocabulary: what it consists of, and the refusal of whatever is not it.

import assert from "node:assert/strict";
import { checkGenerator, generatorShapes } from "../../../src/weights/formats/generator_names.ts";
import type { StateDict } from "../../../src/weights/formats/tensor.ts";
import { fixture, isClear, readPth } from "../../fixtures/weights/files.ts";
import { changed, generator, zeros } from "../../support/weights/tensors.ts";

const published = (await readPth(fixture("vit.pth"))).tensors;

Deno.test("generator: it has 1,037,523 parameters in the checkpoint's order", () => {
  const shapes = generatorShapes();
  assert.equal([...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0), 1_037_523);
  assert.deepEqual([...shapes.keys()].slice(0, 16), [
    ...["skip.0.conv.weight", "skip.0.conv.bias", "skip.0.bn.weight", "skip.0.bn.bias"],
    ...["down.0.a.conv.weight", "down.0.a.conv.bias", "down.0.a.bn.weight", "down.0.a.bn.bias"],
    ...["down.0.b.conv.weight", "down.0.b.conv.bias", "down.0.b.bn.weight", "down.0.b.bn.bias"],
    ...["up.0.cat.bn.weight", "up.0.cat.bn.bias", "up.0.a.conv.weight", "up.0.a.conv.bias"],
  ]);
  assert.deepEqual(shapes.get("up.0.a.conv.weight"), [16, 36, 3, 3]);
  assert.deepEqual(shapes.get("up.4.a.conv.weight"), [128, 132, 3, 3]);
  assert.deepEqual([...shapes.keys()].slice(-2), ["out.conv.weight", "out.conv.bias"]);
});

Deno.test("generator: a's checkpoint is checked whole", () => {
  const refuses = (tensors: StateDict, expected: RegExp) =>
    assert.throws(() => checkGenerator(tensors, "g.safetensors"), isClear("g.safetensors", expected));
  checkGenerator(generator(), "g.safetensors");
  refuses(new Map(), /not a generator, it holds no tensors/);
  refuses(published, /not a generator, it holds "cls_token".*--save-generator/);
  refuses(changed(generator(), { "out.conv.bias": null }), /lacks "out\.conv\.bias"/);
  refuses(
    changed(generator(), { "out.conv.bias": zeros(4) }),
    /"out\.conv\.bias" has the shape \[4\], and \[3\] is needed/,
  );
  refuses(changed(generator(), { more: zeros(4) }), /also holds "more"/);
});
