/** `splice models` as its users meet it: help, bad usage, import, list and verify, in the launcher's own process and permissions. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { examine } from "../../../src/cli/runs/examination.ts";
import { ended } from "../../support/cli/desk.ts";
import { atDesk, isOneLine } from "../../support/cli/models_desk.ts";
import { madeUpVit, safetensorsFile, small, torchFile } from "../../support/weights/vit_files.ts";

Deno.test("models: every command has help with an example", () =>
  atDesk(async ({ models }) => {
    await Promise.all([[], ["list"], ["pull"], ["import"], ["verify"], ["remove"]].map(async (command) => {
      const { code, out, err } = await models(...command, "--help");
      assert.equal(code, 0, err);
      assert.match(out, new RegExp(`Example:\n  splice ${["models", ...command].join(" ")}`));
    }));
  }));

Deno.test("models: what is wrong with the options is one clear line, and the exit code is 2", () =>
  atDesk(async ({ models }) => {
    const bad = async (args: string[], message: RegExp) => {
      const { code, out, err } = await models(...args);
      assert.equal(code, 2, `${args}: ${err}`);
      assert.equal(out, "");
      assert.match(err, message);
      isOneLine(err);
    };
    await Promise.all([
      bad(["pul"], /Unknown command 'pul' \(Did you mean pull\?\)/),
      bad(["pull"], /Missing required argument 'name'/),
      bad(
        ["pull", "dino"],
        /Cannot pull "dino": published are dino-vitb8, dino-vits8, dino-vitb16, dino-vits16, dinov2-\S.*; name another's address with --from/,
      ),
      bad(["pull", "../x", "--from", "http://127.0.0.1:1/x.pth"], /Cannot use the name "\.\.\/x"/),
      bad(
        ["pull", "x", "--from", "vit.pth"],
        /Cannot use --from vit\.pth: it must be an address.*`splice models import`/,
      ),
      bad(
        ["pull", "x", "--from", "https://me:word@example.org/x.pth"],
        /Cannot use --from: an address with a password/,
      ),
      bad(
        ["pull", "dino-vitb8", "--source", "zip"],
        /--source.*'zip' is invalid\. Allowed choices are pth, bin, safetensors/,
      ),
      bad(
        ["pull", "dino-vits16", "--source", "safetensors"],
        /Cannot use --source safetensors: dino-vits16 is published as pth and bin/,
      ),
      bad(["import", "vit.pth"], /Cannot import vit\.pth: --name NAME is missing/),
      bad(["import", "vit.pth", "--name", "vit.pth"], /Cannot use the name "vit\.pth": it ends like a file/),
      bad(
        ["import", "vit.pth", "--name", "splice-tiny8"],
        /Cannot import anything as splice-tiny8: .*comes with the program/,
      ),
      bad(
        ["pull", "splice-tiny8", "--from", "http://127.0.0.1:1/x.pth"],
        /Cannot pull anything as splice-tiny8: .*comes with the program/,
      ),
      bad(
        ["pull", "splice-tiny8", "--source", "pth"],
        /Cannot pull anything as splice-tiny8: .*comes with the program/,
      ),
      bad(["remove"], /Missing required argument 'name'/),
      bad(["remove", "../store/mine"], /Cannot use the name "\.\.\/store\/mine"/),
      bad(["remove", "splice-tiny8"], /Cannot remove splice-tiny8: .*comes with the program/),
      bad(["verify"], /Missing required argument 'name'/),
    ]);
  }));

Deno.test("models: import says which network it took and what it left, --network takes another, shards are one model", () =>
  atDesk(async ({ folder, models }) => {
    const under = (prefix: string, seed: number) =>
      [...madeUpVit(small, seed)].map(([name, tensor]) => [prefix + name, tensor] as const);
    const head = ["teacher.backbone.head.weight", { shape: [1], data: new Float32Array(1) }] as const;
    const both = new Map([...under("student.module.", 2), ...under("teacher.backbone.", 1), head]);
    await Deno.writeFile(`${folder}/both.ckpt`, torchFile(both));
    const told = ["--heads", "1", "--normalise", "imagenet"];
    const taken = await models("import", "both.ckpt", "--name", "t", ...told);
    assert.deepEqual([taken.code, taken.err.split("\n")], [0, [
      `both.ckpt holds 2 networks: "teacher" is taken, --network student takes the other`,
      `both.ckpt also holds what no feature needs, it is left out: "teacher.backbone.head.weight"`,
      "",
    ]]);
    const other = await models("import", "both.ckpt", "--name", "s", "--network", "student");
    assert.deepEqual([other.code, other.err], [
      0,
      "both.ckpt: 1 head of 64 and ImageNet's normalisation are assumed, because its tensors do not tell. " +
      "--heads N and --normalise imagenet|half|r,g,b,r,g,b say otherwise\n",
    ]);
    const none = await models("import", "both.ckpt", "--name", "e", "--network", "ema");
    assert.equal(none.code, 1);
    assert.match(none.err, /^splice: Cannot take the network "ema" of both\.ckpt: it holds "student", "teacher"\./);
    const listed = JSON.parse((await models("list", "--json")).out).models;
    const networkOf = (name: string) =>
      listed.find((model: { name: string }) => model.name === name).copy.source.network;
    assert.deepEqual([networkOf("t"), networkOf("s")], ["teacher", "student"]);

    await Deno.mkdir(`${folder}/parts`);
    const all = under("", 1);
    const weight_map: Record<string, string> = {};
    for (let i = 0; i < 2; i++) {
      const part = all.filter((_, at) => at % 2 === i);
      const file = `model-0000${i + 1}-of-00002.safetensors`;
      await Deno.writeFile(`${folder}/parts/${file}`, safetensorsFile(new Map(part)));
      for (const [name] of part) weight_map[name] = file;
    }
    await Deno.writeTextFile(`${folder}/parts/model.safetensors.index.json`, JSON.stringify({ weight_map }));
    const whole = await models("import", "parts", "--name", "p");
    assert.equal(whole.code, 0, whole.err);
    assert.match(whole.out, /from model\.safetensors\.index\.json \(SHA-256 \w{64}\)/);
    const stored = (name: string) => Deno.readFile(`${folder}/store/${name}.safetensors`);
    assert.deepEqual(await stored("p"), await stored("t"));
  }));

Deno.test("models: import, list, verify", () =>
  atDesk(async ({ folder, models, start }) => {
    const taken = await models("import", "vit.pth", "--name", "mine", "--licence", "CC0-1.0");
    assert.equal(taken.code, 0, taken.err);
    assert.match(
      taken.out,
      /^mine is here: \/.*\/store\/mine\.safetensors, 0\.\d+ MB as f32, from vit\.pth \(SHA-256 \w{64}\), licence CC0-1\.0\nIt is DINO or another plain ViT: width 64, 2 blocks, 1 head of 64, patches of 8, positions of 4 x 4; normalisation ImageNet's\n$/,
    );
    assert.deepEqual(await models("import", "vit.bin", "--name", "hf", "--half", "--quiet"), {
      code: 0,
      out: "",
      err: "",
    });
    const { out } = await models("list");
    assert.match(
      out,
      /^name +here +size +from +licence +about\ndino-vitb8 +no +\(343 MB\) +dl\.fbaipublicfiles\.com, huggingface\.co +Apache-2\.0 /,
    );
    assert.match(out, /^splice-tiny8 +yes +5\.4 MB +comes with Splice +MIT /m);
    assert.match(out, /^hf +yes +0\.\d+ MB +vit\.bin, as f16 +- +-$/m);
    assert.match(out, /^mine +yes +0\.\d+ MB +vit\.pth +CC0-1\.0 +-$/m);
    assert.match(out, /^Kept in \S+\/store; `splice models pull NAME` fetches one\.$/m);
    const listed = JSON.parse((await models("list", "--json")).out).models;
    const mine = listed.find(({ name }: { name: string }) => name === "mine");
    assert.deepEqual([mine.present, mine.licence, mine.copy.source.from, mine.copy.dtype], [
      true,
      "CC0-1.0",
      "vit.pth",
      "f32",
    ]);
    assert.equal(listed[0].sources.length, 2);

    const verified = await models("verify", "mine");
    assert.equal(verified.code, 0, verified.err);
    assert.match(
      verified.out,
      /^mine: the SHA-256 is right \(\w{64}\), and it loads: 2 blocks, width 64, patches of 8\. /,
    );
    assert.match((await models("verify", "splice-tiny8")).out, /the SHA-256 is right \(6da32211/);
    const file = await Deno.open(`${folder}/store/mine.safetensors`, { write: true });
    await file.seek(-3, Deno.SeekMode.End);
    await file.write(Uint8Array.of(1, 2, 3));
    file.close();
    const differs = await models("verify", "mine");
    assert.equal(differs.code, 1);
    assert.match(
      differs.err,
      /Cannot trust \S+: its SHA-256 is \w{64}, and \w{64} was stored\..* Run `splice models remove mine`, then pull or import it again\.$/m,
    );
    isOneLine(differs.err);
    const examined: string[] = [];
    await examine((line) => void examined.push(line), { models: `${folder}/store`, cluster: null });
    const remedy = `-> Run \`splice models remove mine --models ${folder}/store\`, then pull or import it again`;
    assert.ok(examined.some((line) => line.startsWith("FAIL") && line.endsWith(remedy)), examined.join("\n"));
    const absent = await models("verify", "dino-vits8", "--models", "my store");
    assert.deepEqual([absent.code, absent.out], [1, ""]);
    assert.match(absent.err, /Fetch it: `splice models pull dino-vits8 --models 'my store'`\.$/m);
    const none = await models("import", "none.pth", "--name", "x");
    assert.deepEqual([none.code, none.err], [
      1,
      "splice: Cannot read none.pth: there is no such file. Check the path and its permissions.\n",
    ]);
    const elsewhere = await ended(
      start(["models", "import", "vit.pth", "--name", "x", "--models", "my store", "--quiet"]),
    );
    assert.deepEqual(elsewhere, { code: 0, out: "", err: "" });
    assert.ok(existsSync(`${folder}/my store/x.safetensors`));
    const nowhere = await models("import", "vit.pth", "--name", "x", "--models", "vit.bin");
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.err, /^splice: Cannot keep models in \S+\/vit\.bin: .*name another with --models\.\n$/m);
  }));
