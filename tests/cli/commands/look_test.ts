/** `splice invert`, `pca`, `attention` and `similarity` as their users meet them: help, errors, pictures, an interrupted inversion that goes on. */
import assert from "node:assert/strict";
import { decodeImage } from "../../../src/images/decode.ts";
import { atDesk, jsonLines } from "../../support/cli/desk.ts";
import { stopAndGoOn } from "../../support/cli/interruption.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { tinyModel } from "../../support/splice/tiny.ts";

const looks = ["pca", "attention", "similarity"];
const model = ["--model", tinyModel, "--vit-side", "32"];

Deno.test("cli: invert, pca, attention, similarity: help with an example, and what is wrong in a line each", () =>
  atDesk(async ({ splice, has }) => {
    for (const command of ["invert", ...looks]) {
      const help = await splice(command, "--help");
      assert.equal(help.code, 0, help.err);
      assert.match(help.out, new RegExp(`Example:\n  splice ${command} --model dino-vitb8 --image`));
    }
    const bad = async (args: string[], ...messages: RegExp[]) => {
      const { code, out, err } = await splice(...args);
      assert.equal(code, 2, `${args}: ${err}`);
      assert.equal(out, "");
      const lines = err.trim().split("\n");
      assert.equal(lines.length, messages.length, err);
      for (const [i, message] of messages.entries()) assert.match(lines[i], message);
    };
    await bad(
      ["invert", "--steps", "0", "--resume"],
      /^splice: Cannot invert: --image FILE is missing$/,
      /^splice: Cannot invert: --out FILE is missing$/,
      /Cannot use --resume: it goes on from a checkpoint/,
      /^splice: Cannot do without --feature: it must be cls or keys$/,
      /^splice: Cannot use --steps = "0": it must be a whole number from 1 to 1000000$/,
    );
    const invert = ["invert", ...model, "--image", "a.png", "--out", "r.png", "--feature"];
    await bad([...invert, "patches"], /Cannot use --feature = "patches": it must be cls or keys/);
    await bad([...invert, "cls", "--layer", "7"], /Cannot use --layer = 7: vit has 2 blocks, 0 to 1/);
    await bad(["pca", "--image", "a.png"], /^splice: Cannot paint pca: --out FILE is missing$/);
    await bad(
      ["pca", ...model, "--image", "a.tif", "--out", "a.tif", "--layer", "last"],
      /Cannot write --out a\.tif: pictures are written as \.png/,
      /it is also --image; name another file/,
      /Cannot use --layer = "last": it must be a whole number from 0 to 255/,
    );
    await bad(
      ["pca", ...model, "--image", "a.png", "--out", "r.png", "--layer", "2"],
      /--layer = 2: vit has 2 blocks, 0/,
    );
    const args = [...model, "--image", "a.png", "--out", "r.png"];
    await bad(["attention", ...args, "--head", "1"], /Cannot use --head = 1: vit has 1 head, number 0/);
    await bad(["similarity", ...args, "--at", "5"], /Cannot use --at = "5": it must be a pixel, x and y, as 320,200/);
    await bad(["similarity", ...args, "--at", "60,3"], /--at = 60,3: the photograph has 60 x 44 pixels/);
    await bad(
      ["pca", "--model", tinyModel, "--vit-side", "1024", "--image", "a.png", "--out", "r.png"],
      /^splice: Cannot use --vit-side = 1024: the photograph would be seen as 22272 patches, .* vit_side \d+ would do$/,
    );
    await bad(
      ["features", ...model, "--image", "a.png", "--out", "f.safetensors", "--layers", "1,2"],
      /^splice: Cannot use --layers = 1,2: vit has 2 blocks, 0 to 1$/,
    );
    assert.ok(!has("r.png"));
  }));

gpuTest(
  "cli: pca, attention and similarity write a picture of the photograph's size",
  () =>
    atDesk(async ({ splice, folder }) => {
      const options: Record<string, string[]> = {
        attention: ["--overlay", "--head", "0"],
        similarity: ["--at", "40,20"],
      };
      for (const command of looks) {
        const args = [command, ...model, "--image", "a.png", "--layer", "0", ...options[command] ?? []];
        const { code, out, err } = await splice(...args, "--out", `${command}.png`);
        assert.equal(code, 0, err);
        assert.match(out, new RegExp(`/${command}\\.png is done: block 0 of vit, 4 x 5 patches\\n$`));
        const { width, height, data } = await decodeImage(await Deno.readFile(`${folder}/${command}.png`), {
          label: command,
        });
        assert.deepEqual([width, height], [60, 44]);
        assert.ok(new Set(data).size > 50, "there is something to see");
      }
    }),
);

gpuTest(
  "cli: Ctrl-C saves an inversion; --resume gives the bytes of one that never stopped",
  () =>
    atDesk(async (desk) => {
      const { done, resumed, whole } = await stopAndGoOn(desk, {
        args: ["invert", ...model, "--image", "a.png", "--feature", "keys", "--prior", "none"],
        more: 5,
        toTheEnd: (name) => name === "whole" ? ["--json"] : [],
      });
      assert.match(
        resumed.err,
        new RegExp(`keys of block 1, photograph 60 x 44, seen and painted as 43 x 32; going on after step ${done}`),
      );
      assert.deepEqual(jsonLines(whole.out).at(-1), { event: "succeeded", result: "whole.png" });
    }),
);
