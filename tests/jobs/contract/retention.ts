/** Which jobs expire, by age and by bytes, and that whole jobs go. */
import assert from "node:assert/strict";
import { openRetention } from "../../../src/jobs/retention.ts";
import { addSome, after, becomes, filesOf, job, type Open, pictureOf, record, runOne, take, test } from "./bench.ts";

export function retention(name: string, open: Open): void {
  test(`${name}: what expires has ended, oldest first, by age and by bytes`, open, async (bench) => {
    const { backend: { store } } = bench;
    const ids = await addSome(bench.backend, 5, { picture: pictureOf(1000) });
    for (const id of [ids[2], ids[0], ids[1]]) {
      await store.cancel(id);
      await after(5);
    }
    const ends = await Promise.all(ids.slice(0, 3).map(async (id) => Date.parse((await job(store, id)).finished_at!)));
    const bytes = await Promise.all(ids.map(async (id) => (await record(store, id)).bytes));
    const each = bytes[0];
    assert.deepEqual(bytes, Array(5).fill(each));
    assert.ok(each >= 2000);
    const expired = async (before: number, mostBytes: number, wanted: number[]) => {
      const look = () => bench.backend.store.expired({ endedBefore: new Date(before), mostBytes });
      await becomes(async () => (await look()).map((id) => ids.indexOf(id)), wanted);
    };
    for (const again of [false, true]) {
      if (again) await bench.reopen();
      await expired(0, Infinity, []);
      await expired(ends[2], Infinity, []);
      await expired(ends[2] + 1, Infinity, [2]);
      await expired(ends[0] + 1, Infinity, [2, 0]);
      await expired(0, 5 * each, []);
      await expired(0, 5 * each - 1, [2]);
      await expired(0, 3 * each, [2, 0]);
      await expired(ends[0] + 1, 4 * each, [2, 0]);
      await expired(0, 0, [2, 0, 1]); // active jobs stay
    }
    await bench.backend.store.remove(ids[2]);
    await expired(0, 5 * each - 1, []);
  });

  test(`${name}: whole jobs go, and those that wait or run stay`, open, async (bench) => {
    const ids = await addSome(bench.backend, 4);
    assert.equal(await runOne(bench.backend), ids[0]);
    await bench.backend.store.cancel(ids[1]);
    const lease = await take(bench.backend);
    const before = await Promise.all(ids.map((id) => record(bench.backend.store, id)));
    await after(5);
    const lines: string[] = [];
    const log = (line: string) => void lines.push(line);
    const retention = openRetention({ store: bench.backend.store, keep: 0, keepBytes: 0, log });
    await retention.look();
    await retention.close();
    assert.deepEqual(lines, ["Removed 2 ended jobs"]);
    const there = async () => {
      const { store, files } = bench.backend;
      const look = async (id: string, at: number) => [
        await store.get(id) !== null,
        (await store.events(id, { after: 0, limit: 9 })).length > 0,
        await filesOf(files, before[at]),
      ];
      assert.deepEqual(await Promise.all(ids.map(look)), [
        [false, false, []],
        [false, false, []],
        [true, true, ["structure", "appearance"]],
        [true, true, ["structure", "appearance"]],
      ]);
    };
    await there();
    await lease.giveBack({ died: false });
    await bench.reopen();
    await there();
    assert.deepEqual([await runOne(bench.backend), await runOne(bench.backend)], ids.slice(2));
  });
}
