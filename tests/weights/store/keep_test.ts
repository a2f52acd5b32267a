/** What is kept in the store: checked for what it says it is, described beside it, fetched once, never half. */
import assert from "node:assert/strict";
import { nameProblem, sha256Of } from "../../../src/weights/store/keep.ts";
import { withModelLock } from "../../../src/weights/store/lock.ts";
import { copyAt, readRecord } from "../../../src/weights/store/record.ts";
import { listModels } from "../../../src/weights/store/store.ts";
import { type StateDict, WeightsError } from "../../../src/weights/formats/tensor.ts";
import { verifyModel } from "../../../src/weights/store/verify.ts";
import { files, published, serveFiles, withStore } from "../../support/weights/models_folder.ts";
import { fileAnswer, serveRaw } from "../../support/weights/raw_server.ts";
import { madeUpVit, safetensorsFile, small, torchFile } from "../../support/weights/vit_files.ts";

const { signal } = new AbortController();

Deno.test("models: the record says where a model came from, and verify checks it", () =>
  withStore(async ({ folder, pull, take }) => {
    await using server = serveFiles();
    const url = `${server.address}/vit.pth`;
    await pull("mine", url, { licence: "MIT", sources: [{ url, revision: "abc" }] });
    const copy = await copyAt(`${folder}/mine.safetensors`);
    assert.deepEqual(copy!.source, {
      from: url,
      revision: "abc",
      bytes: files.pth.length,
      sha256: sha256Of(files.pth),
      network: null,
    });
    assert.deepEqual([copy!.licence, copy!.dtype, copy!.file], ["MIT", "f32", "mine.safetensors"]);
    assert.ok(Math.abs(Date.parse(copy!.when) - Date.now()) < 60_000);
    const { known, sha256, vit } = await verifyModel("mine", { folders: [folder] });
    assert.deepEqual([known, sha256, vit.depth], [true, copy!.sha256, 2]);

    const path = `${folder}/mine.safetensors`;
    const bytes = await Deno.readFile(path);
    bytes[bytes.length - 2] ^= 1;
    await Deno.writeFile(path, bytes);
    await assert.rejects(
      verifyModel("mine", { folders: [folder] }),
      /Cannot trust .*mine\.safetensors: its SHA-256 is \w{64}, and \w{64} was stored\..*Run `splice models remove mine`, then pull or import it again\.$/,
    );
    assert.deepEqual((await pull("mine", url)).did, "fetched", "what is damaged is fetched anew");
    assert.equal((await verifyModel("mine", { folders: [folder] })).known, true);

    await Deno.writeFile(`${folder}/found.pth`, files.bin);
    assert.equal((await verifyModel("found", { folders: [folder] })).known, false);
    await Deno.truncate(`${folder}/found.pth`, 5000);
    await assert.rejects(
      verifyModel("found", { folders: [folder] }),
      /found\.pth.*Run `splice models remove found`, then/,
    );
    await take("found", files.pth);
    assert.equal((await verifyModel("found", { folders: [folder] })).path, `${folder}/found.safetensors`);
  }));

Deno.test("models: what is here is not fetched again; f16 is made of f32, and f32 fetched where only f16 is", () =>
  withStore(async ({ folder, pull, read }) => {
    await using server = serveFiles();
    const url = `${server.address}/vit.pth`;
    assert.equal((await pull("mine", url)).did, "fetched");
    const full = await read("mine.safetensors");
    assert.equal((await pull("mine", url)).did, "found");
    assert.equal((await pull("mine", url, { half: true })).did, "halved");
    assert.equal(server.asked.length, 1);
    const half = await read("mine.safetensors");
    assert.equal((await copyAt(`${folder}/mine.safetensors`))!.source.from, url);
    assert.equal((await pull("mine", url)).did, "fetched");
    assert.deepEqual(await read("mine.safetensors"), full);
    assert.equal((await pull("other", url, { half: true })).did, "fetched");
    assert.deepEqual(await read("other.safetensors"), half);
    assert.equal((await pull("mine", `${server.address}/vit.bin`)).did, "found");
    assert.equal((await pull("mine", `${server.address}/vit.bin`, { chosen: true })).did, "fetched");
    await Deno.writeFile(`${folder}/hand.bin`, files.bin);
    assert.deepEqual(await pull("hand", url), { did: "found", path: `${folder}/hand.bin`, copy: null });
  }));

Deno.test("models: what an address gave the first time it has to give ever after", () =>
  withStore(async ({ folder, pull, names }) => {
    const later = torchFile(madeUpVit(small, 2));
    let changed = false;
    await using server = serveFiles((asked) => changed ? fileAnswer(asked, later) : null);
    const url = `${server.address}/vit.pth`;
    await pull("mine", url);
    await Deno.remove(`${folder}/mine.safetensors`);
    changed = true;
    await assert.rejects(
      pull("mine", url),
      /Cannot fetch mine: .*SHA-256 \w{64}, and \d+ bytes with \w{64} is expected, as on \d{4}-\d\d-\d\d: the file there has changed since\. If it is meant to have, `splice models remove mine` forgets the one before; then pull again\. Nothing was kept/,
    );
    assert.deepEqual(await names(), ["mine.record.json"]);
    changed = false;
    assert.equal((await pull("mine", url)).did, "fetched");
    const sources = [{ url, sha256: sha256Of(later) }];
    await assert.rejects(pull("other", url, { sources }), /\w{64} is expected: another --source or a newer version/);
  }));

Deno.test("models: if one address fails the next is tried, and without any it is said how to do it by hand", () =>
  withStore(async ({ pull, notes, names }) => {
    await using server = serveFiles((asked) =>
      asked.path === "/page.pth" ? fileAnswer(asked, new TextEncoder().encode("<!doctype html><p>Log in</p>")) : null
    );
    const urls = ["none.pth?", "page.pth", "vit.bin"].map((name) => `${server.address}/${name}`);
    assert.equal((await pull("mine", urls)).copy!.source.from, urls[2]);
    assert.match(notes[0], /none\.pth\? answered 404 Not Found; trying http:.*page\.pth/);
    assert.match(notes[1], /page\.pth: it is a web page, not the weights.*; trying http:.*vit\.bin/);
    await assert.rejects(
      pull("dino-vitb8", urls.slice(0, 2), { wanted: " --half", named: " --models here" }),
      (error) => {
        assert.ok(error instanceof WeightsError);
        assert.match(
          error.message,
          /^Cannot fetch dino-vitb8: .*Without a network here, fetch http:\S+ or http:\S+ on another machine, bring the file and run: splice models import none\.pth --name dino-vitb8 --half --models here$/,
        );
        assert.ok(!error.message.includes("\n"));
        return true;
      },
    );
    assert.deepEqual(await names(), ["mine.record.json", "mine.safetensors"]);
  }));

Deno.test("models: under a published name lies that model and no other", () =>
  withStore(async ({ folder, pull, take, names }) => {
    await using server = serveFiles();
    const other = /as dino-vits8: it has width 64, 2 blocks, .*and dino-vits8 has width 384, 12 blocks/;
    await assert.rejects(take("dino-vits8", files.pth), other);
    await assert.rejects(pull("dino-vits8", `${server.address}/vit.pth`), other);
    const broken = new Map([...published, ["norm.bias", { shape: [64], data: new Float32Array(64).fill(NaN) }]]);
    await assert.rejects(take("mine", safetensorsFile(broken)), /"norm\.bias" holds values that are not finite/);
    await assert.rejects(take("mine", new Uint8Array(100)), /neither safetensors nor a PyTorch checkpoint/);
    assert.deepEqual(await names(), []);
    assert.deepEqual((await listModels({ folders: [folder] })).filter(({ path }) => path !== null), []);
    for (const name of ["../x", "", "a b", "x.pth", ".x", "x".repeat(101)]) assert.ok(nameProblem(name), name);
    for (const name of ["x", "dino-vitb8", "manifest", "a.b_c-1"]) assert.equal(nameProblem(name), null);
  }));

Deno.test("models: two pulls at once fetch once", () =>
  withStore(async ({ pull, notes }) => {
    await using server = serveFiles((asked) => fileAnswer(asked, files.pth, { pause: 2 }));
    const url = `${server.address}/vit.pth`;
    const both = await Promise.all([pull("mine", url), pull("mine", url)]);
    assert.deepEqual(both.map(({ did }) => did).sort(), ["fetched", "found"]);
    assert.equal(server.asked.length, 1);
    assert.deepEqual([notes[0], notes.length], ["Another process is busy with mine: waiting for it", 2]);
    assert.match(
      notes[1],
      /vit\.pth: 1 head of 64 and ImageNet's normalisation are assumed, because its tensors do not/,
    );
  }));

Deno.test("models: whatever an interrupted import left, the file that is there is known", () =>
  withStore(async ({ folder, take }) => {
    await take("mine", files.pth);
    const before = await Deno.readFile(`${folder}/mine.safetensors`);
    await take("mine", torchFile(madeUpVit(small, 2)));
    assert.equal((await verifyModel("mine", { folders: [folder] })).known, true);
    await Deno.writeFile(`${folder}/mine.safetensors`, before); // as if the rename had not come to pass
    await take("mine", files.pth, { half: true });
    await Deno.writeFile(`${folder}/mine.safetensors`, before);
    assert.equal((await verifyModel("mine", { folders: [folder] })).known, true);
    await Deno.writeTextFile(`${folder}/mine.record.json`, "{");
    await assert.rejects(
      readRecord(folder, "mine"),
      /mine\.record\.json: it is no record\..* `splice models remove mine`, then pull or import it again\.$/,
    );
    assert.ok((await listModels({ folders: [folder] })).some(({ path }) => path?.endsWith("mine.safetensors")));
  }));

Deno.test("models: a lock is left with its work, and a folder that cannot be made is one clear line", async () => {
  await withStore(async ({ folder }) => {
    const options = { folder, signal, onWait: () => assert.fail("nobody has it") };
    await assert.rejects(withModelLock("x", () => Promise.reject(new Error("no")), options), /^Error: no$/);
    assert.equal(await withModelLock("x", () => Promise.resolve(5), options), 5);
    const stop = new AbortController();
    const busy = { ...options, signal: stop.signal, onWait: () => stop.abort() };
    await withModelLock(
      "x",
      () => assert.rejects(withModelLock("x", () => Promise.resolve(6), busy), { name: "AbortError" }),
      options,
    );
    await Deno.writeTextFile(`${folder}/file`, "");
    await assert.rejects(
      withModelLock("x", () => Promise.resolve(), { ...options, folder: `${folder}/file` }),
      /Cannot keep models in .*\/file: .*Check the folder and its permissions, or name another with --models\.$/,
    );
  });
});

Deno.test("models: of a file with several networks the store keeps one, remembers which, and fetches the other when asked", () =>
  withStore(async ({ folder, notes, pull, take, read }) => {
    const under = (prefix: string, tensors: StateDict) =>
      [...tensors].map(([name, tensor]) => [prefix + name, tensor] as const);
    const [teacher, student] = [madeUpVit(small, 3), madeUpVit(small, 4)];
    const both = torchFile(new Map([...under("student.module.", student), ...under("teacher.backbone.", teacher)]));
    const same = async (name: string, other: string) =>
      assert.deepEqual(await read(`${name}.safetensors`), await read(`${other}.safetensors`));
    await take("t", torchFile(teacher));
    await take("s", torchFile(student));
    assert.deepEqual(notes, []);
    assert.equal((await take("taken", both)).source.network, "teacher");
    assert.match(
      notes.splice(0).join(),
      /given holds 2 networks: "teacher" is taken, --network student takes the other$/,
    );
    await same("taken", "t");
    assert.equal((await take("taken", both, { network: "student" })).source.network, "student");
    assert.deepEqual(notes, []);
    await same("taken", "s");
    await assert.rejects(
      take("taken", both, { network: "ema" }),
      /Cannot take the network "ema" of .*"student", "teacher"/,
    );

    await using server = serveRaw((asked) => fileAnswer(asked, both));
    assert.equal((await pull("mine", server.address + "/f.pth")).copy!.source.network, "teacher");
    assert.equal((await pull("mine", server.address + "/f.pth", { network: "teacher" })).did, "found");
    assert.equal((await pull("mine", server.address + "/f.pth", { network: "student" })).did, "fetched");
    await same("mine", "s");
    const told = { heads: 2 };
    const mine = () => pull("mine", server.address + "/f.pth", { network: "student", told });
    assert.equal((await mine()).did, "fetched", "what is told of it is not what was written down");
    assert.deepEqual([(await mine()).did, (await mine()).copy!.network!.heads], ["found", 2]);
    const halved = await pull("mine", server.address + "/f.pth", { half: true });
    assert.equal(halved.copy!.network!.heads, 2);
    assert.deepEqual([halved.did, halved.copy!.source.network], ["halved", "student"]);

    // Records of versions that knew nothing of networks are read.
    const path = `${folder}/mine.record.json`;
    await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replaceAll(/,\s*"network": "\w+"/g, ""));
    assert.equal((await copyAt(`${folder}/mine.safetensors`))!.source.network, null);
  }));
