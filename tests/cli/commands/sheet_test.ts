/** `splice evaluate` and `splice sheet` from start to end: real processes, real files, an extractor of two blocks. */
import assert from "node:assert/strict";
import {
  examinePhotographs,
  openPhotographReader,
  type Photograph,
  sizedText,
} from "../../../src/cli/files/sheet_photographs.ts";
import { decodeImage } from "../../../src/images/decode.ts";
import { transferColours } from "../../../src/splice/evaluation/colour_transfer.ts";
import { lockFolder } from "../../../src/jobs/machine/folder_lock.ts";
import { atDesk, type Desk, ended, jsonLines, pair } from "../../support/cli/desk.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { tinyModel } from "../../support/splice/tiny.ts";

const seen = ["--model", tinyModel, "--vit-side", "32"];
const shared = { model: tinyModel, vit_side: 32, size: 48, steps: 3, entire_every: 2, augment: false };
const couple = { name: "one", structure: "a.png", appearance: "b.png" };

async function writeList(desk: Desk, list: Readonly<Record<string, unknown>>): Promise<void> {
  const whole = { options: shared, pairs: [couple], settings: [{ name: "full" }], ...list };
  await Deno.writeTextFile(`${desk.folder}/list.json`, JSON.stringify(whole));
}

const sheet = ["sheet", "--list", "list.json", "--out", "s.png"];
const sizeOf = async (path: string) => {
  const { width, height } = await decodeImage(await Deno.readFile(path), { label: path });
  return { width, height };
};

Deno.test("cli: evaluate and sheet say at once what is wrong, and have help with an example", () =>
  atDesk(async (desk) => {
    const { splice, folder } = desk;
    for (const command of ["evaluate", "sheet"]) {
      const { code, out } = await splice(command, "--help");
      assert.equal(code, 0);
      assert.match(out, new RegExp(`Example:\n  splice ${command} `));
    }
    const bad = async (args: string[], ...messages: RegExp[]) => {
      const { code, out, err } = await splice(...args);
      assert.deepEqual([code, out], [2, ""], err);
      const lines = err.trim().split("\n");
      assert.equal(lines.length, messages.length, err);
      for (const [i, message] of messages.entries()) assert.match(lines[i], message);
    };
    await bad(
      ["evaluate", "--structure", "a.png", "--vit-side", "x"],
      /Cannot evaluate: --appearance FILE is missing/,
      /--result FILE is missing/,
      /Cannot use --vit-side = "x"/,
    );
    await bad(["evaluate", "--folder", ".", "--result", "a.png"], /--result beside --folder/);
    await bad(["evaluate", "--folder", "none"], /Cannot use --folder none: there is no such folder/);
    await bad(["evaluate", "--folder", "."], /--folder \.: it has no sub-folder with structure, appearance and result/);
    await Deno.mkdir(`${folder}/all/one`, { recursive: true });
    await Deno.mkdir(`${folder}/all/other`);
    await Deno.copyFile(`${folder}/a.png`, `${folder}/all/one/structure.png`);
    await Deno.copyFile(`${folder}/a.png`, `${folder}/all/one/structure.jpg`);
    await Deno.copyFile(`${folder}/a.png`, `${folder}/all/one/result.png`);
    await bad(
      ["evaluate", "--folder", "all"],
      /all\/one: structure\.jpg and structure\.png are both there; no picture appearance\.\* is there/,
    );
    await bad(["sheet", "--out", "s.gif"], /--list FILE is missing/, /--out s\.gif: pictures are written as/);
    await bad(sheet, /Cannot read --list list\.json: there is no such file; `splice sheet --example` prints one/);
    await writeList(desk, { pairs: [{ ...couple, structure: "none.png" }], settings: [{ name: "full" }] });
    await bad(sheet, /Cannot use --list list\.json: there is no picture .*none\.png/);
    await writeList(desk, { options: { steps: 0 }, settings: [{ name: "a", options: { sed: 1 } }] });
    await bad(sheet, /list\.json: options: Cannot use steps = 0/, /settings\[0\]\.options: Cannot use sed: .*seed\?/);
    await writeList(desk, {});
    await bad(["sheet", "--list", "list.json", "--out", "a.png"], /Cannot write --out a\.png: it is also/);
    await bad([...sheet, "--data", "a.png"], /Cannot write --data a\.png/);
    await Deno.mkdir(`${folder}/s.cells`);
    const other = lockFolder(`${folder}/s.cells`)!;
    const busy = await splice(...sheet);
    assert.deepEqual([busy.code, busy.out], [1, ""]);
    assert.match(busy.err, /^splice: Cannot use s\.cells: another sheet is being made there; .* --data\n$/);
    other.release();
    await Deno.mkdir(`${folder}/odd.cells/lock`, { recursive: true });
    await bad(
      [...sheet, "--data", "odd.cells"],
      /^splice: Cannot use odd\.cells: odd\.cells\/lock cannot be written \(it is a folder\); .* --data$/,
    );
    await writeList(desk, { pairs: Array.from({ length: 60 }, (_, i) => ({ ...couple, name: `pair ${i}` })) });
    await bad(
      ["sheet", "--list", "list.json", "--out", "s.webp"],
      /--out s\.webp: a picture of \d+ x 1\d{4} pixels is too large for WebP, which ends here at 16383 a side; choose PNG/,
    );
    await writeList(desk, { options: { ...shared, model: "./none.bin" } });
    const elsewhere = await splice("sheet", "--list", `${folder}/list.json`, "--out", "s.png");
    assert.equal(
      elsewhere.err.split(". ")[0],
      `splice: Cannot find the model file ${folder}/none.bin: there is no such file`,
    );
    const example = await splice("sheet", "--example");
    assert.equal(JSON.parse(example.out).settings.length, 4);
  }));

gpuTest(
  "cli: evaluate one triple as a table, many as JSON with mean and deviation, and the masks as pictures",
  () =>
    atDesk(async ({ folder, splice }) => {
      const one = await splice("evaluate", ...pair, "--result", "a.png", ...seen, "--masks", "masks");
      assert.equal(one.code, 0, one.err);
      assert.match(one.out, /^ +from structure +from appearance +\(cosine\) +untouched +\(cosine\) +layout IoU\n/);
      assert.match(one.out, /^result +0 +\S+ +\S+ +\S+ +\S+ +1\.00$/m);
      assert.match(one.out, /^By vit, .*short side at 32 px/m);
      assert.match(one.out, /Not comparable: [^]*paper's table 2/);
      for (const part of ["structure", "result"]) {
        assert.deepEqual(await sizeOf(`${folder}/masks/result-${part}.png`), { width: 60, height: 44 });
      }
      for (const [name, result] of [["x", "a.png"], ["y", "a.png"]]) {
        await Deno.mkdir(`${folder}/all/${name}`, { recursive: true });
        await Deno.copyFile(`${folder}/a.png`, `${folder}/all/${name}/structure.png`);
        await Deno.copyFile(`${folder}/b.png`, `${folder}/all/${name}/appearance.png`);
        await Deno.copyFile(`${folder}/${result}`, `${folder}/all/${name}/result.png`);
      }
      const many = await splice("evaluate", "--folder", "all", ...seen, "--json");
      assert.equal(many.code, 0, many.err);
      const { model, results, mean, deviation, comparable } = JSON.parse(many.out);
      assert.deepEqual([model, results.map(({ name }: { name: string }) => name)], ["vit", ["x", "y"]]);
      assert.equal(mean.untouched_distance, results[0].untouched_distance);
      assert.deepEqual([mean.layout_iou, deviation.layout_iou, mean.structure_distance], [1, 0, 0]);
      assert.match(comparable, /off-the-shelf segmenter/);
      await Deno.copyFile(`${folder}/b.png`, `${folder}/all/y/result.png`);
      for (const name of ["x2", "z"]) {
        await Deno.mkdir(`${folder}/all/${name}`);
        for (const part of ["structure", "appearance", "result"]) {
          await Deno.copyFile(`${folder}/all/x/${part}.png`, `${folder}/all/${name}/${part}.png`);
        }
      }
      await Deno.writeTextFile(`${folder}/all/x2/result.png`, "not a picture");
      const odd = await splice("evaluate", "--folder", "all", ...seen);
      assert.equal(odd.code, 1);
      assert.match(
        odd.out,
        /^x +0 .*\nx2 +FAILED\. .*it is of an unknown kind.*\ny +FAILED\. .*60 x 44.*40 x 48.*\nz +0 /m,
      );
      assert.match(odd.out, /^mean +0 /m);
      assert.equal(odd.err, "splice: Cannot measure 2 of 4 results; why stands beside their names\n");
      const told = await splice("evaluate", "--folder", "all", ...seen, "--json");
      assert.equal(told.code, 1);
      const content = JSON.parse(told.out);
      assert.equal(content.failed, 2);
      assert.deepEqual(content.results[0], results[0]);
      assert.match(content.results[2].error, /^Cannot compare the layouts/);
      assert.deepEqual(content.mean, mean);
    }),
);

gpuTest(
  "cli: a sheet runs pairs by settings, tells of a cell that failed, and does nothing twice",
  () =>
    atDesk(async (desk) => {
      const { folder, splice } = desk;
      await Deno.writeTextFile(`${folder}/note.png`, "not a picture");
      const full = { name: "full" };
      const pairs = [couple, { ...couple, name: "damaged", appearance: "note.png" }];
      await writeList(desk, { pairs, settings: [full, { name: "too large", options: { vit_side: 2000, steps: 1 } }] });
      const first = await splice(...sheet, "--json");
      assert.equal(first.code, 1, first.err);
      const events = jsonLines(first.out);
      assert.deepEqual(
        events.filter(({ event }) => event !== "progress").map(({ event, cell, kept }) => [event, cell, kept]),
        [["cell", 1, false], ["cell_failed", 2, undefined], ["cell_failed", 3, undefined], [
          "cell_failed",
          4,
          undefined,
        ], ["succeeded", undefined, undefined]],
      );
      assert.match(
        events.find(({ cell, event }) => event === "cell_failed" && cell === 2).error,
        /vit_side \d+ would fit/,
      );
      assert.match(events.find(({ cell }) => cell === 3).error, /note\.png: it is of an unknown kind/);
      const { width } = await sizeOf(`${folder}/s.png`);
      assert.ok(width > 4 * 300);
      const numbers = JSON.parse(await Deno.readTextFile(`${folder}/s.json`));
      assert.deepEqual(
        numbers.pairs.map(({ cells }: { cells: { status: string }[] }) => cells.map(({ status }) => status)),
        [["done", "failed"], ["failed", "failed"]],
      );

      // The same list without its faults: what is there is kept, only the new cell is run.
      await writeList(desk, {
        pairs: [couple, { name: "turned", structure: "b.png", appearance: "a.png" }],
        settings: [full],
      });
      const second = await splice(...sheet);
      assert.equal(second.code, 0, second.err);
      assert.match(second.err, /^cell 1 of 2, one, full: kept from before$/m);
      assert.match(second.err, /^cell 2 of 2, turned, full: step 3 of 3, \d+:\d\d left in all$/m);
      assert.match(second.err, /^cell 2 of 2, turned, full: done in \d+ s$/m);
      assert.match(second.out, /s\.png is done, in \d+ s, its numbers are in .*s\.json\n$/);
      const again = JSON.parse(await Deno.readTextFile(`${folder}/s.json`));
      assert.deepEqual(again.pairs[0].cells[0], numbers.pairs[0].cells[0]);
      assert.equal(
        again.settings[0].mean.layout_iou,
        (again.pairs[0].cells[0].layout_iou + again.pairs[1].cells[0].layout_iou) / 2,
      );
      const measured = await splice("evaluate", "--folder", "s.cells", ...seen, "--json");
      const { structure_distance } = JSON.parse(measured.out).results[0];
      assert.equal(structure_distance, numbers.pairs[0].cells[0].structure_distance, "cells are triples to evaluate");

      // Shared options that no setting takes over are the judge's alone, and of those only the ones that it sees by.
      const own = { ...shared, resize: "bilinear" };
      const cellOf = async () => {
        const [data, cell] = [`${folder}/s.cells/one--full/result.png`, `${folder}/s.cells/one--full/cell.json`];
        return { result: await Deno.readFile(data), cell: await Deno.readTextFile(cell) };
      };
      const was = await cellOf();
      await writeList(desk, {
        options: { ...own, steps: 5, seed: 7 },
        settings: [{ ...full, options: { steps: 3, seed: 0 } }],
      });
      assert.match((await splice(...sheet)).err, /^cell 1 of 1, one, full: kept from before$/m);
      assert.deepEqual(await cellOf(), was);
      await writeList(desk, { options: { ...own, vit_side: 40 }, settings: [{ ...full, options: { vit_side: 32 } }] });
      assert.match((await splice(...sheet)).err, /^cell 1 of 1, one, full: kept from before$/m);
      const { result, cell } = await cellOf();
      assert.deepEqual(result, was.result);
      assert.notEqual(JSON.parse(cell).numbers.appearance_distance, JSON.parse(was.cell).numbers.appearance_distance);
      assert.equal(JSON.parse(cell).seconds, JSON.parse(was.cell).seconds);

      // Another option is another cell.
      await writeList(desk, { options: { ...shared, seed: 1 }, settings: [full] });
      assert.match((await splice(...sheet)).err, /^cell 1 of 1, one, full: done in/m);
    }),
);

gpuTest(
  "cli: a sheet's cells of colours alone are not trained, and are measured and kept like others",
  () =>
    atDesk(async (desk) => {
      const { folder, splice } = desk;
      const colours = { name: "colours alone", method: "colour" };
      await writeList(desk, {
        settings: [colours, { ...colours, name: "smaller", options: { size: 46, detail: "none" } }],
      });
      const first = await splice(...sheet);
      assert.equal(first.code, 0, first.err);
      assert.doesNotMatch(first.err, / step /);
      assert.match(first.err, /^cell 1 of 2, one, colours alone: done in \d+ s$/m);
      const { settings, pairs: [{ cells }] } = JSON.parse(await Deno.readTextFile(`${folder}/s.json`));
      assert.deepEqual(settings[0], colours);
      const read = async (name: string) =>
        await decodeImage(await Deno.readFile(`${folder}/s.cells/one--colours-alone/${name}.png`), { label: name });
      const result = await read("result");
      assert.deepEqual([result.width, result.height], [60, 44]);
      const wanted = transferColours(await read("structure"), await read("appearance")).data;
      assert.ok(
        result.data.every((value, i) => Math.abs(value - wanted[i]) < 0.02),
        "made of what was kept, but for 8 bits",
      );
      const measured = await splice("evaluate", "--folder", "s.cells", ...seen, "--json");
      assert.equal(JSON.parse(measured.out).results[0].structure_distance, cells[0].structure_distance);
      assert.deepEqual(await sizeOf(`${folder}/s.cells/one--smaller/result.png`), { width: 46, height: 34 });

      // Options of training are none of theirs, the photographs are.
      await writeList(desk, { options: { ...shared, steps: 9, seed: 4 }, settings: [colours] });
      assert.match((await splice(...sheet)).err, /^cell 1 of 1, one, colours alone: kept from before$/m);
      await Deno.copyFile(`${folder}/a.png`, `${folder}/b.png`);
      assert.match((await splice(...sheet)).err, /^cell 1 of 1, one, colours alone: done in/m);
    }),
);

gpuTest("cli: a sheet that was stopped within a cell goes on there, to the same picture", () =>
  atDesk(async (desk) => {
    const { folder, splice, start, has } = desk;
    await writeList(desk, { options: { ...shared, steps: 24 } });
    const child = start(...sheet, "--data", "cells", "--json");
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    await reader.read(); // the first of its progress
    child.kill("SIGINT");
    let told = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) told += part.value;
    const err = await new Response(child.stderr).text();
    assert.equal((await child.status).code, 130, err);
    assert.equal(jsonLines(told).at(-1).event, "canceled");
    assert.ok(has("cells/one--full/checkpoint.safetensors") && !has("s.png"));
    const rest = await ended(start(...sheet, "--data", "cells", "--json"));
    assert.equal(rest.code, 0, rest.err);
    const from = jsonLines(rest.out)[0];
    assert.ok(from.event === "progress" && from.step > 1, `it began at ${from.step}`);
    assert.ok(!has("cells/one--full/checkpoint.safetensors"));
    const whole = await splice(...sheet, "--data", "whole", "--quiet");
    assert.deepEqual([whole.code, whole.out, whole.err], [0, "", ""]);
    const [one, other] = ["cells", "whole"].map((data) => Deno.readFileSync(`${folder}/${data}/one--full/result.png`));
    assert.deepEqual(one, other);
  }));

Deno.test("sheet: a photograph that went or changed while cells were made is refused; that of the last cell is not read again", () =>
  atDesk(async ({ folder }) => {
    const [a, b] = [`${folder}/a.png`, `${folder}/b.png`];
    const found = await examinePhotographs([a, b, a, `${folder}/none.png`]);
    assert.equal(found.size, 3);
    assert.match(String(Object.values(found.get(`${folder}/none.png`)!)), /none\.png: there is no such file/);
    const photographs = [a, b].map((path) => found.get(path)! as Photograph);
    assert.notEqual(sizedText(photographs[0], 48), sizedText(photographs[0], 40));
    assert.equal(sizedText(photographs[0], 60), sizedText(photographs[0], undefined));
    const reader = openPhotographReader();
    const first = await reader.read(photographs, 48);
    assert.deepEqual(first.map(({ width, height }) => [width, height]), [[48, 35], [40, 48]]);
    await Deno.copyFile(b, a);
    const second = await reader.read(photographs, 48);
    assert.ok(first.every((picture, i) => picture === second[i]));
    await assert.rejects(reader.read(photographs, 40), /a\.png: it is another picture than when this sheet was begun/);
    await Deno.remove(b);
    await assert.rejects(reader.read([photographs[1]], 40), /Cannot read .*b\.png: there is no such file/);
  }));
