/** `splice run` from start to end, interrupted and continued, and `splice apply` after it. */
import assert from "node:assert/strict";
import { decodeImage } from "../../../src/images/decode.ts";
import { encodeImage } from "../../../src/images/encode.ts";
import { atDesk, jsonLines, pair, small } from "../../support/cli/desk.ts";
import { stopAndGoOn } from "../../support/cli/interruption.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { tinyPicture } from "../../support/splice/tiny.ts";

gpuTest("cli: run with every option, then apply at an odd size", () =>
  atDesk(async ({ folder, splice, has }) => {
    const files = ["--save-generator", "g.safetensors", "--metrics", "m.jsonl", "--checkpoint", "c.safetensors"];
    const options = [
      "--preset",
      "quick",
      "--steps",
      "6",
      "--seed",
      "3",
      "--weight-id",
      "0.5",
      "--learning-rate",
      "1e-3",
    ];
    const more = ["--resize", "bicubic", "--blur-probability", "1", "--preview-every", "4", "--resume"];
    const { code, out, err } = await splice(
      "run",
      ...pair,
      "--out",
      "r.png",
      ...small,
      ...options,
      ...more,
      ...files,
      "--json",
    );
    assert.equal(code, 0, err);
    assert.equal(err, "");
    const events = jsonLines(out);
    const { event, steps, adapter, model } = events[0];
    assert.deepEqual([event, steps, model, typeof adapter], ["started", 6, "vit", "string"]);
    assert.deepEqual(events.at(-1), { event: "succeeded", result: "r.png" });
    assert.deepEqual(events.filter(({ event }) => event === "preview").map(({ path }) => path), ["r.png"]);
    const last = events.filter(({ event }) => event === "progress").at(-1);
    assert.deepEqual([last.step, last.steps, last.eta_seconds === null || last.eta_seconds < 0.1], [6, 6, true]);

    const lines = jsonLines(await Deno.readTextFile(`${folder}/m.jsonl`));
    assert.deepEqual(lines.map(({ step }) => step), [0, 1, 2, 3, 4, 5]);
    assert.deepEqual(Object.keys(lines[0]), ["step", "total", "global_cls", "entire_ssim", "entire_cls", "ms"]);
    assert.deepEqual(Object.keys(lines[1]), ["step", "total", "global_cls", "global_ssim", "global_id", "ms"]);
    const { total, global_cls, global_ssim, global_id } = lines[1];
    assert.ok(Math.abs(total / (10 * global_cls + global_ssim + 0.5 * global_id) - 1) < 1e-5, "only total is weighted");
    const picture = await decodeImage(await Deno.readFile(`${folder}/r.png`), { label: "r.png" });
    assert.deepEqual([picture.width, picture.height], [60, 44]);

    const text = ["run", ...pair, ...small, "--no-augment", "--init-generator", "g.safetensors", "--steps", "2"];
    const jpg = await splice(...text, "--out", "r.jpg");
    assert.equal(jpg.code, 0, jpg.err);
    const plan =
      /; model vit; memory \d+ MiB \(\d+ MiB reused\)\nstructure 48 x 35, appearance 40 x 48, seen as 43 x 32, result 60 x 44\n/;
    assert.match(jpg.err, plan);
    assert.match(jpg.err, /^step 2 of 2 .* loss \S+ cls \S+ ssim \S+ id \S+/m);
    assert.match(jpg.out, /^\/.*r\.jpg is done, in \d+ s\n$/);
    assert.deepEqual(await splice(...text, "--out", "q.png", "--quiet"), { code: 0, out: "", err: "" });

    for (const generator of ["g.safetensors", "c.safetensors"]) {
      const applied = await splice("apply", "--generator", generator, "--image", "b.png", "--out", `${generator}.png`);
      assert.equal(applied.code, 0, applied.err);
    }
    const [one, other] = ["g", "c"].map((name) => Deno.readFileSync(`${folder}/${name}.safetensors.png`));
    assert.deepEqual(one, other, "a checkpoint is a generator too");
    await Deno.writeFile(`${folder}/odd.png`, await encodeImage(tinyPicture(77, 33, 4), "png"));
    const odd = await splice("apply", "--generator", "g.safetensors", "--image", "odd.png", "--out", "odd.jpg");
    assert.match(odd.out, /odd\.jpg is done, 77 x 33/);
    assert.ok(has("odd.jpg"));
    const trained = await splice(...text, "--out", "small.png", "--detail", "none");
    assert.match(trained.err, /, result 48 x 35\n/);
    const small48 = await decodeImage(await Deno.readFile(`${folder}/small.png`), { label: "small.png" });
    assert.deepEqual([small48.width, small48.height], [48, 35]);
    const narrow = [
      "apply",
      "--generator",
      "g.safetensors",
      "--image",
      "odd.png",
      "--out",
      "odd.png.png",
      "--size",
      "40",
    ];
    for (const [detail, size] of [["generator", "77 x 33"], ["none", "40 x 17"]]) {
      const done = await splice(...narrow, "--detail", detail);
      assert.match(done.out, new RegExp(`is done, ${size}$`, "m"), done.err);
    }
    const wrong = await splice(...narrow, "--detail", "best");
    assert.deepEqual([wrong.code, wrong.err], [
      2,
      'splice: Cannot use --detail = "best": it must be guided or generator or none\n',
    ]);
    const left = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => name.endsWith(".part"));
    assert.deepEqual(left, [], "nothing half-written is left");
  }));

gpuTest(
  "cli: Ctrl-C saves the checkpoint; --resume gives the bytes of a run that never stopped",
  () =>
    atDesk(async (desk) => {
      const { folder, splice } = desk;
      const { steps, command } = await stopAndGoOn(desk, {
        args: ["run", ...pair, ...small],
        more: 6,
        toTheEnd: (name) => ["--save-generator", `${name}.safetensors`],
        endings: ["safetensors"],
        async meanwhile(done) {
          // A crash may leave more in the metrics than in the checkpoint, and half a line.
          const rest = `{"step":${done},"total":7,"ms":1}\n{"ste`;
          await Deno.writeTextFile(`${folder}/part.jsonl`, rest, { append: true });
        },
      });
      await Deno.writeTextFile(`${folder}/gap.jsonl`, '{"step":0}\n{"step":2}\n');
      const gap = await splice(...command("gap", steps), "--checkpoint", "part.ckpt");
      assert.equal(gap.code, 1);
      assert.match(
        gap.err,
        new RegExp(`^splice: Cannot go on in --metrics gap.jsonl: it ends before step ${steps}`, "m"),
      );
    }),
);
