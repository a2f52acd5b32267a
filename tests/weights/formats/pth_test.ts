// PyTorch checkpoints, made by PyTorch itself (tests/fixtures/weights/make_fixtures.py) and broken or forged by hand.

import assert from "node:assert/strict";
import { decodePth, readPth, withoutPrefix } from "../../../src/weights/formats/pth.ts";
import { bytesOf, fixture, isClear, refusesTruncation, survivesBitFlips, zipOf } from "../../fixtures/weights/files.ts";

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
  await assert.rejects(decodePth(whole, "evil.pth"), isClear("evil.pth", expected));
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

Deno.test("pth: wrappers, prefixes and parameters are taken off", async () => {
  assert.deepEqual(await tensorsOf("wrapped.pth"), {
    weight: [[2], [1, 1]],
    bias: [[2], [0, 0]],
    running_mean: [[2], [0, 0]],
    running_var: [[2], [1, 1]],
    num_batches_tracked: [[], [0]],
  });
  assert.equal((await readPth(fixture("wrapped.pth"))).metadata.wrapper, "teacher");
  assert.deepEqual(await tensorsOf("parameter.pth"), { weight: [[2, 3], [0, 0.25, 0.5, 0.75, 1, 1.25]] });
  assert.deepEqual(["module.backbone.a", "module.a", "backbone.a", "a.module.b"].map(withoutPrefix), [
    "a",
    "a",
    "a",
    "a.module.b",
  ]);
});

Deno.test("pth: what is no state dict is refused by name", async () => {
  await assert.rejects(
    readPth(fixture("module.pth")),
    isClear("module.pth", /asks for "torch\.nn\.modules\.linear\.Linear".*Nothing of it was run/),
  );
  await assert.rejects(
    readPth(fixture("list.pth")),
    isClear("list.pth", /does not hold a dict.*state dict was expected/),
  );
  await assert.rejects(readPth(fixture("legacy.pth")), isClear("legacy.pth", /zip directory cannot be read/));
  await refuses(forged(dict({ epoch: "K\x01" })), /no tensors, only "epoch"/);
  await refuses(forged(dict({ model: `}q\x01${text("model")}h\x01s` })), /no tensors, only "model"/); // wraps itself
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

Deno.test("pth: hostile pickles run nothing", async () => {
  await refuses(forged(`${global("posix.system")}${tuple(text("id"))}R`), /asks for "posix\.system"/);
  await refuses(
    forged(dict({ a: dict({ b: `${global("builtins.eval")}${tuple(text("1"))}R` }) })),
    /asks for "builtins\.eval"/,
  );
  await refuses(
    forged(`${tuple(text("storage"), global("os.system"), text("0"), text("cpu"), int(4))}Q`),
    /asks for "os\.system"/,
  );
  await refuses(
    forged(`${tuple(text("storage"), global("torch._utils._rebuild_tensor_v2"), text("0"), text("cpu"), int(4))}Q`),
    /no storage of a known type/,
  );
  await refuses(forged(`${text("storage")}Q`), /no storage of a known type/);
  await refuses(forged(`${global("torch.FloatStorage")})R`), /calls torch\.FloatStorage/);
  await refuses(
    forged(`${global("collections.OrderedDict")}${tuple(text("ab"))}R`),
    /OrderedDict of something that is no list/,
  );
  await refuses(
    forged(`${global("torch._utils._rebuild_parameter")}${tuple(text("ab"))}R`),
    /parameter that is no tensor/,
  );
  await refuses(forged(`${global("torch._utils._rebuild_tensor_v2")}${tuple(text("ab"))}R`), /a tensor whose storage/);
  await refuses(forged(dict({ a: rebuilt(dict({ kind: text("storage") }), 0, [1], [1]) })), /a tensor whose storage/);
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
  const twins = dict({ "module.a": rebuilt(storage(4), 0, [1], [1]), a: rebuilt(storage(4), 0, [1], [1]) });
  await refuses(forged(twins), /"a" and another tensor are both called "a"/);
});

Deno.test("pth: zips that torch.save did not write are refused", async () => {
  const pickle = pickled(dict({ a: rebuilt(storage(4), 0, [1], [1]) }));
  await refuses(zipOf({ "a/data.pkl": pickle, "a/data/0": new Uint8Array(16) }, 9), /is compressed.*torch\.save/);
  await refuses(zipOf({ "a/data.pkl": pickle, "b/data.pkl": pickle }), /has 2 entries NAME\/data\.pkl/);
  await refuses(zipOf({ "readme.txt": pickle }), /has 0 entries NAME\/data\.pkl/);
  await refuses(
    zipOf({ "a/data.pkl": pickle, "a/data/0": new Uint8Array(16), "a/byteorder": bytesOf("big") }),
    /big-endian/,
  );
  await refuses(bytesOf("PK\x03\x04 and then nothing"), /zip directory cannot be read/);
  const bytes = await forged(dict({ a: rebuilt(storage(4), 0, [1], [1]) }), { "0": bytesOf("0123456789abcdef") });
  const at = new TextDecoder("latin1").decode(bytes).indexOf("0123456789abcdef");
  bytes[at] ^= 1;
  await refuses(bytes, /checksum of "evil\/data\/0" is wrong/);
});

Deno.test("pth: every truncation is refused, every flipped bit survived", async () => {
  const bytes = await Deno.readFile(fixture("parameter.pth"));
  await refusesTruncation(bytes, (part) => decodePth(part, "cut.file"));
  const seen = await survivesBitFlips(bytes, (part) => decodePth(part, "flipped.file"));
  assert.ok(seen.refused > 0, JSON.stringify(seen));
});
