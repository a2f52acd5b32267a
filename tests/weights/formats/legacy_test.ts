// PyTorch's format from before 1.6: made by PyTorch itself, and forged by hand.

import assert from "node:assert/strict";
import { readAll } from "../../../src/weights/formats/contents.ts";
import { openLegacy } from "../../../src/weights/formats/legacy.ts";
import { bytesOf, fixture, isClear, refusesTruncation, survivesBitFlips } from "../../fixtures/weights/files.ts";

const read = (bytes: Uint8Array, label: string) => {
  const contents = openLegacy(bytes, label);
  assert.ok(contents !== null, "it is not of that format");
  return readAll(contents);
};
const int = (value: number) => bytesOf("J", new Uint8Array(Int32Array.of(value).buffer));
const text = (value: string) => bytesOf("X", String.fromCharCode(value.length), "\0\0\0", value);
const long = (value: number) => new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);

interface Forged {
  readonly type?: string;
  readonly count?: number;
  readonly said?: number;
  /** What stands behind the element count of the persistent id. */
  readonly view?: Uint8Array;
  readonly keys?: readonly string[];
  readonly machine?: string;
  readonly protocol?: number;
  readonly data?: Uint8Array;
}

/** `{"a": tensor [2]}` of a storage "0". */
function forged(
  { type = "FloatStorage", count = 4, said = count, view = bytesOf("N"), keys = ["0"], machine = "}", ...rest }:
    Forged = {},
): Uint8Array {
  const { protocol = 1001, data = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer) } = rest;
  return bytesOf(
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
    ...["\x80\x02", int(protocol), "."],
    ...["\x80\x02", machine, "."],
    ...["\x80\x02}", text("a"), "ctorch._utils\n_rebuild_tensor_v2\n(("],
    ...[text("storage"), `ctorch\n${type}\n`, text("0"), text("cpu"), int(count), view],
    ...["tQ", int(0), int(2), "\x85", int(1), "\x85\x89NtRs."],
    ...["\x80\x02](", ...keys.map(text), "e."],
    ...keys.flatMap(() => [long(said), data]),
  );
}

const refuses = (bytes: Uint8Array, expected: RegExp) =>
  assert.throws(() => read(bytes, "old.pth"), isClear("old.pth", expected));

Deno.test("legacy: types, views and shared storages, as PyTorch wrote them", async () => {
  const { tensors } = read(await Deno.readFile(fixture("legacy.pth")), "legacy.pth");
  const base = Array.from({ length: 24 }, (_, i) => i);
  assert.deepEqual(
    Object.fromEntries(Array.from(tensors, ([name, { shape, data }]) => [name, [shape, [...data]]])),
    {
      a: [[2, 3], [0, 0.25, 0.5, 0.75, 1, 1.25]],
      f16: [[2, 3], [0, 0.25, 0.5, 0.75, 1, 1.25]],
      transposed: [[6, 4], base.map((_, i) => 6 * (i % 4) + Math.floor(i / 4))],
      row: [[6], [12, 13, 14, 15, 16, 17]],
      i64: [[2], [-1, 2 ** 40]],
      scalar: [[], [2.5]],
      empty: [[0, 3], []],
    },
  );
});

Deno.test("legacy: a training program's checkpoint, with all that lies beside its networks", async () => {
  const { tensors } = read(await Deno.readFile(fixture("training_legacy.pth")), "training_legacy.pth");
  assert.deepEqual([...tensors.get("teacher.backbone.cls_token")!.data], [2, 2, 2, 2]);
  assert.deepEqual([...tensors.get("student.module.backbone.cls_token")!.data], [1, 1, 1, 1]);
});

Deno.test("legacy: storages that are views of others begin inside them, as before PyTorch 0.4", () => {
  const view = (begin: number, size: number) => bytesOf("(", text("v"), int(begin), int(size), "t");
  assert.deepEqual([...read(forged(), "old.pth").tensors.get("a")!.data], [1, 2]);
  assert.deepEqual([...read(forged({ view: view(1, 3) }), "old.pth").tensors.get("a")!.data], [2, 3]);
  refuses(forged({ view: view(3, 1) }), /"a", \[2\], reaches beyond its storage of 4/);
  refuses(forged({ view: view(1, 4) }), /view of a storage that does not lie in it/);
  refuses(forged({ view: view(-1, 2) }), /view of a storage that does not lie in it/);
});

Deno.test("legacy: lies are refused", () => {
  refuses(forged({ protocol: 1002 }), /protocol is not 1001/);
  refuses(forged({ machine: `}${String.fromCharCode(...text("little_endian"))}\x89s` }), /big-endian/);
  refuses(forged({ said: 5 }), /storage "0" has 5 elements, and 4 are described/);
  refuses(forged({ said: -1 }), /storage "0" has -1 elements/);
  refuses(forged({ count: 2 ** 30 }), /storage "0" goes beyond the end/);
  refuses(forged({ keys: [] }), /lacks the storage "0"/);
  refuses(forged({ keys: ["0", "0"] }), /storage "0" is listed twice/);
  refuses(forged({ keys: ["1"] }), /the type of its storage "1" is not known/);
  refuses(forged({ type: "OwnStorage" }), /the type of its storage "0" is not known/);
  refuses(forged({ data: new Uint8Array(15) }), /goes beyond the end/);
});

Deno.test("legacy: a pickle of something else is none, whatever it would run", async () => {
  assert.equal(openLegacy(bytesOf("\x80\x02cposix\nsystem\nU\x02id\x85R."), "evil.pth"), null);
  const old = await Deno.readFile(fixture("legacy.pth"));
  const evil = bytesOf("\x80\x02cposix\nsystem\nU\x02id\x85R.", old);
  assert.equal(openLegacy(evil, "evil.pth"), null);
});

Deno.test("legacy: every truncation is refused, every flipped bit survived", async () => {
  const bytes = await Deno.readFile(fixture("legacy.pth"));
  await refusesTruncation(bytes, (part) => read(part, "cut.file"));
  await survivesBitFlips(bytes, (part) => openLegacy(part, "flipped.file"));
});
