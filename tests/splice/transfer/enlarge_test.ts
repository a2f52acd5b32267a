/** A small painting gets the photograph's size, whichever way up and however narrow that is; what is told meanwhile, what is left as it is, and that it can be ended. No GPU is needed. */
import assert from "node:assert/strict";
import type { Runtime } from "../../../src/engine/mod.ts";
import { decodeImage, openPictureFile } from "../../../src/images/decode.ts";
import { encodeImage } from "../../../src/images/encode.ts";
import { encodeGenerator, readGenerator } from "../../../src/splice/transfer/checkpoint.ts";
import { type Enlarging, openEnlarging } from "../../../src/splice/transfer/enlarge.ts";
import { fingerprintOf } from "../../../src/splice/transfer/fingerprint.ts";
import { parameterCount } from "../../../src/nets/unet.ts";
import { recipe, tinyExtractor, tinyPicture } from "../../support/splice/tiny.ts";

const unused = {
  runtime: null as unknown as Runtime, // guided has no use for it
  generator: () => assert.fail("guided needs no generator"),
};

/** Cheaper than waves, where a picture is large. */
const drawn = (width: number, height: number) =>
  encodeImage(
    { width, height, data: Float32Array.from({ length: 3 * width * height }, (_, i) => i % 251 / 250) },
    "png",
  );

async function opened(
  bytes: Uint8Array<ArrayBuffer>,
  longest: number | undefined,
  detail: "guided" | "none" = "guided",
) {
  const file = await openPictureFile(bytes, { label: "it", longest });
  return { file, enlarging: openEnlarging({ ...unused, detail, file }) };
}

async function sizeAfter(enlarging: Enlarging, painted: Parameters<Enlarging["enlarge"]>[0]): Promise<number[]> {
  const bytes = await enlarging.enlarge(painted, {}, (rows) => encodeImage(rows, "png"));
  const { width, height } = await decodeImage(bytes, { label: "the result" });
  return [width, height];
}

Deno.test("enlarging: odd, upright, turned and narrow photographs keep their size", async () => {
  const fixture = (name: string) => Deno.readFile(new URL(`../../fixtures/images/${name}`, import.meta.url));
  const cases: [string, Uint8Array<ArrayBuffer>, number, number][] = [
    ["odd", await drawn(301, 203), 301, 203],
    ["upright", await drawn(203, 301), 203, 301],
    ["narrow", await drawn(32, 900), 32, 900],
    ["turned by EXIF, JPEG", await fixture("orientation-6.jpg"), 50, 40],
    ["turned by EXIF, PNG", await fixture("orientation-8.png"), 50, 40],
  ];
  for (const [name, bytes, width, height] of cases) {
    const { file, enlarging } = await opened(bytes, 33);
    assert.deepEqual(enlarging?.size, { width, height }, name);
    assert.deepEqual(await sizeAfter(enlarging!, file.picture), [width, height], name);
  }
});

Deno.test("enlarging: what is asked to stay small, or is not, has nothing to be done", async () => {
  const bytes = await drawn(60, 44);
  for (const [longest, detail] of [[48, "none"], [60, "guided"], [61, "guided"], [undefined, "guided"]] as const) {
    assert.equal((await opened(bytes, longest, detail)).enlarging, null, `${longest} ${detail}`);
  }
});

Deno.test("enlarging: previews are no larger than the photograph, and than previews are", async () => {
  for (const [width, height, shown] of [[300, 200, [300, 200]], [1600, 800, [768, 384]]] as const) {
    const { file, enlarging } = await opened(await drawn(width, height), 64);
    const preview = await enlarging!.preview(file.picture);
    assert.deepEqual([preview.width, preview.height], shown);
  }
});

Deno.test("enlarging: it tells how long it still takes, and ends when it is told to", async () => {
  const { file, enlarging } = await opened(await drawn(1200, 900), 100);
  assert.ok(enlarging!.seconds > 0.05 && enlarging!.seconds < 10, `${enlarging!.seconds} s`);
  const controller = new AbortController();
  const left: number[] = [];
  const onLeft = (seconds: number) => void left.push(seconds);
  const slowly = enlarging!.enlarge(file.picture, { signal: controller.signal, onLeft }, async (rows) => {
    const row = new Float32Array(3 * rows.width);
    for (let y = 0; y < rows.height; y++) {
      rows.read(y, row);
      if (y % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 50));
      if (y === 800) controller.abort("enough");
    }
  });
  await assert.rejects(slowly, (reason) => reason === "enough");
  assert.ok(left.length >= 1 && left.every((seconds) => seconds > 0), `${left}`);
});

Deno.test("enlarging: generators say how large they were trained, by their files or as checkpoints of any run", () => {
  const slab = new Float32Array(parameterCount);
  const of = (metadata: Record<string, string>) =>
    readGenerator({ ...encodeGenerator({ slab, size: undefined }, {}), metadata }, "it").size;
  const { metadata } = encodeGenerator({ slab, size: 170 }, { model: "m", steps: "3" });
  assert.deepEqual(metadata, { kind: "splice-generator", model: "m", steps: "3", size: "170" });
  assert.equal(of({ ...metadata }), 170);
  assert.equal(of({ kind: "splice-generator" }), undefined, "from before it was said");
  const run = { appearance: tinyPicture(9, 9, 2), extractor: tinyExtractor, recipe: recipe() };
  assert.equal(of({ fingerprint: fingerprintOf({ ...run, structure: tinyPicture(40, 52, 1) }) }), 52);
  assert.equal(of({ fingerprint: fingerprintOf({ ...run, structure: "1280x960 0123456789abcdef as 170x128" }) }), 170);
});
