/** Downloads against a server that does everything wrong that servers and networks do: what is fetched is the file or nothing. */
import assert from "node:assert/strict";
import { download } from "../../../src/weights/download/download.ts";
import { failsWith, fetchFrom, file, other, patience, ranges, sum, whole } from "../../support/weights/downloads.ts";
import { type Asked, fileAnswer, serveRaw, statusAnswer } from "../../support/weights/raw_server.ts";

Deno.test("download: a file, in one go", async () => {
  const seen = await fetchFrom((asked) => fileAnswer(asked, file));
  assert.deepEqual(seen.result, whole);
  assert.deepEqual(seen.left, file);
  assert.equal(seen.asked[0].headers.get("accept-encoding"), "identity");
  assert.deepEqual([seen.asked.length, seen.notes.length, seen.progress.at(-1)], [1, 0, file.length]);
});

Deno.test("download: after a cut it goes on where it was, if it is the same file", async () => {
  const cuts = [20_000, 45_000];
  const seen = await fetchFrom((asked) =>
    fileAnswer(asked, file, cuts[asked.number] ? { cut: cuts[asked.number] } : {})
  );
  assert.deepEqual(seen.result, whole);
  assert.deepEqual(seen.left, file);
  assert.deepEqual(ranges(seen), ["", "bytes=20000-", "bytes=45000-"]);
  assert.deepEqual(seen.asked.map(({ headers }) => headers.get("if-range")), [undefined, '"one"', '"one"']);
  assert.equal(seen.notes.length, 2);
  assert.match(seen.notes[0], /weights\.pth was cut off .*; trying again in 1 s/);
  assert.ok(seen.progress.every((have, i) => i === 0 || have >= seen.progress[i - 1]));
});

Deno.test("download: a date of the last change serves where there is no strong entity tag", async () => {
  const modified = "Wed, 21 Oct 2026 07:28:00 GMT";
  for (const etag of [null, 'W/"weak"']) {
    const seen = await fetchFrom(({ ...asked }) =>
      fileAnswer(asked, file, { etag, modified, cut: asked.number ? 60_000 : 9000 })
    );
    assert.deepEqual(seen.result, whole);
    assert.equal(seen.asked[1].headers.get("if-range"), modified);
  }
});

Deno.test("download: a file that has changed in between is fetched from the beginning", async () => {
  const changed = (asked: Asked) =>
    asked.number === 0 ? fileAnswer(asked, other, { cut: 30_000 }) : fileAnswer(asked, file, { etag: '"two"' });
  assert.deepEqual((await fetchFrom(changed)).result, whole);
  // Servers that do not know If-Range answer with a part all the same; the tag, or the size, tells.
  const heedless = (asked: Asked) => {
    const headers = new Map([...asked.headers].filter(([name]) => name !== "if-range"));
    return asked.number === 0
      ? fileAnswer(asked, other, { cut: 30_000 })
      : fileAnswer({ ...asked, headers }, file, { etag: '"two"' });
  };
  const seen = await fetchFrom(heedless);
  assert.deepEqual(seen.result, whole);
  assert.deepEqual(ranges(seen), ["", "bytes=30000-", ""]);
  const longer = new Uint8Array([...other, 1, 2, 3]);
  const grown = (asked: Asked) =>
    asked.number === 0 ? fileAnswer(asked, longer, { cut: 30_000 }) : fileAnswer(asked, file);
  assert.deepEqual((await fetchFrom(grown)).result, whole);
});

Deno.test("download: parts of two files are found out by the checksum", async () => {
  const quiet = (asked: Asked) =>
    asked.number === 0 ? fileAnswer(asked, other, { cut: 30_000 }) : fileAnswer(asked, file);
  const seen = await fetchFrom(quiet, { expected: { sha256: sum(file) } });
  assert.deepEqual(seen.result, whole);
  assert.match(seen.notes.at(-1)!, /do not fit together: fetching it from the beginning/);
  assert.deepEqual(ranges(seen), ["", "bytes=30000-", ""]);
});

Deno.test("download: without anything to tell the file by, a cut means beginning again", async () => {
  const untold = (asked: Asked) =>
    fileAnswer(asked, file, { etag: null, ...(asked.number === 0 ? { cut: 30_000 } : {}) });
  const seen = await fetchFrom(untold);
  assert.deepEqual(seen.result, whole);
  assert.deepEqual(ranges(seen), ["", ""]);
  const sure = await fetchFrom(untold, { expected: { sha256: sum(file) } });
  assert.deepEqual(sure.result, whole);
  assert.deepEqual(ranges(sure), ["", "bytes=30000-"]);
});

Deno.test("download: a server that ignores ranges is read from the beginning", async () => {
  const seen = await fetchFrom((asked) =>
    fileAnswer(asked, file, { ignoresRange: true, ...(asked.number === 0 ? { cut: 30_000 } : {}) })
  );
  assert.deepEqual(seen.result, whole);
  assert.deepEqual(ranges(seen), ["", "bytes=30000-"]);
});

Deno.test("download: a server that always fails at the same byte, or lies about the length, is given up", async () => {
  const stuck = await fetchFrom((asked) => fileAnswer(asked, file, { ignoresRange: true, cut: 30_000 }));
  failsWith(stuck, /weights\.pth was cut off/);
  assert.equal(stuck.asked.length, patience.attempts);
  failsWith(
    await fetchFrom((asked) => fileAnswer(asked, file, { lie: 5 })),
    /gave the file's size as 60005 bytes, and now as 60000/,
  );
  const short = await fetchFrom((asked) => fileAnswer(asked, file, { lie: -100 }), { expected: { sha256: sum(file) } });
  failsWith(short, /gave 59900 bytes with the SHA-256 \w{64}, and \w{64} is expected/);
  assert.equal(short.left, null);
});

Deno.test("download: another file than expected is refused, by its size before it has travelled", async () => {
  const large = await fetchFrom((asked) => fileAnswer(asked, file), {
    expected: { bytes: 50_000, sha256: sum(other) },
  });
  failsWith(large, /is a file of 60000 bytes, and 50000 are expected/);
  assert.equal(large.progress.length, 0);
  const wrong = await fetchFrom((asked) => fileAnswer(asked, file), {
    expected: { bytes: 60_000, sha256: sum(other) },
  });
  failsWith(wrong, /and 60000 bytes with \w{64} is expected/);
  assert.equal(wrong.left, null);
});

Deno.test("download: what is not there is said at once; what may come back is asked for again", async () => {
  const missing = await fetchFrom(() => statusAnswer("404 Not Found"));
  failsWith(missing, /weights\.pth answered 404 Not Found/);
  assert.equal(missing.asked.length, 1);
  for (const status of ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"]) {
    const ill = (asked: Asked) => asked.number < 3 ? statusAnswer(status) : fileAnswer(asked, file);
    assert.deepEqual((await fetchFrom(ill)).result, whole);
    const gone = await fetchFrom(() => statusAnswer(status));
    failsWith(gone, new RegExp(`answered ${status}`));
    assert.equal(gone.asked.length, patience.attempts);
  }
});

Deno.test("download: Retry-After is obeyed, and one that takes too long is told", async () => {
  const began = performance.now();
  const busy = (asked: Asked) =>
    asked.number === 0 ? statusAnswer("429 Too Many Requests", "retry-after: 1") : fileAnswer(asked, file);
  const seen = await fetchFrom(busy);
  assert.deepEqual(seen.result, whole);
  assert.ok(performance.now() - began >= 990);
  assert.match(seen.notes[0], /answered 429 Too Many Requests; trying again in 1 s/);
  failsWith(
    await fetchFrom(() => statusAnswer("503 Service Unavailable", "retry-after: 3600")),
    /answered 503 Service Unavailable, and asks to wait 3600 s: try again then/,
  );
});

Deno.test("download: redirects are followed, and the part belongs to the first address", async () => {
  const seen = await fetchFrom((asked) => {
    if (asked.path === "/weights.pth") return statusAnswer("302 Found", `location: /deep/${asked.number}`);
    return fileAnswer(asked, file, asked.number === 1 ? { cut: 30_000 } : {});
  });
  assert.deepEqual(seen.result, whole);
  assert.deepEqual(seen.asked.map(({ path }) => path), ["/weights.pth", "/deep/0", "/weights.pth", "/deep/2"]);
  assert.equal(seen.asked[3].headers.get("range"), "bytes=30000-");
});

Deno.test("download: a server that falls silent is left, a slow one is not", async () => {
  const impatient = { ...patience, silence: 150 };
  const silent = await fetchFrom(
    (asked) => fileAnswer(asked, file, asked.number === 0 ? { cut: 30_000, held: true } : {}),
    { patience: impatient },
  );
  assert.deepEqual(silent.result, whole);
  assert.match(silent.notes[0], /has said nothing for 0\.15 s/);
  const slow = await fetchFrom((asked) => fileAnswer(asked, file, { pause: 30 }), { patience: impatient });
  assert.deepEqual([slow.result, slow.asked.length], [whole, 1]);
});

Deno.test("download: it is stopped by its signal, and another one goes on", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const controller = new AbortController();
    const stopped = serveRaw((asked) => fileAnswer(asked, file, { pause: 20 }));
    const options = { part: `${folder}/p`, expected: {}, patience, onNote() {} };
    const url = `${stopped.address}/weights.pth`;
    await assert.rejects(
      download(url, {
        ...options,
        signal: controller.signal,
        onProgress: (have) => have >= 20_000 && controller.abort(),
      }),
      { name: "AbortError" },
    );
    const { size } = await Deno.stat(`${folder}/p`);
    assert.ok(size >= 20_000 && size < file.length);
    let first = -1;
    const onProgress = (have: number) => void (first = first < 0 ? have : first);
    const done = await download(url, { ...options, signal: new AbortController().signal, onProgress });
    assert.deepEqual([done, first], [whole, size]);
    await stopped[Symbol.asyncDispose]();
    // Whole, but its process ended before it was put to use: nothing is fetched again.
    assert.deepEqual(await download(url, { ...options, signal: new AbortController().signal, onProgress }), whole);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("download: a machine that cannot be reached is tried twice", async () => {
  const folder = await Deno.makeTempDir();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  const notes: string[] = [];
  await assert.rejects(
    download(`http://127.0.0.1:${listener.addr.port}/f.pth`, {
      part: `${folder}/p`,
      expected: {},
      signal: new AbortController().signal,
      patience,
      onProgress() {},
      onNote: (text) => void notes.push(text),
    }),
    /f\.pth cannot be reached \(.*[Cc]onnection refused/,
  );
  assert.equal(notes.length, 1);
  await Deno.remove(folder, { recursive: true });
});
