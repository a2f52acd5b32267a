/** Which jobs are removed and when: whole ones, ended ones. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { DataFiles } from "../../src/jobs/local/files.ts";
import { openRetention, parseAge, parseSize, type RetentionOptions } from "../../src/jobs/retention.ts";
import { openStore } from "../../src/jobs/local/store.ts";
import { atBench, type Bench } from "../support/jobs/job_store.ts";

Deno.test("retention: ages and sizes as people write them", () => {
  const ages = {
    "7d": 604_800_000,
    "12h": 43_200_000,
    "30m": 1_800_000,
    "90s": 90_000,
    "1.5h": 5_400_000,
    forever: Infinity,
  };
  for (const [text, ms] of Object.entries({ ...ages, "0s": 0 })) assert.equal(parseAge(text), ms, text);
  for (
    const [text, bytes] of Object.entries({ "20G": 20e9, "500M": 500e6, "1.5T": 1.5e12, "2K": 2000, none: Infinity })
  ) {
    assert.equal(parseSize(text), bytes, text);
  }
  for (const text of ["", "7", "d", "-1d", "7 d", "7D", "1e3s", "7w", "none", "7d "]) {
    assert.throws(
      () => parseAge(text),
      (error: Error) => error.message.includes(`${JSON.stringify(text)}: it must be`),
    );
  }
  for (const text of ["", "20", "G", "-1G", "20GB", "20g", "forever"]) {
    assert.throws(() => parseSize(text), /it must be a number with K, M, G or T.*none for no limit/, text);
  }
  fc.assert(fc.property(fc.nat(999_999), fc.constantFrom("s", "m", "h", "d"), (count, unit) => {
    assert.equal(parseAge(`${count}${unit}`) / parseAge(`1${unit}`), count);
  }));
});

/** Queues a job whose files take `size` bytes. */
async function addJob({ add }: Bench, files: DataFiles, size: number): Promise<string> {
  const { id } = add({ bytes: size }).job;
  const upload = await files.openUpload();
  await upload.write("structure", new Uint8Array(size));
  await files.adopt(upload, id);
  return id;
}

async function atRetention(
  settings: Pick<RetentionOptions, "keep" | "keepBytes">,
  use: (
    at: { bench: Bench; files: DataFiles; lines: string[]; open(): ReturnType<typeof openRetention> },
  ) => Promise<void>,
): Promise<void> {
  await atBench(async (bench) => {
    const { files } = bench;
    const lines: string[] = [];
    const open = () =>
      openRetention({
        store: bench.store,
        ...settings,
        now: () => new Date(bench.clock),
        log: (line) => lines.push(line),
      });
    await use({ bench, files, lines, open });
  });
}

Deno.test("retention: old jobs go, rows and files, at the start and later", () =>
  atRetention({ keep: 60_000, keepBytes: Infinity }, async ({ bench, files, lines, open }) => {
    const [old, fresh, waiting] = [
      await addJob(bench, files, 5),
      await addJob(bench, files, 5),
      await addJob(bench, files, 5),
    ];
    bench.ledger.cancel(old);
    bench.clock += 59_000;
    bench.ledger.cancel(fresh);
    bench.clock += 2000;
    const retention = open();
    assert.equal(await retention.look(), 0, "the look at the start came before");
    const there = async (id: string) => [bench.ledger.get(id) !== null, await files.sizeOf(id)];
    assert.deepEqual(await there(old), [false, 0]);
    assert.deepEqual([await there(fresh), await there(waiting)], [[true, 5], [true, 5]]);
    bench.clock += 1e9;
    assert.equal(await retention.look(), 1);
    assert.deepEqual([await there(fresh), await there(waiting)], [[false, 0], [true, 5]]);
    assert.deepEqual(lines, ["Removed 1 ended job", "Removed 1 ended job"]);
    await retention.close();
    bench.ledger.cancel(waiting);
    bench.clock += 1e9;
    assert.equal(await retention.look(), 0, "closed");
    assert.deepEqual(await there(waiting), [true, 5]);
  }));

Deno.test("retention: too many bytes make the oldest ended jobs go", () =>
  atRetention({ keep: Infinity, keepBytes: 250 }, async ({ bench, files, open }) => {
    const ids = [];
    for (let index = 0; index < 4; index++) ids.push(await addJob(bench, files, 100));
    for (const id of [ids[2], ids[1]]) {
      bench.clock += 1000;
      bench.ledger.cancel(id);
    }
    const retention = open();
    await retention.close();
    assert.deepEqual(
      ids.map((id) => bench.ledger.get(id) !== null),
      [true, true, true, true],
      "closed before it began",
    );
    const again = open();
    await again.look();
    assert.deepEqual(ids.map((id) => bench.ledger.get(id) !== null), [true, false, false, true]);
    assert.deepEqual(await Promise.all(ids.map((id) => files.sizeOf(id))), [100, 0, 0, 100]);
    await again.close();
  }));

Deno.test("retention: files that cannot be removed hold up nobody, and are told of", () =>
  atRetention({ keep: 0, keepBytes: Infinity }, async ({ bench, files, lines }) => {
    const ids = [await addJob(bench, files, 1), await addJob(bench, files, 1)];
    for (const id of ids) bench.ledger.cancel(id);
    bench.clock += 1;
    const removed: string[] = [];
    const stubborn: DataFiles = {
      ...files,
      removeJob(id) {
        assert.equal(bench.ledger.get(id), null, "the row goes first");
        removed.push(id);
        return Promise.reject(new Error("the disk says no"));
      },
    };
    const options = {
      keep: 0,
      keepBytes: 0,
      now: () => new Date(bench.clock),
      log: (line: string) => lines.push(line),
    };
    const retention = openRetention({
      ...options,
      store: openStore({ ledger: bench.ledger, files: stubborn, log: options.log }),
    });
    await retention.look();
    assert.deepEqual(removed, ids);
    assert.match(lines[0], /the files of job .* stay until the next start: .*the disk says no/);
    await retention.close();
    await files.sweep(bench.ledger.ids());
    assert.deepEqual(await Promise.all(ids.map((id) => files.sizeOf(id))), [0, 0]);
  }));

Deno.test("retention: it looks again by itself", () =>
  atBench(async (bench) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { files } = bench;
    const options = { store: bench.store, keep: 0, keepBytes: 0, every: 2 };
    const retention = openRetention({ ...options, log: () => resolve(), now: () => new Date(bench.clock + 1) });
    await retention.look();
    const id = await addJob(bench, files, 1);
    bench.ledger.cancel(id);
    // Its timer keeps no process alive; this one does.
    const alive = setTimeout(() => {}, 10_000);
    await promise;
    clearTimeout(alive);
    assert.deepEqual([bench.ledger.get(id), await files.sizeOf(id)], [null, 0]);
    await retention.close();
  }));
