/** Models leave the store with all that belongs to them and nothing else, and what an error says to do then works. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { removeModel } from "../../../src/weights/store/remove.ts";
import { WeightsError } from "../../../src/weights/formats/tensor.ts";
import { verifyModel } from "../../../src/weights/store/verify.ts";
import { atDesk, bin, isOneLine } from "../../support/cli/models_desk.ts";
import { files, serveFiles, type Store, withStore } from "../../support/weights/models_folder.ts";
import { fileAnswer, statusAnswer } from "../../support/weights/raw_server.ts";
import { madeUpVit, small, torchFile } from "../../support/weights/vit_files.ts";

const { signal } = new AbortController();
const later = torchFile(madeUpVit(small, 2));

const removeFrom = ({ folder }: Store, name: string) =>
  removeModel(name, { folders: [folder], own: folder, signal, onWait: () => assert.fail("nobody has it") });

async function damage(path: string): Promise<void> {
  const bytes = await Deno.readFile(path);
  bytes[bytes.length - 2] ^= 1;
  await Deno.writeFile(path, bytes);
}

Deno.test("remove: a damaged model whose address has changed is fetched after what the refusal says", () =>
  withStore(async (store) => {
    const { folder, pull, names } = store;
    let changed = false;
    await using server = serveFiles(() =>
      fileAnswer({ path: "", number: 0, headers: new Map() }, changed ? later : files.pth)
    );
    const url = `${server.address}/vit.pth`;
    await pull("mine", url, { licence: "MIT" });
    await damage(`${folder}/mine.safetensors`);
    changed = true;
    await assert.rejects(
      pull("mine", url),
      /changed since.*`splice models remove mine` forgets the one before; then pull again/,
    );
    await removeFrom(store, "mine");
    assert.deepEqual(await names(), []);
    assert.equal((await pull("mine", url)).did, "fetched");
    assert.equal((await verifyModel("mine", { folders: [folder] })).known, true);
  }));

Deno.test("remove: a broken record goes with the weights that it described", () =>
  withStore(async (store) => {
    const { folder, pull, take } = store;
    await using server = serveFiles();
    const url = `${server.address}/vit.pth`;
    await pull("mine", url);
    await Deno.writeTextFile(`${folder}/mine.record.json`, "{");
    const remedy =
      /mine\.record\.json: it is no record\..*`splice models remove mine --models here`, then pull or import/;
    await assert.rejects(pull("mine", url, { named: " --models here" }), remedy);
    await assert.rejects(verifyModel("mine", { folders: [folder], named: " --models here" }), remedy);
    await assert.rejects(take("mine", files.pth), /`splice models remove mine`, then pull or import/);
    await removeFrom(store, "mine");
    assert.equal((await pull("mine", url)).did, "fetched");
  }));

Deno.test("remove: all that has the name goes, and nothing of names that begin alike", () =>
  withStore(async (store) => {
    const { folder, take, names } = store;
    const id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const belongs = (name: string) => [
      `${name}.safetensors.${id}.part`,
      `${name}.record.json.${id}.part`,
      `.fetch/${name}-0123abcd.part`,
      `.fetch/${name}-0123abcd.part.json`,
      `.fetch/${name}-0123abcd.part.json.${id}.part`,
    ];
    const others = ["a-b", "ab", "a.b", "a-0123abcd"];
    await take("a", files.pth);
    for (const name of others) await take(name, files.pth);
    for (const name of ["a", ...others]) {
      for (const path of belongs(name)) await Deno.writeTextFile(`${folder}/${path}`, "x");
    }
    await Deno.writeFile(`${folder}/a.pth`, files.pth);
    const before = (await names()).length;
    const { size } = await Deno.stat(`${folder}/a.safetensors`);
    const removed = await removeFrom(store, "a");
    assert.deepEqual(removed[0], { path: `${folder}/a.safetensors`, bytes: size });
    assert.equal(removed.length, 3 + belongs("a").length);
    assert.equal((await names()).length, before - removed.length);
    for (const { path } of removed) assert.ok(!existsSync(path), path);
    for (const name of others) {
      assert.equal((await verifyModel(name, { folders: [folder] })).known, true);
      for (const path of belongs(name)) assert.ok(existsSync(`${folder}/${path}`), path);
    }
  }));

Deno.test("remove: a name that is not there, or lies elsewhere, is one clear line and leaves no trace", () =>
  withStore(async (store) => {
    const { folder, take } = store;
    const nobody = `${folder}/none`;
    const options = { folders: [folder, nobody], own: nobody, signal, onWait() {}, named: " --models none" };
    await take("mine", files.pth);
    await assert.rejects(removeModel("mine", options), (error: Error) => {
      assert.ok(error instanceof WeightsError);
      assert.equal(
        error.message,
        `Cannot remove mine: it is ${folder}/mine.safetensors, and only models in ${nobody} are removed.`,
      );
      return true;
    });
    await assert.rejects(
      removeModel("yours", options),
      /Cannot remove "yours": there is nothing of that name in \S+none; it holds no model\. `splice models list --models none`/,
    );
    assert.ok(!existsSync(nobody));
    await assert.rejects(removeFrom(store, "yours"), /it holds "mine"\. `splice models list`/);
  }));

Deno.test("pull: once a model is here nothing is left of addresses that failed and of writes that were killed", () =>
  withStore(async ({ folder, pull, take, names }) => {
    await using server = serveFiles((asked) =>
      asked.path === "/broken.pth" ? fileAnswer(asked, files.pth, { cut: 30_000, ignoresRange: true }) : null
    );
    const [broken, whole] = [`${server.address}/broken.pth`, `${server.address}/vit.bin`];
    await assert.rejects(pull("mine", broken), /was cut off/);
    assert.equal((await names()).length, 2, "a part and its facts, to go on with");
    await Deno.writeTextFile(`${folder}/mine.safetensors.0f8fad5b-d9cb-469f-a165-70867728950e.part`, "x");
    assert.equal((await pull("mine", [broken, whole])).did, "fetched");
    assert.deepEqual(await names(), ["mine.record.json", "mine.safetensors"]);
    await assert.rejects(pull("other", broken), /was cut off/);
    await take("other", files.pth);
    assert.deepEqual(await names(), ["mine.record.json", "mine.safetensors", "other.record.json", "other.safetensors"]);
  }));

Deno.test("pull: an address that was chosen is not passed over for a file put there by hand, nor does it displace it", () =>
  withStore(async (store) => {
    const { folder, pull, read } = store;
    await using server = serveFiles();
    const url = `${server.address}/vit.pth`;
    for (const file of ["hand.safetensors", "hand.bin"]) {
      await Deno.mkdir(folder, { recursive: true });
      await Deno.writeFile(`${folder}/${file}`, bin);
      await assert.rejects(
        pull("hand", url, { chosen: true }),
        /Cannot pull hand from http:\S+: \S+hand\.\w+ has that name and was put there by hand\. Use another name, or take it away with `splice models remove hand`\.$/,
      );
      assert.deepEqual(await read(file), bin);
      await removeFrom(store, "hand");
    }
    assert.equal(server.asked.length, 0);
    assert.equal((await pull("hand", url, { chosen: true })).did, "fetched");
  }));

Deno.test("pull: a chosen address that leads to no weights is not recommended for doing it by hand", () =>
  withStore(async ({ pull, names }) => {
    await using server = serveFiles((asked) =>
      asked.path === "/round.pth"
        ? statusAnswer("302 Found", "location: /round.pth")
        : fileAnswer(asked, new TextEncoder().encode("<!doctype html>"))
    );
    await assert.rejects(
      pull("mine", `${server.address}/page.pth`, { chosen: true }),
      /it is a web page, not the weights\. Fetch the file itself, not the page about it\. Nothing was kept of it$/,
    );
    await assert.rejects(pull("mine", `${server.address}/round.pth`), /round\.pth leads nowhere \(Maximum number of/);
    assert.deepEqual(await names(), []);
  }));

Deno.test("remove: as a command it says what it removed, and the model is no longer there", () =>
  atDesk(async ({ folder, models }) => {
    await models("import", "vit.pth", "--name", "mine");
    const { code, out, err } = await models("remove", "mine");
    assert.equal(code, 0, err);
    assert.match(out, /^mine is removed, 0\.\d+ MB: \S+\/store\/mine\.safetensors, \S+\/store\/mine\.record\.json\n$/);
    assert.ok(!existsSync(`${folder}/store/mine.safetensors`));
    const again = await models("remove", "mine");
    assert.deepEqual([again.code, again.out], [1, ""]);
    assert.match(
      again.err,
      /^splice: Cannot remove "mine": there is nothing of that name in \S+\/store; it holds no model\./,
    );
    isOneLine(again.err);
    await models("import", "vit.pth", "--name", "x", "--models", "my store");
    assert.deepEqual(await models("remove", "x", "--models", "my store", "--quiet"), { code: 0, out: "", err: "" });
  }));
