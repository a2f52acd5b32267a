// PyTorch checkpoints, made by PyTorch itself (tests/fixtures/weights/make_fixtures.py) and broken or forged by hand.

import assert from "node:assert/strict";
import { readAll } from "../../../src/weights/formats/contents.ts";
import { openPth } from "../../../src/weights/formats/pth.ts";
import {
  bytesOf,
  fixture,
  isClear,
  readPth,
  refusesTruncation,
  survivesBitFlips,
  zipOf,
} from "../../fixtures/weights/files.ts";

const decodePth = (bytes: Uint8Array, label: string) => readAll(openPth(bytes, label));

async function tensorsOf(name: string): Promise<Record<string, [shape: readonly number[], values: number[]]>> {
  const { tensors } = await readPth(fixture(name));
  return Object.fromEntries(Array.from(tensors, ([key, { shape, data }]) => [key, [shape, [...data]]]));
}

const text = (value: string) => `X${String.fromCharCode(value.length)}\0\0\0${value}`;
const global = (name: string) => `c${name.slice(0, name.lastIndexOf("."))}\n${name.slice(name.lastIndexOf(".") + 1)}\n`;
const int = (value: number) => `J${String.fromCharCode(...new Uint8Array(Int32Array.of(value).buffer))}`;
const tuple = (...items: readonly string[]) => `(${items.join("")}t`;
const storage = (count: number, key = "0", type = "torch.FloatStorage") =>
  `${tuple(text("storage"), global(type), text(key), text("cpu"), int(count))}Q`;
const rebuilt = (source: string, offset: number, shape: readonly number[], strides: readonly number[]) =>
  `${global("torch._utils._rebuild_tensor_v2")}${
    tuple(source, int(offset), tuple(...shape.map(int)), tuple(...strides.map(int)), "\x89", "N")
  }R`;
const dict = (items: Readonly<Record<string, string>>) =>
  `}(${Object.entries(items).map(([key, value]) => text(key) + value).join("")}u`;
const pickled = (value: string) => bytesOf("\x80\x02", value, ".");
const forged = async (value: string, storages: Readonly<Record<string, Uint8Array>> = { "0": new Uint8Array(16) }) =>
  await zipOf({
    "evil/data.pkl": pickled(value),
    ...Object.fromEntries(Object.entries(storages).map(([key, bytes]) => [`evil/data/${key}`, bytes])),
  });
const refuses = async (bytes: Uint8Array | Promise<Uint8Array>, expected: RegExp) => {
  const whole = await bytes;
  assert.throws(() => decodePth(whole, "evil.pth"), isClear("evil.pth", expected));
};

Deno.test("pth: every storage type becomes float32", async () => {
  const ramp = [0, 0.25, 0.5, 0.75, 1, 1.25];
  assert.deepEqual(await tensorsOf("dtypes.pth"), {
    f32: [[2, 3], ramp],
    f16: [[2, 3], ramp],
    bf16: [[2, 3], ramp],
    f64: [[2, 3], ramp],
    i64: [[2], [-1, 2 ** 40]],
    i32: [[2], [-7, 7]],
    u8: [[2], [0, 255]],
    bool: [[2], [1, 0]],
    scalar: [[], [2.5]],
    empty: [[0, 3], []],
  });
});

Deno.test("pth: views are gathered, shared storages stay shared", async () => {
  const base = Array.from({ length: 24 }, (_, i) => i);
  const at = (row: number, column: number) => 6 * row + column;
  assert.deepEqual(await tensorsOf("views.pth"), {
    base: [[4, 6], base],
    transposed: [[6, 4], base.map((_, i) => at(i % 4, Math.floor(i / 4)))],
    window: [[2, 3], [6, 8, 10, 12, 14, 16]],
    row: [[6], [12, 13, 14, 15, 16, 17]],
    column: [[4], [3, 9, 15, 21]],
    cube: [[4, 2, 3], base.map((_, i) => Math.floor(i / 6) + 4 * (i % 6))],
    expanded: [[2, 3], [1.5, 1.5, 1.5, 2.5, 2.5, 2.5]],
    half: [[3, 5], [7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23]],
  });
  const bytes = await Deno.readFile(fixture("views.pth"));
  const { tensors } = await decodePth(bytes, "views.pth");
  assert.equal(tensors.get("base")?.data.buffer, bytes.buffer);
  assert.equal(tensors.get("row")?.data.byteOffset, (tensors.get("base")?.data.byteOffset ?? 0) + 48);
});

Deno.test("pth: the dicts around tensors are part of their names; parameters and tensors with attributes are tensors", async () => {
  const { tensors } = await readPth(fixture("wrapped.pth"));
  assert.deepEqual([...tensors.keys()].slice(4), [
    "student.module.backbone.num_batches_tracked",
    "teacher.module.backbone.weight",
    "teacher.module.backbone.bias",
    "teacher.module.backbone.running_mean",
    "teacher.module.backbone.running_var",
    "teacher.module.backbone.num_batches_tracked",
  ]);
  assert.deepEqual(await tensorsOf("parameter.pth"), { "model.weight": [[2, 3], [0, 0.25, 0.5, 0.75, 1, 1.25]] });
  assert.deepEqual(await tensorsOf("attributes.pth"), { tagged: [[2], [5, 5]], parameter: [[2], [6, 6]] });
});

Deno.test("pth: what training programs save beside weights is left alone, whatever its class", async () => {
  for (const name of ["twenty-one-characters.pth", "training_protocol_4.pth"]) {
    const { tensors, remarks } = openPth(await Deno.readFile(fixture(name)), name);
    assert.deepEqual([...tensors.keys()], [
      ...["cls_token", "blocks.0.0.norm1.weight", "head.weight", "head.1.num_batches_tracked"]
        .map((tensor) => `student.module.backbone.${tensor}`),
      ...["cls_token", "blocks.0.0.norm1.weight", "head.weight", "head.1.num_batches_tracked"]
        .map((tensor) => `teacher.backbone.${tensor}`),
    ]);
    assert.deepEqual([...tensors.get("teacher.backbone.cls_token")!().data], [2, 2, 2, 2]);
    assert.deepEqual(remarks, [
      `${name} also holds objects of "some_lab.Config": they are left alone, and nothing of them was run`,
    ]);
  }
});

Deno.test("pth: only a tensor that depends on a foreign name is refused, by that name, and only when it is asked for", async () => {
  const { tensors } = openPth(await Deno.readFile(fixture("foreign.pth")), "foreign.pth");
  assert.deepEqual([...tensors.get("model.cls_token")!().data], [1, 1, 1, 1]);
  for (
    const [name, why] of Object.entries({
      "model.foreign": /"model\.foreign" is made by "torch\._utils\._rebuild_qtensor".*Nothing of it was run/,
      "model.sparse": /"model\.sparse" is made by "torch\._utils\._rebuild_sparse_tensor"/,
      "model.complex": /stored in a torch\.ComplexFloatStorage, whose numbers are not read/,
    })
  ) assert.throws(tensors.get(name)!, isClear("foreign.pth", why));
  const recent = openPth(await Deno.readFile(fixture("recent_types.pth")), "recent_types.pth").tensors;
  assert.deepEqual([...recent.get("model.cls_token")!().data], [1, 1, 1, 1]);
  assert.throws(recent.get("model.scale")!, isClear("recent_types.pth", /made by "torch\._utils\._rebuild_tensor_v3"/));
});

Deno.test("pth: what is no dict of tensors is refused, with what it is", async () => {
  await assert.rejects(
    readPth(fixture("module.pth")),
    isClear("module.pth", /object of "torch\.nn\.modules\.linear\.Linear", a program of which nothing was run/),
  );
  await assert.rejects(
    readPth(fixture("list.pth")),
    isClear("list.pth", /does not hold a dict.*state dict was expected/),
  );
  await assert.rejects(readPth(fixture("legacy.pth")), isClear("legacy.pth", /zip directory cannot be read/));
  await refuses(forged(dict({ epoch: "K\x01" })), /no tensors, only "epoch"/);
  await refuses(forged(dict({ model: `}q\x01${text("model")}h\x01s` })), /no tensors, only "model"/); // wraps itself
  const script = { "a/data.pkl": pickled(dict({})), "a/constants.pkl": pickled(")") };
  await refuses(zipOf(script), /TorchScript program/);
});

Deno.test("pth: hand-made checkpoints are read when they are honest", async () => {
  const floats = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
  const { tensors } = await decodePth(
    await forged(dict({ a: rebuilt(storage(4), 1, [3], [1]) }), { "0": floats }),
    "a.pth",
  );
  assert.deepEqual([...tensors.get("a")?.data ?? []], [2, 3, 4]);
  const pair = tuple(text("a"), rebuilt(storage(4), 0, [2, 2], [1, 2]));
  const ordered = `${global("collections.OrderedDict")}(](${pair}etR`;
  const pairs = await decodePth(await forged(ordered, { "0": floats }), "b.pth");
  assert.deepEqual([...pairs.tensors.get("a")?.data ?? []], [1, 3, 2, 4]);
});

const call = (name: string, ...args: readonly string[]) => `${global(name)}${tuple(...args)}R`;

Deno.test("pth: hostile pickles run nothing: beside weights they are skipped, in weights refused", async () => {
  const honest = rebuilt(storage(4), 0, [4], [1]);
  for (
    const evil of [
      call("posix.system", text("id")),
      call("builtins.eval", text("1")),
      dict({ b: call("os.system", text("id")) }),
      `${global("torch.nn.Linear")})\x81${dict({ weight: "K\x01" })}b`,
      `${global("subprocess.Popen")}${tuple(text("id"))}}\x92`,
      `(iposix\nsystem\n`,
      `(${global("posix.system")}${text("id")}o`,
    ]
  ) {
    const { tensors } = openPth(await forged(dict({ a: honest, args: evil })), "evil.pth");
    assert.deepEqual([...tensors.keys()], ["a"], evil);
    assert.equal(tensors.get("a")!().data.length, 4);
    await refuses(forged(evil), /it does not hold a dict|it holds an object of|no tensors/);
  }
  const made = call("torch.nn.functional.evil", honest);
  await refuses(forged(dict({ a: made })), /"a" is made by "torch\.nn\.functional\.evil".*Nothing of it was run/);
  const foreignStorage = `${tuple(text("storage"), global("os.system"), text("0"), text("cpu"), int(4))}Q`;
  await refuses(forged(dict({ a: rebuilt(foreignStorage, 0, [1], [1]) })), /"a" is made by "os\.system"/);
  await refuses(
    forged(
      dict({
        a: call("torch._tensor._rebuild_from_type_v2", global("os.system"), global("torch.Tensor"), tuple(honest), "N"),
      }),
    ),
    /"a" is made by/,
  );
  await refuses(
    forged(`${tuple(text("storage"), global("torch._utils._rebuild_tensor_v2"), text("0"), text("cpu"), int(4))}Q`),
    /no storage of a known type/,
  );
  await refuses(forged(`${text("storage")}Q`), /no storage of a known type/);
  await refuses(forged(call("collections.OrderedDict", text("ab"))), /OrderedDict of something that is no list/);
  await refuses(forged(call("torch._utils._rebuild_parameter", text("ab"))), /parameter that is no tensor/);
  await refuses(forged(call("torch._utils._rebuild_tensor_v2", text("ab"))), /a tensor whose storage/);
  await refuses(forged(dict({ a: rebuilt(dict({ kind: text("storage") }), 0, [1], [1]) })), /a tensor whose storage/);
  await refuses(forged(dict({ a: `${global("torch.FloatStorage")}}b` })), /changes "torch\.FloatStorage" itself/);
  await refuses(forged(dict({ a: `${global("some.thing")}}b` })), /changes "some\.thing" itself/);
});

Deno.test("pth: a pickle that names one thing many times does not become large", async () => {
  const pair = tuple(text("a"), "N");
  const pairs = `](${pair.repeat(1000)}eq\x01`;
  const many = `${pairs}0${`${global("collections.OrderedDict")}h\x01\x85R0`.repeat(2000)}`;
  await refuses(forged(`${many}N`), /OrderedDicts of more than 1000000 pairs/);
  const tuples = `(${"N".repeat(1000)}tq\x01${`${global("other.Thing")}h\x01R0`.repeat(20_000)}N`;
  const before = Deno.memoryUsage().heapUsed;
  await refuses(forged(tuples), /does not hold a dict/);
  assert.ok(Deno.memoryUsage().heapUsed - before < 100e6);
  // Eight dicts, each with sixty times the one before: 10^14 values, of which no more than a million is looked at.
  let nested = dict({ x: "K\x01" });
  for (let level = 0; level < 8; level++) {
    nested = `${nested}q\x020}(${Array.from({ length: 60 }, (_, i) => `${text(`${i}`)}h\x02`).join("")}u`;
  }
  await refuses(forged(nested), /more than 1000000 values in its dicts/);
});

Deno.test("pth: tensors stay inside their storages, and cannot be blown up", async () => {
  await refuses(forged(dict({ a: rebuilt(storage(4), 0, [5], [1]) })), /"a", \[5\], reaches beyond its storage of 4/);
  await refuses(forged(dict({ a: rebuilt(storage(4), 3, [2], [1]) })), /reaches beyond/);
  await refuses(forged(dict({ a: rebuilt(storage(4), 0, [2, 2], [3, 1]) })), /reaches beyond/);
  await refuses(forged(dict({ a: rebuilt(storage(4), -1, [2], [1]) })), /a tensor whose storage/);
  await refuses(forged(dict({ a: rebuilt(storage(4), 0, [-2], [1]) })), /a tensor whose storage/);
  await refuses(forged(dict({ a: rebuilt(storage(4), 0, [2], [-1]) })), /a tensor whose storage/);
  await refuses(forged(dict({ a: rebuilt(storage(4), 0, [2, 2], [1]) })), /a tensor whose storage/);
  await refuses(
    forged(dict({ a: rebuilt(storage(4), 0, [2 ** 30, 4], [0, 1]) })),
    /repeats its data beyond all measure/,
  );
  await refuses(
    forged(dict({ a: rebuilt(storage(4), 0, Array<number>(16).fill(2 ** 30), Array<number>(16).fill(0)) })),
    /reaches beyond/,
  );
  await refuses(
    forged(dict({ a: rebuilt(storage(5), 0, [1], [1]) })),
    /storage "0" has 16 bytes, and 5 elements of torch\.FloatStorage are 20/,
  );
  await refuses(forged(dict({ a: rebuilt(storage(4, "7"), 0, [1], [1]) })), /lacks "evil\/data\/7"/);
  await refuses(
    forged(dict({ a: rebuilt(storage(4, "../data.pkl"), 0, [1], [1]) })),
    /lacks "evil\/data\/\.\.\/data\.pkl"/,
  );
  const two = dict({
    a: rebuilt(storage(4), 0, [1], [1]),
    b: rebuilt(storage(8, "0", "torch.HalfStorage"), 0, [1], [1]),
  });
  await refuses(forged(two), /storage "0" is described in two ways/);
  const twins = dict({ "a.b": rebuilt(storage(4), 0, [1], [1]), a: dict({ b: rebuilt(storage(4), 0, [1], [1]) }) });
  await refuses(forged(twins), /two of its tensors are called "a\.b"/);
});

Deno.test("pth: zips that other programs wrote are read: deflated, with folders, deeper", async () => {
  const pickle = pickled(dict({ a: rebuilt(storage(4), 0, [4], [1]) }));
  const floats = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
  for (const folder of ["a/", "weights/a/", ""]) {
    for (const level of [0, 9]) {
      const entries = { [`${folder}data.pkl`]: pickle, [`${folder}data/0`]: floats };
      const folders = folder === "" ? {} : { [folder]: new Uint8Array() };
      const { tensors } = decodePth(await zipOf({ ...folders, ...entries }, level), "again.pth");
      assert.deepEqual([...tensors.get("a")!.data], [1, 2, 3, 4]);
    }
  }
});

Deno.test("pth: zips that lie are refused", async () => {
  const pickle = pickled(dict({ a: rebuilt(storage(4), 0, [1], [1]) }));
  await refuses(zipOf({ "a/data.pkl": pickle, "b/data.pkl": pickle }), /has 2 entries NAME\/data\.pkl/);
  await refuses(zipOf({ "readme.txt": pickle }), /has 0 entries NAME\/data\.pkl/);
  await refuses(
    zipOf({ "a/data.pkl": pickle, "a/data/0": new Uint8Array(16), "a/byteorder": bytesOf("big") }),
    /big-endian/,
  );
  await refuses(bytesOf("PK\x03\x04 and then nothing"), /zip directory cannot be read/);
  await refuses(
    zipOf({ "a/data.pkl": pickle, "a/data/0": new Uint8Array(2 ** 26) }, 9),
    /would become \d+ when unpacked/,
  );
  const bytes = await forged(dict({ a: rebuilt(storage(4), 0, [1], [1]) }), { "0": bytesOf("0123456789abcdef") });
  const at = new TextDecoder("latin1").decode(bytes).indexOf("0123456789abcdef");
  bytes[at] ^= 1;
  await refuses(bytes, /checksum of "evil\/data\/0" is wrong/);
  // A deflated entry that inflates to another size than its directory announces.
  const packed = await zipOf({ "a/data.pkl": pickle, "a/data/0": new Uint8Array(16) }, 9);
  const directory = new TextDecoder("latin1").decode(packed).lastIndexOf("PK\x01\x02");
  for (
    const [size, expected] of [[15, /cannot be inflated to its 15 bytes/], [
      17,
      /has 16 bytes, and 17 were announced/,
    ]] as const
  ) {
    new DataView(packed.buffer).setUint32(directory + 24, size, true);
    await refuses(packed.slice(), expected);
  }
});

Deno.test("pth: every truncation is refused, every flipped bit survived", async () => {
  const bytes = await Deno.readFile(fixture("parameter.pth"));
  await refusesTruncation(bytes, (part) => decodePth(part, "cut.file"));
  const seen = await survivesBitFlips(bytes, (part) => decodePth(part, "flipped.file"));
  assert.ok(seen.refused > 0, JSON.stringify(seen));
});
