/** The short tasks of a GPU worker, from files to a file: what they write, and that what stops one is a problem which its route documents. */
import assert from "node:assert/strict";
import { encodeImage } from "../../../src/images/encode.ts";
import { asFault } from "../../../src/jobs/workers/blame.ts";
import type { Task } from "../../../src/jobs/model/messages.ts";
import { perform } from "../../../src/jobs/workers/tasks.ts";
import { keepWarm } from "../../../src/jobs/workers/warm.ts";
import { parseLook } from "../../../src/splice/instruments/look_options.ts";
import { readSafetensors } from "../../../src/weights/formats/safetensors.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { onStage } from "../../support/routes/service.ts";
import { recipe, tinyModel, tinyPicture } from "../../support/splice/tiny.ts";

gpuTest(
  "tasks: what stops features and looks is a problem that their routes document",
  ({ runtime }) =>
    onStage({}, async ({ ask }) => {
      const folder = await Deno.makeTempDir();
      try {
        const { paths } = await (await ask("/openapi.json")).json();
        const warm = keepWarm((use) => use(runtime, undefined), () => {});
        const [picture, out] = [`${folder}/image`, `${folder}/out`];
        const features = (layers: number[] = []): Task => ({
          task: "features",
          model: tinyModel,
          picture,
          out,
          recipe: recipe({ vit_side: 32, vit_longest: 64 }),
          layers,
        });
        const pca = (options: Record<string, unknown>): Task => {
          const parsed = parseLook("pca", options);
          assert.ok(parsed.ok);
          return { task: "look", model: tinyModel, picture, out, look: parsed.look, format: "png" };
        };
        const stopped = async (path: string, task: Task) => {
          const error: unknown = await perform(task, warm).then(() => null, (error) => error);
          assert.ok(error, `${path} was done`);
          const { code, problem } = asFault(error, (text) => assert.fail(text));
          const { description } = paths[path].post.responses[problem.status];
          assert.ok(description.includes(`${problem.title} (${code})`), `${path} may answer ${code}: ${description}`);
          return [code, ...problem.errors!.map(({ field }) => field)];
        };
        await Deno.writeFile(picture, await encodeImage(tinyPicture(3200, 32, 1), "png"));
        assert.deepEqual(await stopped("/v1/features", features()), ["untrainable", "image"]);
        assert.deepEqual(await stopped("/v1/pca", pca({ vit_side: 32, vit_longest: 64 })), ["untrainable", "image"]);
        assert.deepEqual(await stopped("/v1/features", features([1, 2])), ["invalid_options", "layers"]);

        await Deno.writeFile(picture, await encodeImage(tinyPicture(50, 37, 1), "png"));
        assert.deepEqual(await stopped("/v1/pca", pca({ vit_side: 1024 })), ["invalid_options", "vit_side"]);
        await perform(features(), warm);
        const { tensors, metadata } = await readSafetensors(out);
        assert.ok(tensors.has("block.1.keys") && !tensors.has("block.0.keys"), "without any: the last block");
        assert.deepEqual(metadata, {
          kind: "splice-features",
          model: "vit",
          grid: "4x5",
          patch: "8",
          resized: "32x43",
        });
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    }),
);
