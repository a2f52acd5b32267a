/** The command line as its users meet it: help, errors, and every command but `run`; the launcher, real processes, real files. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { decodeImage } from "../../src/images/decode.ts";
import { readSafetensors } from "../../src/weights/formats/safetensors.ts";
import { atDesk, pair } from "../support/cli/desk.ts";
import { gpuTest } from "../support/engine/gpu.ts";
import { relativeError } from "../support/engine/numbers.ts";
import { tinyModel } from "../support/splice/tiny.ts";

const launcher = fileURLToPath(new URL("../../splice", import.meta.url));

Deno.test("cli: help names every command, and each command's help ends with an example", () =>
  atDesk(async ({ splice }) => {
    const { code, out } = await splice("--help");
    assert.equal(code, 0);
    const commands = ["run", "apply", "features", "models", "demo", "doctor"];
    for (const command of commands) assert.match(out, new RegExp(`^  ${command} `, "m"));
    assert.deepEqual(await splice(), { code: 0, out, err: "" });
    for (const command of commands) {
      const help = await splice(command, "--help");
      assert.equal(help.code, 0, help.err);
      assert.match(help.out, new RegExp(`Example:\n  splice ${command}`));
    }
    assert.match((await splice("help", "run")).out, /--weight-cls <number>[^]*\(default: 10\)/);
    assert.match((await splice("--version")).out, /^\d+\.\d+\.\d+\n$/);
  }));

Deno.test("cli: what is wrong with the options is said at once, a line each, and the exit code is 2", () =>
  atDesk(async ({ splice, has }) => {
    const many = await splice("run", "--appearance", "b.png", "--out", "no/r.gif", "--steps", "0", "--weight-cls", "x");
    assert.equal(many.code, 2);
    assert.equal(many.out, "");
    assert.equal(many.err.trim().split("\n").length, 4, many.err);
    assert.match(many.err, /^splice: Cannot run: --structure FILE is missing$/m);
    assert.match(many.err, /--out no\/r\.gif: pictures are written as \.png, \.jpg or \.webp/);
    assert.match(many.err, /Cannot use --steps = "0": it must be a whole number from 1 to 1000000/);
    assert.match(many.err, /Cannot use --weight-cls = "x": it must be a number/);

    const bad = async (args: string[], message: RegExp) => {
      const { code, out, err } = await splice(...args);
      assert.equal(code, 2, `${args}: ${err}`);
      assert.equal(out, "");
      assert.match(err, message);
      assert.equal(err.trim().split("\n").length, 1, err);
    };
    await bad(["rum"], /no such command\. Commands: run, apply(?!.*worker)/);
    await bad(
      ["features", "--image", "a.png", "--out", "f.png"],
      /Cannot write --out f\.png: it holds tensors.*f\.safetensors/,
    );
    await bad(
      ["run", ...pair, "--out", "o.png", "--checkpoint", "c.JPG"],
      /Cannot write --checkpoint c\.JPG: it holds tensors/,
    );
    await bad(["help", "rum"], /no such command/);
    await bad(["run", "--sed", "3"], /Unknown option '--sed' \(Did you mean --seed\?\)/);
    await bad(
      ["run", ...pair, "--out", "no/r.png"],
      /Cannot write --out no\/r\.png: there is no folder no; make it first/,
    );
    await bad(["run", ...pair, "--out", "r.png", "--checkpoint", "."], /--checkpoint \.: it is a folder/);
    await bad(["run", ...pair, "--out", "r.png", "--resume"], /Cannot use --resume.*--checkpoint FILE/);
    await bad(["run", ...pair, "--out", "b.png"], /Cannot write --out b\.png: it is also --appearance; name another/);
    await bad(["apply", "--generator", "g", "--image", "a.png", "--out", "r.bmp"], /\.png, \.jpg or \.webp/);
    await bad(["features", "--image", "a.png", "--out", "f", "--layers", "1;2"], /Cannot use --layers = "1;2"/);
    await bad(["features", "--image", "a.png", "--out", "f", "--layers", "6"], /has 6 blocks, 0 to 5/);
    await bad(["demo", "--steps", "none"], /Cannot use --steps = "none"/);
    assert.ok(!has("r.png"));
  }));

Deno.test("cli: files that cannot be used fail with one line; --verbose shows the stack", () =>
  atDesk(async ({ splice, folder }) => {
    const fails = async (args: string[], message: RegExp) => {
      const { code, err } = await splice(...args);
      assert.equal(code, 1, err);
      assert.match(err, message);
      assert.equal(err.trim().split("\n").length, 1, err);
    };
    await Deno.writeTextFile(`${folder}/note.png`, "not a picture");
    const run = ["run", "--appearance", "b.png", "--out", "r.png"];
    await fails([...run, "--structure", "none.png"], /^splice: Cannot read none\.png: there is no such file; check/);
    await fails([...run, "--structure", "note.png"], /Cannot read note\.png: it is of an unknown kind/);
    await fails([...run, "--structure", "a.png", "--model", "dino-vitb8"], /Cannot find the model "dino-vitb8"/);
    await fails([...run, "--structure", "a.png", "--model", "b.png"], /b\.png/);
    await Deno.copyFile(tinyModel, `${folder}/model.safetensors`);
    const over = ["--checkpoint", "model.safetensors"];
    await fails([...run, "--structure", "a.png", ...over], /--checkpoint model\.safetensors: a file of another kind/);
    await fails(["apply", "--generator", tinyModel, "--image", "a.png", "--out", "r.png"], /it is not a generator/);
    const { err } = await splice(...run, "--structure", "none.png", "--verbose");
    assert.match(err, /\n\s+at .*files\.ts/);
  }));

gpuTest("cli: features of a picture, in a file that says what they are of", () =>
  atDesk(async ({ folder, splice }) => {
    const args = ["--model", tinyModel, "--image", "a.png", "--vit-side", "40", "--vit-longest", "50"];
    const { code, out, err } = await splice("features", ...args, "--layers", "1,0", "--out", "f.safetensors");
    assert.equal(code, 0, err);
    assert.match(out, /f\.safetensors is done: blocks 0,1 of vit, 4 x 6 patches of 8 and \[CLS\]/);
    const { tensors, metadata } = await readSafetensors(`${folder}/f.safetensors`);
    assert.deepEqual(metadata, { kind: "splice-features", model: "vit", grid: "4x6", patch: "8", resized: "37x50" });
    const names = [0, 1].flatMap((i) => [
      ...["tokens", "queries", "keys", "values"].map((name) => `block.${i}.${name}`),
      `self_similarity.${i}`,
    ]);
    assert.deepEqual([...tensors.keys()], names);
    for (const [name, { shape }] of tensors) assert.deepEqual(shape, name.startsWith("self") ? [25, 25] : [25, 64]);
    const { data: keys } = tensors.get("block.1.keys")!;
    const { data: similarity } = tensors.get("self_similarity.1")!;
    const row = (i: number) => keys.subarray(64 * i, 64 * i + 64);
    const product = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
    const want = Float64Array.from({ length: 25 * 25 }, (_, at) => {
      const [a, b] = [row(Math.floor(at / 25)), row(at % 25)];
      return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
    });
    assert.ok(relativeError(similarity, want) < 1e-5);

    const usual = await splice("features", "--image", "a.png", "--out", "g.safetensors", "--quiet");
    assert.deepEqual(usual, { code: 0, out: "", err: "" });
    const last = await readSafetensors(`${folder}/g.safetensors`);
    assert.equal(last.metadata.model, "splice-tiny8");
    assert.deepEqual([...last.tensors.keys()][0], "block.5.tokens");
  }));

gpuTest("cli: demo makes demo.png where it was called", () =>
  atDesk(async ({ folder, splice }) => {
    const { code, out, err } = await splice("demo", "--steps", "2");
    assert.equal(code, 0, err);
    assert.match(err, /^The structure of \S+\.jpg and the appearance of \S+\.jpg, 2 steps$/m);
    assert.match(out, /^\/.*\/demo\.png is done, in /);
    const picture = await decodeImage(await Deno.readFile(`${folder}/demo.png`), { label: "demo.png" });
    assert.ok(picture.width > 100);
  }));

Deno.test("cli: doctor says what is there, what is wrong, and what to do", () =>
  atDesk(async ({ folder, splice }) => {
    const { code, out } = await splice("doctor");
    const works = /^Training works here\.$/m.test(out);
    assert.equal(code, works ? 0 : 1);
    for (const what of ["deno", "adapter", "memory", "models"]) {
      assert.match(out, new RegExp(`^(ok|note|FAIL) +${what} `, "m"));
    }
    assert.match(out, /splice-tiny8: .*checksum right/);
    assert.ok(out.includes(`${folder}/models`));
    if (!works) {
      assert.match(out, /^FAIL/m);
    }
  }));

Deno.test("cli: a name that is not UTF-8 is refused, and nothing is written under another", () =>
  atDesk(async ({ folder }) => {
    const script = `sh "$0" apply --generator g --image a.png --out "$(printf 'caf\\351.png')"`;
    const command = new Deno.Command("sh", { args: ["-c", script, launcher], cwd: folder, env: { NO_COLOR: "1" } });
    const { code, stderr } = await command.output();
    assert.equal(code, 2);
    assert.match(new TextDecoder().decode(stderr), /^splice: Cannot use "caf.\.png": it is not UTF-8, .*Rename/);
  }));

gpuTest(
  "cli: the doctor lists adapters and says how to choose one, and that OpenGL stands in for Vulkan",
  () =>
    atDesk(async ({ folder }) => {
      const doctor = async (env: Record<string, string>) => {
        const command = new Deno.Command("sh", {
          args: [launcher, "doctor"],
          cwd: folder,
          env: { NO_COLOR: "1", ...env },
        });
        return new TextDecoder().decode((await command.output()).stdout);
      };
      assert.match(await doctor({}), /^ok +adapters +\S.*; Vulkan drivers: /m);
      const without = await doctor({ VK_DRIVER_FILES: `${folder}/none.json` });
      if (/FAIL +adapter /.test(without)) return console.log("Not tested: there is no OpenGL here either.");
      assert.match(without, /^ok +adapters +.*through OpenGL/m);
      assert.match(without, /^ok +choosing .*VK_DRIVER_FILES/m);
      assert.match(without, /^note +opengl /m);
      assert.match(without, /^note +kernels +portable\n +-> .*a fifth of the speed/m);
    }),
);
