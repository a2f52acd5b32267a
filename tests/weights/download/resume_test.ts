/** Where a download goes on: what servers say of ranges, rightly and wrongly, and what of a part can be believed after a power cut. */
import assert from "node:assert/strict";
import { download } from "../../../src/weights/download/download.ts";
import { failsWith, fetchFrom, file, other, patience, ranges, sum, whole } from "../../support/weights/downloads.ts";
import { type Answer, type Asked, fileAnswer, serveRaw, statusAnswer } from "../../support/weights/raw_server.ts";

/** A file that is cut at 30000 bytes the first time, and then answered like this. */
const afterCut = (then: (asked: Asked) => Answer) => (asked: Asked) =>
  asked.number === 0 ? fileAnswer(asked, file, { cut: 30_000 }) : then(asked);

/** The usual answer with other lines in its head; null takes the line away. */
function amended(answer: Answer, lines: Readonly<Record<string, string | null>>): Answer {
  const kept = answer.head.filter((line) => !Object.hasOwn(lines, line.split(":")[0].toLowerCase()));
  return {
    ...answer,
    head: [...kept, ...Object.entries(lines).flatMap(([name, value]) => value === null ? [] : `${name}: ${value}`)],
  };
}

Deno.test("resume: a range without the file's size is gone on with", async () => {
  const range = { "content-range": "bytes 30000-59999/*" };
  const seen = await fetchFrom(afterCut((asked) => amended(fileAnswer(asked, file), range)));
  assert.deepEqual([seen.result, ranges(seen)], [whole, ["", "bytes=30000-"]]);
  // And where the size was not known before either.
  const unsized = await fetchFrom((asked) =>
    asked.number === 0 ? chunked(file.subarray(0, 30_000)) : amended(fileAnswer(asked, file), range)
  );
  assert.deepEqual([unsized.result, ranges(unsized)], [whole, ["", "bytes=30000-"]]);
});

/** The pieces of a file whose size is not said, and whose end does not come. */
function chunked(bytes: Uint8Array): Answer {
  const head = ["HTTP/1.1 200 OK", "transfer-encoding: chunked", 'etag: "one"'];
  const size = new TextEncoder().encode(`${bytes.length.toString(16)}\r\n`);
  return { head, body: new Uint8Array([...size, ...bytes, 13, 10]) };
}

Deno.test("resume: a part that turns out to be the whole file is not fetched again", async () => {
  const seen = await fetchFrom((asked) => asked.number === 0 ? chunked(file) : fileAnswer(asked, file));
  assert.deepEqual([seen.result, ranges(seen)], [whole, ["", "bytes=60000-"]]);
  // A server that has less says so, and everything is fetched.
  const shrunk = await fetchFrom(
    afterCut((asked) =>
      asked.number === 1
        ? statusAnswer("416 Range Not Satisfiable", "content-range: bytes */20000")
        : fileAnswer(asked, file)
    ),
  );
  assert.deepEqual([shrunk.result, ranges(shrunk)], [whole, ["", "bytes=30000-", ""]]);
  assert.match(shrunk.notes[1], /gave the file's size as 60000 bytes, and now as 20000; trying again in 1 s/);
});

Deno.test("resume: a server that gives another range, another file or compressed bytes is told as that, after a pause", async () => {
  const begins = { "content-range": "bytes 100-59999/60000" };
  const elsewhere = await fetchFrom(afterCut((asked) => amended(fileAnswer(asked, file), begins)));
  assert.deepEqual([elsewhere.result, ranges(elsewhere)], [whole, ["", "bytes=30000-", ""]]);
  assert.match(
    elsewhere.notes[1],
    /was asked for the bytes from 30000 on and answered bytes 100-59999\/60000; trying again in 1 s/,
  );
  const packed = await fetchFrom(
    afterCut((asked) =>
      asked.number === 1 ? amended(fileAnswer(asked, file), { "content-encoding": "gzip" }) : fileAnswer(asked, file)
    ),
  );
  assert.deepEqual([packed.result, ranges(packed)], [whole, ["", "bytes=30000-", ""]]);
  assert.match(packed.notes[1], /goes on with compressed bytes \(gzip\)/);
  const began = performance.now();
  const restless = await fetchFrom(
    (asked) => {
      const from = Number(/\d+/.exec(asked.headers.get("range") ?? "")?.[0] ?? 0);
      const answer = fileAnswer({ ...asked, headers: new Map(from > 0 ? [["range", `bytes=${from}-`]] : []) }, file, {
        etag: `"${asked.number}"`,
      });
      return from > 0 ? answer : { ...answer, body: file.subarray(0, 30_000) };
    },
    { patience: { ...patience, firstPause: 40 } },
  );
  failsWith(restless, /weights\.pth (has another file now than the one that was begun|was cut off)/);
  assert.equal(restless.asked.length, patience.attempts);
  assert.ok(performance.now() - began >= 3 * 40, "it pauses");
});

Deno.test("resume: the rest of a file of the wrong size does not travel", async () => {
  const seen = await fetchFrom(
    (asked) => asked.number === 0 ? chunked(file.subarray(0, 30_000)) : fileAnswer(asked, file),
    { expected: { bytes: 70_000, sha256: sum(other) } },
  );
  failsWith(seen, /weights\.pth is a file of 60000 bytes, and 70000 are expected/);
  assert.deepEqual([ranges(seen), seen.progress.at(-1)], [["", "bytes=30000-"], 30_000]);
});

Deno.test("download: what was not asked for is refused: compressed bytes, a part", async () => {
  const packed = await fetchFrom((asked) => amended(fileAnswer(asked, file), { "content-encoding": "gzip" }));
  failsWith(packed, /weights\.pth gives the file only compressed \(gzip\), though it was asked for as it is/);
  for (const status of ["206 Partial Content", "416 Range Not Satisfiable"]) {
    const seen = await fetchFrom(() => statusAnswer(status, "content-range: bytes 0-9/60000"));
    failsWith(seen, new RegExp(`weights\\.pth answered ${status}`));
    assert.equal(seen.asked.length, 1);
  }
});

Deno.test("resume: after a power cut only bytes count that were on the disk", async () => {
  const folder = await Deno.makeTempDir();
  const part = `${folder}/file.part`;
  await using server = serveRaw((asked) => fileAnswer(asked, file, asked.number === 0 ? { cut: 30_000 } : {}));
  const fetchOnce = () =>
    download(`${server.address}/weights.pth`, {
      part,
      expected: {},
      signal: new AbortController().signal,
      patience: { ...patience, attempts: 1 },
      onProgress() {},
      onNote() {},
    });
  try {
    await assert.rejects(fetchOnce(), /was cut off/);
    await Deno.truncate(part, file.length); // the size had reached the disk, the bytes had not
    assert.deepEqual(await fetchOnce(), whole);
    assert.equal(server.asked[1].headers.get("range"), "bytes=30000-");
    assert.deepEqual(await Deno.readFile(part), file);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
