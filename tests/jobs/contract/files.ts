/** The files of jobs: the bytes that were given, whole or not there, and as streams. */
import assert from "node:assert/strict";
import type { Served } from "../../../src/jobs/model/service.ts";
import {
  add,
  adopted,
  bytesOf,
  filesOf,
  finish,
  isFault,
  type Open,
  pictureOf,
  record,
  start,
  take,
  test,
  until,
} from "./bench.ts";

const VISIBLE = /^[!#-~]+$/;
const png = () => Deno.readFile(new URL("../../fixtures/images/grey.png", import.meta.url));

export function files(name: string, open: Open): void {
  test(`${name}: pictures come back as they were sent, and as what they are`, open, async (bench) => {
    const picture = await png();
    const made = await add(bench.backend, { picture });
    assert.ok(made.bytes >= 2 * picture.length, `${made.bytes} bytes`);
    const check = async () => {
      const { files, store } = bench.backend;
      const now = await record(store, made.job.id);
      assert.deepEqual(await filesOf(files, now), ["structure", "appearance"]);
      const served = (await files.input(now, "structure"))!;
      assert.deepEqual([served.type, served.bytes, await served.upright()], ["image/png", picture.length, true]);
      assert.match(served.tag, VISIBLE);
      assert.deepEqual(await bytesOf(served.open()), picture);
      assert.deepEqual(await bytesOf(served.open()), picture, "it can be read again");
      assert.equal(await files.input(now, "image"), null, "a transfer has no such picture");
      assert.equal(
        await files.use(now, "appearance", async (path) => (await Deno.readFile(path)).length),
        picture.length,
      );
      const failed = files.use(now, "appearance", () => Promise.reject(new Error("the user's own trouble")));
      await assert.rejects(failed, /the user's own trouble/);
      await assert.rejects(files.use(now, "result", () => Promise.resolve()), isFault("not_found"));
    };
    await check();
    await bench.reopen();
    await check();
    await bench.kill();
    await check();
    const turned = await Deno.readFile(new URL("../../fixtures/images/orientation-6.png", import.meta.url));
    const other = await add(bench.backend, { picture: turned });
    const served = (await bench.backend.files.input(other, "appearance"))!;
    assert.deepEqual([served.type, await served.upright()], ["image/png", false]);
  });

  test(`${name}: results are there from the moment of success, to the byte`, open, async (bench) => {
    const { backend } = bench;
    const { id } = (await add(backend)).job;
    const lease = await take(backend);
    await start(backend, lease);
    assert.deepEqual(await filesOf(backend.files, await record(backend.store, id)), ["structure", "appearance"]);
    const preview = async (step: number) => {
      const bytes = pictureOf(1000 + step);
      await Deno.writeFile(`${lease.folder}/preview.jpg`, bytes);
      lease.preview(step);
      await until("the preview is seen", async () => (await record(backend.store, id)).previewStep === step);
      const served = (await backend.files.open(await record(backend.store, id), "preview"))!;
      assert.deepEqual([served.type, await bytesOf(served.open())], ["image/jpeg", bytes]);
      return served.tag;
    };
    assert.notEqual(await preview(10), await preview(20), "other bytes have another tag");
    const result = pictureOf(3_000_000);
    const trained = pictureOf(5000);
    await Deno.writeFile(`${lease.folder}/trained.png`, trained);
    await finish(lease, result);
    let tag: string | null = null;
    const check = async () => {
      const { files, store } = bench.backend;
      const now = await record(store, id);
      assert.ok(now.bytes >= 3_000_000, `${now.bytes} bytes`);
      const served = (await files.open(now, "result"))!;
      assert.deepEqual([served.type, served.bytes], ["image/png", result.length]);
      assert.match(served.tag, VISIBLE);
      const opened = await served.open();
      assert.deepEqual([opened.bytes, opened.tag], [served.bytes, served.tag]);
      assert.deepEqual(await bytesOf(Promise.resolve(opened)), result);
      tag ??= served.tag;
      assert.equal(served.tag, tag, "the same bytes, the same tag");
      assert.deepEqual(await bytesOf((await files.open(now, "trained"))!.open()), trained);
      const generator = (await files.open(now, "generator"))!;
      assert.deepEqual(await bytesOf(generator.open()), new TextEncoder().encode("weights"));
      assert.equal(generator.type, "application/octet-stream");
    };
    await check();
    await bench.reopen();
    await check();
    await bench.kill();
    await check();
    const now = await record(bench.backend.store, id);
    const held = (await bench.backend.files.open(now, "result"))!;
    assert.equal(await bench.backend.store.remove(id), true);
    await assert.rejects(held.open(), isFault("not_found"));
    await assert.rejects(bench.backend.files.use(now, "result", () => Promise.resolve()), isFault("not_found"));
    assert.deepEqual(await filesOf(bench.backend.files, now), []);
  });

  test(`${name}: a reader may be slow, stop, or never begin`, open, async ({ backend }) => {
    const picture = pictureOf(8_000_000);
    const made = await add(backend, { picture });
    const served = (await backend.files.input(made, "structure"))!;
    await (await served.open()).stream.cancel();
    const begun = (await served.open()).stream.getReader();
    assert.ok((await begun.read()).value!.length > 0);
    await begun.cancel();
    const many = await Promise.all([1, 2, 3].map(() => bytesOf(served.open())));
    for (const bytes of many) assert.deepEqual(bytes, picture);
  });

  test(`${name}: a converted picture is made once, and again where making it failed`, open, async (bench) => {
    const { backend } = bench;
    const { id } = (await add(backend)).job;
    await finish(await take(backend), pictureOf(2000));
    const now = await record(backend.store, id);
    let made = 0;
    const converted = async (name: "result" | "structure", length: number): Promise<Served> =>
      await backend.files.converted(now, name, {
        suffix: "webp",
        type: "image/webp",
        async make(from, to) {
          made++;
          assert.equal((await Deno.stat(from)).size, length);
          await Deno.writeTextFile(to, `made of ${name}`);
        },
      });
    const broken = backend.files.converted(now, "result", {
      suffix: "webp",
      type: "image/webp",
      make: () => Promise.reject(new Error("no memory")),
    });
    await assert.rejects(broken, /no memory/);
    for (let round = 0; round < 2; round++) {
      const served = await converted("result", 2000);
      assert.equal(served.type, "image/webp");
      assert.equal(new TextDecoder().decode(await bytesOf(served.open())), "made of result");
    }
    assert.equal(made, 1);
    const structure = await converted("structure", 10);
    assert.equal(new TextDecoder().decode(await bytesOf(structure.open())), "made of structure");
    assert.equal(made, 2);
    const options = { suffix: "webp", type: "image/webp", make: () => Promise.resolve() };
    await assert.rejects(backend.files.converted(now, "preview", options), isFault("not_found"));
  });

  test(`${name}: what was adopted for a job that is not made is dropped`, open, async ({ backend }) => {
    const made = await add(backend);
    const ghost = await adopted(backend);
    await backend.files.drop(ghost.id);
    assert.deepEqual(await filesOf(backend.files, { ...made, job: { ...made.job, id: ghost.id } }), []);
    await backend.files.drop(ghost.id);
    assert.deepEqual(await filesOf(backend.files, made), ["structure", "appearance"]);
  });
}
