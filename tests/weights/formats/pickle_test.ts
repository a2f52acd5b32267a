// The unpickler: it reads what torch.save writes, and a pickle that wants anything else is told so by name, whatever tricks it uses.

import fc from "fast-check";
import assert from "node:assert/strict";
import { unpickle } from "../../../src/weights/formats/pickle.ts";
import { Inert, type PickleGlobal } from "../../../src/weights/formats/pickle_machine.ts";
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
    ["\x8f(K\x01K\x02\x90.", [1, 2]],
    ["(K\x01K\x02\x91.", [1, 2]],
    ["\x8b\x02\x00\x00\x00\x00\xff.", -256],
    ["\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x40.", 2n ** 70n],
    ["\x96\x02\x00\x00\x00\x00\x00\x00\x00\x00\x01.", Uint8Array.of(0, 1)],
    ["\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", "a"],
    ["U\x01\xff.", "\ufffd"], // the str of Python 2
    ["X\x03\x00\x00\x00\xed\xb3\xbf.", "\ufffd\ufffd\ufffd"], // a path that was no UTF-8
    // protocols 0 and 1
    ["(lp0\nI1\naL18446744073709551616L\naI01\naI00\naF1.5\naVa\naS'b'\na.", [
      1,
      2n ** 64n,
      true,
      false,
      1.5,
      "a",
      "b",
    ]],
    ["(dp0\nVa\ng0\n0I7\ns.", new Map([["a", 7]])],
    ["(Va\nI1\nd.", new Map([["a", 1]])],
  ];
  for (const [pickle, value] of cases) assert.deepEqual(load(pickle), value, JSON.stringify(pickle));
});

Deno.test("pickle: a listed callable is called with its arguments", () => {
  called.length = 0;
  assert.equal(load("csafe\ncall\nK\x01K\x02\x86R."), 1);
  assert.deepEqual(called, [[1, 2]]);
});

Deno.test("pickle: every foreign name is told, and becomes an inert object of that name, never called", () => {
  called.length = 0;
  for (
    const [module, name] of [["posix", "system"], ["builtins", "eval"], ["os", "system"], ["torch", "load"], [
      "",
      "__proto__",
    ], ["safe", "call.call"]]
  ) {
    const full = `${module}.${name}`;
    const short = (text: string) => `\x8c${String.fromCharCode(text.length)}${text}`;
    for (
      const pickle of [
        `c${module}\n${name}\n(U\x02idtR.`,
        `\x80\x04${short(module)}${short(name)}\x93U\x02id\x85R.`,
        `(U\x02idi${module}\n${name}\n.`,
        `(c${module}\n${name}\nU\x02ido.`,
        `c${module}\n${name}\n(U\x02idt\x81.`,
        `c${module}\n${name}\n(U\x02idt}\x92.`,
      ]
    ) {
      const told: string[] = [];
      const value = unpickle(bytesOf(pickle), "some.pth", { ...options, foreign: (name) => told.push(name) });
      assert.ok(value instanceof Inert && value.isObject, pickle);
      assert.equal(value.name, full);
      assert.deepEqual(told, [full]);
      assert.deepEqual(value.parts.flat()[0], "id");
    }
    const itself = load(`c${module}\n${name}\n.`);
    assert.ok(itself instanceof Inert && !itself.isObject && itself.name === full);
  }
  assert.deepEqual(called, []);
});

Deno.test("pickle: an inert object keeps arguments, state and items; what it returns when called is inert too", () => {
  const value = load("cother\nThing\nK\x01\x85R}U\x01aK\x02sb(U\x01bK\x03uK\x04a.") as Inert;
  assert.deepEqual([value.name, value.parts, value.items], [
    "other.Thing",
    [[1], new Map([["a", 2]]), 4],
    new Map([["b", 3]]),
  ]);
  const twice = load("cother\nThing\n)R)R.") as Inert;
  assert.deepEqual([twice.name, twice.isObject], ["other.Thing", true]);
  assert.equal((load("csafe\nType\n)R.") as Inert).name, "safe.Type", "a listed name without a function");
  assert.equal((load("csafe\nType\n)\x81.") as Inert).name, "safe.Type");
  assert.equal((load("csafe\ncall\n)\x81.") as Inert).name, "safe.call", "objects are made of no function");
  assert.ok(load(`\x8a\x11${"\x01".repeat(17)}.`) instanceof Inert, "a whole number that nobody needs");
  assert.deepEqual(called, []);
});

Deno.test("pickle: extensions, buffers, and what is neither name nor object, are refused", () => {
  refuses("Pid\n.", /PERSID/);
  refuses("\x82\x01.", /EXT1/);
  refuses("\x83\x01\x00.", /EXT2/);
  refuses("\x84\x01\x00\x00\x00.", /EXT4/);
  refuses("\x97.", /NEXT_BUFFER/);
  refuses("U\x08safecall)R.", /calls what is no function/);
  refuses("U\x04safe)R.", /calls what is no function/);
  refuses("K\x01Q)R.", /calls what is no function/);
  refuses("K\x01)\x81.", /makes an object of what is no class/);
  refuses("(K\x01o.", /makes an object of what is no class/);
  refuses("csafe\ncall\n}b.", /changes "safe\.call" itself \(BUILD\)/);
  refuses("cother\nThing\n}b.", /changes "other\.Thing" itself \(BUILD\)/);
  refuses("cother\nThing\nK\x01a.", /not a list/);
  refuses("cother\nThing\nK\x01K\x02s.", /not a dict/);
  refuses("K\x01}b.", /state of a plain value/);
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
  refuses("Iten\n.", /a number written as "ten"/);
  refuses("\xff.", /unknown instruction 0xff/);
});

Deno.test("pickle: size is bounded, depth is not a problem", () => {
  assert.throws(
    () => unpickle(new Uint8Array(64 * 2 ** 20 + 1).fill(0x28), "some.pth", options),
    isClear("some.pth", /more than 1000000 instructions/),
  );
  const long = new Uint8Array(64 * 2 ** 20 + 5); // a text of 64 MiB
  long.set(bytesOf("X\x00\x00\x00\x04"));
  assert.throws(() => unpickle(long, "some.pth", options), isClear("some.pth", /or has more than 67108864 bytes/));
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
