// Weight files of every container, damaged in every way that files get damaged: each is weights or a WeightsError, at once, and nothing else happens.

import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { readTensors } from "../../../src/weights/formats/contents.ts";
import { takeNetwork } from "../../../src/weights/formats/networks.ts";
import { openBytes } from "../../../src/weights/formats/opening.ts";
import { WeightsError } from "../../../src/weights/formats/tensor.ts";
import { bytesOf, fixture, zipOf } from "../../fixtures/weights/files.ts";
import { damagedFiles } from "../../support/weights/damage.ts";
import { madeUpVit, safetensorsFile, torchFile } from "../../support/weights/vit_files.ts";

const FIXTURES = [
  ...["dtypes.pth", "views.pth", "parameter.pth", "attributes.pth", "foreign.pth", "recent_types.pth", "legacy.pth"],
  ...["training_legacy.pth", "training_protocol_4.pth", "twenty-one-characters.pth", "module.pth", "wrapped.pth"],
];
const COUNT = 3000;
/** Nothing of these files needs a tenth of it; a loop or a bomb needs more. */
const LONGEST = 3000;

const whole = await Promise.all(FIXTURES.map((name) => Deno.readFile(fixture(name))));
const tiny = madeUpVit({ dim: 64, depth: 1, patch: 2, native: 4 });
const large = [safetensorsFile(tiny), torchFile(tiny)];
const pickle = entryOf(whole[FIXTURES.indexOf("twenty-one-characters.pth")], "data.pkl");
const deflated = await zipOf({ "a/": new Uint8Array(), "a/data.pkl": pickle, "a/data/0": new Uint8Array(16) }, 9);

/** What a command does with a file; true if it is weights. */
function survives(bytes: Uint8Array, about: string): boolean {
  const began = performance.now();
  try {
    readTensors(takeNetwork(openBytes(bytes, "broken.file"), "broken.file").tensors);
    return true;
  } catch (error) {
    assert.ok(error instanceof WeightsError, `${about}: ${error instanceof Error ? error.stack : error}`);
    assert.match(error.message, /^Cannot (?:read|use) broken\.file/, about);
    return false;
  } finally {
    assert.ok(performance.now() - began < LONGEST, `${about} took ${performance.now() - began} ms`);
  }
}

Deno.test(`damage: ${COUNT} broken weight files of every container are weights or refused`, () => {
  const seen = { read: 0, refused: 0 };
  for (const { about, bytes } of damagedFiles(COUNT, [...whole, ...large, deflated].map((file) => file.slice()), 7)) {
    seen[survives(bytes, about) ? "read" : "refused"]++;
  }
  assert.ok(seen.read > 20 && seen.refused > 1000, JSON.stringify(seen));
});

Deno.test("damage: pickles of training programs, broken behind a right checksum, are weights or refused", () => {
  for (const name of ["twenty-one-characters.pth", "training_protocol_4.pth", "foreign.pth", "attributes.pth"]) {
    const file = whole[FIXTURES.indexOf(name)];
    const inside = entryOf(file, "data.pkl");
    for (const { about, bytes } of damagedFiles(600, [inside.slice(), pickle.slice()], 11)) {
      survives(withEntry(file, inside, bytes), `${name}: ${about}`);
    }
  }
});

Deno.test("damage: every byte of an old file's pickles, and of a zip's directory, set to others", () => {
  for (const name of ["training_legacy.pth", "twenty-one-characters.pth"]) {
    const file = whole[FIXTURES.indexOf(name)];
    const from = name.startsWith("training") ? 0 : new TextDecoder("latin1").decode(file).indexOf("PK\x01\x02");
    for (let at = from; at < Math.min(file.length, from + 3000); at++) {
      for (const value of [0, 0x52, 0xff]) {
        survives(file.with(at, value), `${name}: ${value} at ${at}`);
      }
    }
  }
});

/** The bytes of a stored entry, a view. */
function entryOf(file: Uint8Array, name: string): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const at = directoryEntry(file, name);
  const local = view.getUint32(at + 42, true);
  const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  return file.subarray(start, start + view.getUint32(at + 24, true));
}

/** The same file with another pickle, cut or padded with zeros to the old one's length, and its checksum. */
function withEntry(file: Uint8Array, inside: Uint8Array, other: Uint8Array): Uint8Array {
  const out = file.slice();
  const fitted = new Uint8Array(inside.length);
  fitted.set(other.subarray(0, inside.length));
  out.set(fitted, inside.byteOffset - file.byteOffset);
  new DataView(out.buffer).setUint32(directoryEntry(file, "data.pkl") + 16, crc32(fitted), true);
  return out;
}

function directoryEntry(file: Uint8Array, ending: string): number {
  const text = new TextDecoder("latin1").decode(file);
  for (let at = text.indexOf("PK\x01\x02"); at >= 0; at = text.indexOf("PK\x01\x02", at + 1)) {
    if (text.slice(at + 46, at + 46 + text.charCodeAt(at + 28)).endsWith(ending)) return at;
  }
  throw new Error(`no ${ending} in ${bytesOf(text.slice(0, 4))}`);
}
