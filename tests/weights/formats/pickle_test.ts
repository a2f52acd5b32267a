// The unpickler: it reads what torch.save writes, and a pickle that wants anything else is told so by name, whatever tricks it uses.

import fc from "fast-check";
import assert from "node:assert/strict";
import { type PickleGlobal, unpickle } from "../../../src/weights/formats/pickle.ts";
import { WeightsError } from "../../../src/weights/formats/tensor.ts";
import { bytesOf, isClear, survivesBitFlips } from "../../fixtures/weights/files.ts";

const called: unknown[] = [];
const safe: PickleGlobal = { name: "safe.call", call: (args) => called.push(args) };
const plain: PickleGlobal = { name: "safe.Type" };
const options = {
  globals: new Map([["safe.call", safe], ["safe.Type", plain]]),
  persistent: (id: unknown) => ({ id }),
};
const load = (...parts: readonly (number | string | Uint8Array)[]) => unpickle(bytesOf(...parts), "some.pth", options);
const refuses = (pickle: string, expected: RegExp) =>
  assert.throws(() => load(pickle), isClear("some.pth", expected), JSON.stringify(pickle));

Deno.test("pickle: plain values of protocols 2 to 5", () => {
  const cases: readonly [string, unknown][] = [
    ["N.", null],
    ["\x88.", true],
    ["\x89.", false],
    ["K\xff.", 255],
    ["M\x01\x02.", 513],
    ["J\xff\xff\xff\xff.", -1],
    ["J\x00\x00\x00\x80.", -(2 ** 31)],
    ["\x8a\x00.", 0],
    ["\x8a\x02\x00\xff.", -256],
    ["\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", -(2n ** 63n)],
    ["\x8a\x05\x00\x00\x00\x00\x01.", 2 ** 32],
    ["G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5],
    ["X\x02\x00\x00\x00\xc3\xa9.", "é"],
    ["\x8c\x01a.", "a"],
    ["U\x01a.", "a"],
    ["C\x02\x00\x01.", Uint8Array.of(0, 1)],
    ["\x80\x02).", []],
    ["\x80\x04\x95\x09\x00\x00\x00\x00\x00\x00\x00](K\x01K\x02e.", [1, 2]],
    ["K\x01\x85.", [1]],
    ["K\x01K\x02\x86.", [1, 2]],
    ["K\x01K\x02K\x03\x87.", [1, 2, 3]],
    ["(K\x01K\x02K\x03K\x04t.", [1, 2, 3, 4]],
    ["]K\x01a.", [1]],
    ["}U\x01aK\x01s.", new Map([["a", 1]])],
    ["}(U\x01aK\x01U\x01bK\x02u.", new Map([["a", 1], ["b", 2]])],
    ["K\x07q\x05h\x05\x86.", [7, 7]],
    ["K\x07r\x05\x00\x00\x00j\x05\x00\x00\x00\x86.", [7, 7]],
    ["K\x07\x94h\x00\x86.", [7, 7]],
    ["K\x072\x86.", [7, 7]],
    ["K\x07(K\x01K\x021.", 7],
    ["K\x07K\x080.", 7],
    ["K\x09Q.", { id: 9 }],
    ["csafe\nType\n.", plain],
    ["U\x04safeU\x04Type\x93.", plain],
    ["}}b.", new Map()],
  ];
  for (const [pickle, value] of cases) assert.deepEqual(load(pickle), value, JSON.stringify(pickle));
});

Deno.test("pickle: a listed callable is called with its arguments", () => {
  called.length = 0;
  assert.equal(load("csafe\ncall\nK\x01K\x02\x86R."), 1);
  assert.deepEqual(called, [[1, 2]]);
});

Deno.test("pickle: every way to a foreign name is refused, by that name", () => {
  for (
    const [module, name] of [["posix", "system"], ["builtins", "eval"], ["os", "system"], ["torch", "load"], [
      "",
      "__proto__",
    ], ["safe", "call.call"]]
  ) {
    const full = `${module}.${name}`.replaceAll(".", "\\.");
    const asked = new RegExp(`asks for "${full}".*Nothing of it was run.*torch\\.save`);
    refuses(`c${module}\n${name}\n(U\x02idtR.`, asked);
    refuses(
      `\x80\x04\x8c${String.fromCharCode(module.length)}${module}\x8c${
        String.fromCharCode(name.length)
      }${name}\x93U\x02id\x85R.`,
      asked,
    );
    refuses(`(U\x02idi${module}\n${name}\n.`, asked);
    refuses(`}U\x01a(c${module}\n${name}\n`, asked); // refused where it stands, not where it is used
  }
});

Deno.test("pickle: classes, state, extensions and buffers are refused", () => {
  refuses("(isafe\nType\n.", /instance of safe\.Type \(INST\)/);
  refuses("(csafe\nType\no.", /OBJ/);
  refuses("csafe\nType\n)\x81.", /NEWOBJ/);
  refuses("csafe\nType\n)}\x92.", /NEWOBJ_EX/);
  refuses("Pid\n.", /PERSID/);
  refuses("\x82\x01.", /EXT1/);
  refuses("\x83\x01\x00.", /EXT2/);
  refuses("\x84\x01\x00\x00\x00.", /EXT4/);
  refuses("\x97.", /NEXT_BUFFER/);
  refuses("csafe\nType\n)R.", /calls safe\.Type/);
  refuses("U\x08safecall)R.", /calls what is no function/);
  refuses("K\x01Q)R.", /calls what is no function/);
  refuses("csafe\ncall\n}b.", /BUILD/);
  refuses("]}b.", /BUILD/);
});

Deno.test("pickle: damage is damage", () => {
  refuses("", /ends in the middle/);
  refuses("K\x01", /ends in the middle/);
  refuses(".", /stack is empty/);
  refuses("K\x010.", /stack is empty/);
  refuses("q\x00.", /stack is empty/);
  refuses("h\x07.", /nothing is remembered as 7/);
  refuses("t.", /mark is missing/);
  refuses("K\x01K\x02a.", /not a list/);
  refuses("]K\x01K\x02s.", /not a dict/);
  refuses("}(K\x01u.", /not a dict/);
  refuses("cno end", /line without an end/);
  refuses("K\x01K\x02\x93.", /not a string/);
  refuses("csafe\ncall\nK\x01R.", /without a tuple/);
  refuses("\x80\x06.", /newer than 5/);
  refuses("B\xfb\xff\xff\xff.", /ends in the middle/); // a negative length, to a reader with signed ones
  refuses("X\xff\xff\xff\xff.", /ends in the middle/);
  refuses("X\x01\x00\x00\x00\xff.", /damaged/);
  refuses(`\x8a\x11${"\x01".repeat(17)}.`, /whole number of 17 bytes/);
  refuses("\xff.", /unknown instruction 0xff/);
});

Deno.test("pickle: size is bounded, depth is not a problem", () => {
  assert.throws(
    () => unpickle(new Uint8Array(8 * 2 ** 20 + 1), "some.pth", options),
    isClear("some.pth", /8388609 bytes/),
  );
  refuses("N0".repeat(500_001), /more than 1000000 instructions/);
  let value = load(`${"]".repeat(200_000)}${"a".repeat(199_999)}.`);
  let depth = 0;
  for (; Array.isArray(value); depth++) value = value[0];
  assert.equal(depth, 200_000);
  assert.ok(load("]q\x00h\x00a.") !== null); // a list that contains itself
});

Deno.test("pickle: any bytes at all, and any flipped bit, give a value or a WeightsError", async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      try {
        unpickle(bytes, "noise.pth", options);
      } catch (error) {
        assert.ok(error instanceof WeightsError, `${error}`);
      }
    }),
    { numRuns: 2000 },
  );
  await survivesBitFlips(
    bytesOf(
      "\x80\x02}q\x00(X\x01\x00\x00\x00acsafe\ncall\nK\x01K\x02\x86RX\x01\x00\x00\x00bG\x3f\xf8\x00\x00\x00\x00\x00\x00u.",
    ),
    (bytes) => unpickle(bytes, "flipped.pth", options),
  );
});
