// Which of a file's networks is taken, what its tensors are called then, and what is said: every nesting that training programs write.

import fc from "fast-check";
import assert from "node:assert/strict";
import type { Stored } from "../../../src/weights/formats/contents.ts";
import { takeNetwork } from "../../../src/weights/formats/networks.ts";
import { openPth } from "../../../src/weights/formats/pth.ts";
import { WeightsError } from "../../../src/weights/formats/tensor.ts";
import { fixture, isClear } from "../../fixtures/weights/files.ts";

const NETWORK = ["cls_token", "pos_embed", "blocks.0.norm1.weight", "norm.weight", "norm.bias"];

/** Each tensor holds which name it had, so that nothing can be taken from another network unseen. */
const contents = (...names: readonly string[]) => ({
  tensors: new Map(
    names.map((name): [string, Stored] => [name, () => ({ shape: [], data: Float32Array.of(names.indexOf(name)) })]),
  ),
  metadata: {},
  remarks: [],
});
const under = (prefix: string, names: readonly string[] = NETWORK) => names.map((name) => prefix + name);
const take = (names: readonly string[], wanted?: string) => {
  const taken = takeNetwork(contents(...names), "some.pth", wanted);
  const from = Array.from(taken.tensors.values(), (read) => names[read().data[0]]);
  return { names: [...taken.tensors.keys()], from, network: taken.network, remarks: taken.remarks };
};

Deno.test("networks: one network in any wrapping is that network, and nothing is said", () => {
  for (
    const prefix of [
      "",
      "module.",
      "_orig_mod.",
      "model.",
      "backbone.",
      "vit.",
      "dinov2.",
      "dinov2_with_registers.",
      "teacher.",
      "student.",
      "base_encoder.",
      "momentum_encoder.",
      "module._orig_mod.backbone.",
      "state_dict.module.base_encoder.",
      "state_dict.model.backbone.vit.",
      "teacher.module.backbone.",
      "model.module.teacher._orig_mod.backbone.",
      "somebody.elses.net.",
    ]
  ) {
    assert.deepEqual(take(under(prefix)), { names: NETWORK, from: under(prefix), network: null, remarks: [] }, prefix);
  }
  const checkpointed = NETWORK.map((name) => name.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module."));
  assert.deepEqual(take(under("module.", checkpointed)).names, NETWORK);
  const wrapped = NETWORK.map((name) =>
    name.replace("blocks.0.norm1.", "blocks.0._fsdp_wrapped_module.norm1._orig_mod.")
  );
  assert.deepEqual(take(wrapped).names, NETWORK);
  const chunks = under("teacher.backbone.", NETWORK.map((name) => name.replace("blocks.0.", "blocks.3.0.")));
  assert.deepEqual(take(chunks).names, NETWORK, "DINOv2 trains its blocks in chunks");
});

Deno.test("networks: transformers 5 says model. of some of a network's tensors only", () => {
  const names = [
    "embeddings.cls_token",
    "embeddings.patch_embeddings.weight",
    "model.layer.0.norm1.weight",
    "norm.weight",
  ];
  const plain = ["embeddings.cls_token", "embeddings.patch_embeddings.weight", "layer.0.norm1.weight", "norm.weight"];
  assert.deepEqual(take(names).names, plain);
  assert.deepEqual(take(under("dinov3_vit.", names)).names, plain);
  assert.deepEqual(take(under("backbone.module.", names)).names, plain);
});

Deno.test("networks: of several the one that is meant is taken, and it says which and how to take another", () => {
  const cases: readonly [meant: string, network: string, other: string, called: string][] = [
    ["teacher.backbone.", "teacher", "student.module.backbone.", "student"],
    ["state_dict.teacher.backbone.", "teacher", "state_dict.student.backbone.", "student"],
    ["teacher_backbone.", "teacher_backbone", "student_backbone.", "student_backbone"],
    ["state_dict_ema.", "state_dict_ema", "state_dict.", "state_dict"],
    ["model_ema.", "model_ema", "model.", "model"],
    ["ema.module.", "ema", "model.module.", "model"],
    ["state_dict.module.base_encoder.", "base_encoder", "state_dict.module.momentum_encoder.", "momentum_encoder"],
    ["backbone.", "backbone", "momentum_backbone.", "momentum_backbone"],
    ["encoder_q.", "encoder_q", "encoder_k.", "encoder_k"],
    ["", "main", "student.", "student"],
    ["net.", "net", "optimizer.exp_avg.", "optimizer.exp_avg"],
    ["teacher.backbone.", "teacher", "gram_teacher.backbone.", "gram_teacher"],
  ];
  for (const [meant, network, other, called] of cases) {
    for (const names of [[...under(meant), ...under(other)], [...under(other), ...under(meant)]]) {
      const remark = `some.pth holds 2 networks: "${network}" is taken, --network ${called} takes the other`;
      assert.deepEqual(take(names), { names: NETWORK, from: under(meant), network, remarks: [remark] });
      assert.deepEqual(take(names, called), { names: NETWORK, from: under(other), network: called, remarks: [] });
      assert.deepEqual(take(names, network).from, under(meant));
    }
  }
});

Deno.test("networks: one word of a name is enough where it is clear, and what is not there is refused", () => {
  const moco = [...under("state_dict.module.base_encoder."), ...under("state_dict.module.momentum_encoder.")];
  assert.equal(take(moco, "momentum").network, "momentum_encoder");
  assert.equal(take(moco, "base").network, "base_encoder");
  assert.equal(take([...under("model."), ...under("model_ema.")], "ema").network, "model_ema");
  assert.equal(take(under("teacher.backbone."), "teacher").network, null);
  const refuses = (names: readonly string[], wanted: string, expected: RegExp) =>
    assert.throws(() => take(names, wanted), isClear("some.pth", expected));
  refuses(
    moco,
    "teacher",
    /network "teacher" of some\.pth: it holds "base_encoder", "momentum_encoder"\. Use the name/,
  );
  refuses(moco, "encoder", /"encoder" may be each of "base_encoder", "momentum_encoder"/);
  refuses(under(""), "student", /it holds one network and not several\. Use it without --network/);
  const three = [...under("teacher."), ...under("student."), ...under("ema.")];
  assert.match(
    take(three).remarks[0],
    /holds 3 networks: "teacher" is taken, --network student, --network ema take the others/,
  );
});

Deno.test("networks: heads, counters and what lies outside are left out, with one remark", () => {
  const left = [
    ...["head.weight", "head.mlp.0.bias", "dino_head.last_layer.weight", "ibot_head.mlp.0.weight", "fc.bias"],
    ...[
      "pooler.dense.weight",
      "classifier.bias",
      "decoder_blocks.0.attn.qkv.weight",
      "decoder_pos_embed",
      "mask_token",
    ],
    ...["masked_embed", "fc_norm.weight", "head.1.num_batches_tracked", "n_averaged", "local_cls_norm.weight"],
    ...[
      "blocks.0.attn.relative_position_index",
      "blocks.0.mlp.total_ops",
      "predictor.0.weight",
      "pre_logits.fc.weight",
    ],
  ];
  for (const prefix of ["", "teacher.backbone.", "model."]) {
    const { names, remarks } = take([...under(prefix, left), ...under(prefix)]);
    assert.deepEqual(names, NETWORK);
    assert.deepEqual(remarks, [
      `some.pth also holds what no feature needs, it is left out: ${
        under(prefix, left).slice(0, 4).map((name) => JSON.stringify(name)).join(", ")
      } and ${left.length - 4} more`,
    ]);
  }
  const outside = take([
    ...under("state_dict.backbone."),
    "state_dict.predictor.0.weight",
    "callbacks.best",
    "loss.center",
  ]);
  assert.deepEqual([outside.names, outside.remarks], [NETWORK, []]);
  const needed = ["blocks.0.attn.qkv.bias_mask", "rope_embed.periods", "register_tokens", "storage_tokens"];
  assert.deepEqual(take([...NETWORK, ...needed]), {
    names: [...NETWORK, ...needed],
    from: [...NETWORK, ...needed],
    network: null,
    remarks: [],
  });
});

Deno.test("networks: two tensors of one name are refused, both named", () => {
  assert.throws(
    () => take([...NETWORK, "module.norm.bias"]),
    isClear("some.pth", /two of its tensors are both "norm\.bias": "norm\.bias" and "module\.norm\.bias"/),
  );
});

Deno.test("networks: a file without a [CLS] is given as it is, for an error to speak of", () => {
  assert.deepEqual(take(["model.conv1.weight", "model.conv1.bias", "epoch"]).names, ["conv1.weight", "conv1.bias"]);
  assert.deepEqual(take(["teacher.conv.weight", "student.conv.weight"]).from, ["teacher.conv.weight"]);
  assert.deepEqual(take([]).names, []);
});

Deno.test("networks: a training program's file, by PyTorch", async () => {
  const file = openPth(await Deno.readFile(fixture("twenty-one-characters.pth")), "t.pth");
  const value = (wanted?: string) => {
    const taken = takeNetwork(file, "t.pth", wanted);
    return Array.from(taken.tensors, ([name, read]) => [name, read().data[0]]);
  };
  assert.deepEqual(value(), [["cls_token", 2], ["blocks.0.norm1.weight", 2]]);
  assert.deepEqual(value("student"), [["cls_token", 1], ["blocks.0.norm1.weight", 1]]);
});

Deno.test("networks: any names at all give a network or a WeightsError, in no time", () => {
  const words = [
    "cls_token",
    "teacher",
    "student",
    "module",
    "model",
    "",
    ".",
    "embeddings",
    "blocks",
    "0",
    "norm",
    "weight",
  ];
  fc.assert(
    fc.property(fc.array(fc.array(fc.constantFrom(...words), { maxLength: 6 }), { maxLength: 20 }), (all) => {
      const names = [...new Set(all.map((name) => name.join(".")))];
      try {
        const { names: taken, from } = take(names);
        assert.equal(new Set(taken).size, from.length);
      } catch (error) {
        assert.ok(error instanceof WeightsError, `${error}`);
      }
    }),
    { numRuns: 2000 },
  );
  const many = Array.from({ length: 100_000 }, (_, i) => `n${i}.cls_token`);
  assert.throws(() => take(many), isClear("some.pth", /holds 100000 networks, more than 64/));
  const began = performance.now();
  take(["cls_token", ".".repeat(10_000_000), `${"a.".repeat(200_000)}cls_token`]);
  assert.ok(performance.now() - began < 2000);
});
