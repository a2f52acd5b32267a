// safetensors: what is written is what is read, bit for bit, and no broken or hostile file gets through or breaks out.

import fc from "fast-check";
import assert from "node:assert/strict";
import {
  decodeSafetensors,
  encodeSafetensors,
  readSafetensors,
  writeSafetensors,
} from "../../../src/weights/formats/safetensors.ts";
import { brainToFloat, floatToHalf, halfToFloat, type HostTensor } from "../../../src/weights/formats/tensor.ts";
import { bytesOf, isClear, refusesTruncation, survivesBitFlips } from "../../fixtures/weights/files.ts";

const tensor = (shape: readonly number[], values: readonly number[]): HostTensor => ({
  shape,
  data: Float32Array.from(values),
});

/** A file with this header text and this much data. */
function file(header: string, data = 0, padding = ""): Uint8Array {
  const text = bytesOf(header + padding);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return bytesOf(length, text, new Uint8Array(data));
}
const entry = (dtype: string, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

const state = fc.uniqueArray(
  fc.record({
    name: fc.string({ unit: "binary" }).filter((n) => n !== "__metadata__" && n.isWellFormed()),
    shape: fc.array(fc.nat(4), { maxLength: 4 }),
  }),
  { selector: (t) => t.name, maxLength: 6 },
).chain((items) =>
  fc.tuple(
    ...items.map(({ name, shape }) => {
      const count = shape.reduce((a, b) => a * b, 1);
      return fc.float32Array({ minLength: count, maxLength: count }).map((
        data,
      ): [string, HostTensor] => [name, { shape, data }]);
    }),
  )
);

Deno.test("safetensors: every state dict survives the round trip, in order", () => {
  fc.assert(
    fc.property(
      state,
      fc.dictionary(fc.string().filter((s) => s.isWellFormed()), fc.string().filter((s) => s.isWellFormed())),
      (items, notes) => {
        const bytes = encodeSafetensors(new Map(items), { metadata: notes });
        const { tensors, metadata } = decodeSafetensors(bytes, "round.trip");
        assert.deepEqual([...tensors.keys()], items.map(([name]) => name));
        for (const [name, { shape, data }] of items) assert.deepEqual(tensors.get(name), { shape, data });
        assert.deepEqual(Object.entries(metadata).toSorted(), Object.entries(notes).toSorted());
        assert.equal(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8, 0);
      },
    ),
  );
});

Deno.test("safetensors: f32 is a view into the file, also at odd starts it is right", () => {
  const bytes = encodeSafetensors(new Map([["a", tensor([3], [1, 2, 3])]]));
  assert.equal(decodeSafetensors(bytes, "a").tensors.get("a")?.data.buffer, bytes.buffer);
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  assert.deepEqual([...decodeSafetensors(shifted.subarray(1), "a").tensors.get("a")?.data ?? []], [1, 2, 3]);
});

Deno.test("safetensors: f16 rounds to nearest, ties to even, and refuses what does not fit", () => {
  const values = [0, -0, 1, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65504, 2 ** -24, 2 ** -25, Infinity, NaN];
  const decoded = decodeSafetensors(encodeSafetensors(new Map([["x", tensor([10], values)]]), { dtype: "f16" }), "x");
  assert.deepEqual([...decoded.tensors.get("x")?.data ?? []], [
    0,
    -0,
    1,
    1,
    1 + 2 ** -9,
    65504,
    2 ** -24,
    0,
    Infinity,
    NaN,
  ]);
  assert.throws(
    () => encodeSafetensors(new Map([["x", tensor([1], [7e4])]]), { dtype: "f16" }),
    isClear('"x"', /70000.*65504.*Store it as f32/),
  );
});

Deno.test("tensor: every half and every brain float is exact, and every half comes back", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const wide = halfToFloat(all);
  const expected = (bits: number) => {
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, bits >> 10 & 31, bits & 1023];
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
  };
  const back = floatToHalf(wide);
  const brain = brainToFloat(all);
  const view = new DataView(new ArrayBuffer(4));
  for (const bits of all) {
    assert.ok(Object.is(wide[bits], expected(bits)), `half ${bits}`);
    if (!Number.isNaN(wide[bits])) assert.equal(back[bits], bits);
    view.setUint32(0, bits << 16);
    assert.ok(Object.is(brain[bits], view.getFloat32(0)), `brain ${bits}`);
  }
});

Deno.test("safetensors: F64 and BF16 become float32, other types are refused by name", () => {
  const doubles = bytesOf(file(`{"d":${entry("F64", [2], [0, 16])}}`), new Uint8Array(Float64Array.of(0.1, -2).buffer));
  assert.deepEqual(decodeSafetensors(doubles, "d").tensors.get("d"), tensor([2], [0.1, -2]));
  const brain = bytesOf(file(`{"b":${entry("BF16", [1], [0, 2])}}`), 0x80, 0x3f);
  assert.deepEqual(decodeSafetensors(brain, "b").tensors.get("b"), tensor([1], [1]));
  for (const dtype of ["I64", "F8_E4M3", "toString", "__proto__"]) {
    assert.throws(
      () => decodeSafetensors(file(`{"q":${entry(dtype, [0], [0, 0])}}`), "q.st"),
      isClear("q.st", new RegExp(`"q".*"${dtype}".*F32.*Convert`)),
    );
  }
});

Deno.test("safetensors: each kind of damage has its own message", () => {
  const huge = bytesOf(0, 0, 0, 0, 0, 0, 0, 0x80, "{}");
  const cases: readonly [Uint8Array, RegExp][] = [
    [bytesOf("{}"), /has 2 bytes/],
    [huge, /announce a header of 9223372036854776/],
    [bytesOf(9, 0, 0, 0, 0, 0, 0, 0, "{}"), /header of 9 bytes goes beyond/],
    [file("{"), /not JSON/],
    [file("\xff{}"), /not JSON/],
    [file("[]"), /not a JSON object/],
    [file(`{"a":${entry("F32", [1], [0, 4])},"\\u0061":${entry("F32", [1], [0, 4])}}`, 4), /names "a" twice/],
    [file(`{"a":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,4]}}`, 4), /names "shape" twice/],
    [file(`{"a":3}`), /"a" lacks/],
    [file(`{"a":{"dtype":"F32"}}`), /"a" lacks/],
    [file(`{"a":${entry("F32", [-1], [0, 4])}}`, 4), /impossible shape \[-1\]/],
    [file(`{"a":${entry("F32", [1.5], [0, 4])}}`, 4), /impossible shape \[1.5\]/],
    [file(`{"a":${entry("F32", ["1"], [0, 4])}}`, 4), /impossible shape \[string\]/],
    [file(`{"a":${entry("F32", [2 ** 40, 0], [0, 0])}}`), /impossible shape/],
    [file(`{"a":${entry("F32", [2 ** 32, 2 ** 32], [0, 4])}}`, 4), /impossible shape/],
    [file(`{"a":${entry("F32", [1], [-4, 0])}}`), /impossible data_offsets/],
    [file(`{"a":${entry("F32", [1], [4, 0])}}`), /impossible data_offsets/],
    [file(`{"a":${entry("F32", [1], [0, 4, 8])}}`), /impossible data_offsets/],
    [file(`{"a":${entry("F32", [1], [0, 1e300])}}`), /impossible data_offsets/],
    [file(`{"a":${entry("F32", [2], [0, 4])}}`, 4), /needs 8 bytes, and its data_offsets span 4/],
    [file(`{"a":${entry("F32", [1], [0, 4])},"b":${entry("F32", [1], [0, 4])}}`, 4), /"b" overlaps/],
    [file(`{"a":${entry("F32", [1], [4, 8])}}`, 8), /bytes 0 to 4 of its data belong to no tensor/],
    [file(`{"a":${entry("F32", [4], [0, 16])}}`, 8), /holds 8 bytes of data, its header describes 16: "a" cut off/],
    [file(`{"a":${entry("F32", [1], [0, 4])}}`, 5), /1 bytes follow its last tensor/],
    [file(`{"__metadata__":[]}`), /__metadata__ is not an object/],
    [file(`{"__metadata__":{"a":1}}`), /no text for "a"/],
  ];
  for (const [bytes, expected] of cases) {
    assert.throws(() => decodeSafetensors(bytes, "bad.safetensors"), isClear("bad.safetensors", expected));
  }
  assert.throws(
    () => encodeSafetensors(new Map([["a", tensor([2], [1])]])),
    isClear('"a"', /does not match its 1 elements/),
  );
  assert.throws(
    () => encodeSafetensors(new Map([["__metadata__", tensor([1], [1])]])),
    isClear("__metadata__", /Rename/),
  );
});

Deno.test("safetensors: names cannot reach into prototypes, deep JSON cannot break the stack", () => {
  const names = ["__proto__", "constructor", "10", "9"];
  const bytes = encodeSafetensors(new Map(names.map((name, i) => [name, tensor([1], [i])])));
  const { tensors } = decodeSafetensors(bytes, "names");
  assert.deepEqual([...tensors.keys()], names);
  assert.deepEqual([...tensors.values()].map(({ data }) => data[0]), [0, 1, 2, 3]);
  const deep = file(`{"a":${"[".repeat(1e5)}${"]".repeat(1e5)}}`);
  assert.throws(() => decodeSafetensors(deep, "deep.st"), isClear("deep.st", /not JSON|lacks/));
});

Deno.test("safetensors: every truncation is refused, every flipped bit survived, any bytes at all too", async () => {
  const bytes = encodeSafetensors(new Map([["a", tensor([2], [1, 2])], ["b", tensor([1, 1], [3])]]), {
    metadata: { k: "v" },
  });
  await refusesTruncation(bytes, (part) => decodeSafetensors(part, "cut.file"));
  const seen = await survivesBitFlips(bytes, (part) => decodeSafetensors(part, "flipped.file"));
  assert.ok(seen.refused > seen.read, JSON.stringify(seen));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (noise, framed) => {
    const input = framed ? file(String.fromCharCode(...noise)) : noise;
    assert.throws(() => decodeSafetensors(bytesOf(input, 1), "noise.file"), isClear("noise.file", /Cannot read/));
  }));
});

Deno.test("safetensors: files are written whole and leave nothing beside them", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/a.safetensors`;
    const state = new Map([["a", tensor([2], [1, 2])]]);
    await writeSafetensors(path, new Map([["old", tensor([1], [0])]]));
    await writeSafetensors(path, state, { metadata: { step: "3" } });
    assert.deepEqual(await readSafetensors(path), { tensors: state, metadata: { step: "3" } });
    assert.deepEqual(Array.from(Deno.readDirSync(folder), ({ name }) => name), ["a.safetensors"]);
    await assert.rejects(
      writeSafetensors(`${folder}/none/b.safetensors`, state),
      isClear("none/b.safetensors", /Cannot write.*Check that its folder exists/),
    );
    await assert.rejects(readSafetensors(`${folder}/none`), isClear("none", /no such file.*Check/));
    await assert.rejects(readSafetensors(folder), isClear(folder, /not a file|Cannot read/));
    await Deno.mkdir(`${folder}/taken`);
    await assert.rejects(writeSafetensors(`${folder}/taken`, state), isClear("taken", /Cannot write/));
    assert.deepEqual(Array.from(Deno.readDirSync(folder), ({ name }) => name).toSorted(), ["a.safetensors", "taken"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
