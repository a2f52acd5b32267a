/** What the extractor sees, as numbers and pictures: principal components against scikit-learn's up to sign, attention against PyTorch's, and where things lie. */
import assert from "node:assert/strict";
import { compile, f32, input, randomStream, resample } from "../../../src/engine/mod.ts";
import type { Picture } from "../../../src/images/picture.ts";
import {
  attentionPicture,
  clsAttention,
  meanAttention,
  similarityPicture,
  similarityTo,
} from "../../../src/splice/instruments/attention_maps.ts";
import { type ExtractedFeatures, extractFeatures } from "../../../src/splice/instruments/features.ts";
import { framed, heatColours, paintGrid, patchAt, sideBySide } from "../../../src/splice/instruments/grid_picture.ts";
import { tooMuch } from "../../../src/splice/instruments/look.ts";
import { type LookName, parseLook } from "../../../src/splice/instruments/look_options.ts";
import { pcaColours, pcaPicture, principalScores } from "../../../src/splice/instruments/pca.ts";
import { gpuTest, type TestGpu } from "../../support/engine/gpu.ts";
import { openInversionCases } from "../../support/splice/inversion_cases.ts";
import { relativeError } from "../../support/engine/numbers.ts";
import { describeEntry, MODELS } from "../../../src/weights/store/manifest.ts";
import { tinyExtractor, tinyPicture } from "../../support/splice/tiny.ts";

const parity = await openInversionCases();

async function features({ runtime }: TestGpu, picture: Picture, side: number): Promise<ExtractedFeatures> {
  const options = { layers: [0, 1], side, longest: 160, resize: "bilinear" } as const;
  return await extractFeatures(runtime, { extractor: tinyExtractor, picture, ...options });
}

function attention(features: ExtractedFeatures, layer: number): Float64Array[] {
  const [queries, keys] = ["queries", "keys"].map((name) => features.tensors.get(`block.${layer}.${name}`)!.data);
  return clsAttention({ ...features, queries, keys });
}

gpuTest("pca: scores are scikit-learn's up to sign, attention is PyTorch's", async (gpu) => {
  const seen = await features(gpu, parity.picture, parity.side);
  for (const layer of [0, 1]) {
    const { data, shape: [tokens] } = seen.tensors.get(`self_similarity.${layer}`)!;
    const scores = principalScores(data, { rows: tokens, columns: tokens, count: 3 });
    const want = parity.want.get(`pca.${layer}`)!.data;
    for (const k of [0, 1, 2]) {
      const [got, wanted] = [scores, want].map((x) => Array.from(x).filter((_, i) => i % 3 === k));
      const error = Math.min(relativeError(got, wanted), relativeError(got.map((x) => -x), wanted));
      assert.ok(error < 1e-3, `component ${k} of block ${layer} is off by ${error}`);
    }
    const shares = attention(seen, layer);
    const wanted = parity.want.get(`attention.${layer}`)!;
    assert.equal(shares.length, wanted.shape[0]);
    for (const [head, got] of shares.entries()) {
      const row = wanted.data.slice(head * tokens + 1, (head + 1) * tokens);
      assert.ok(relativeError(got, row) < 1e-5, `head ${head} of block ${layer}`);
    }
  }
});

Deno.test("pca: the components of a matrix made of three, noise and a constant", () => {
  const [rows, columns] = [60, 41];
  const { normal } = randomStream(5);
  const draw = (length: number) => Float64Array.from({ length }, normal);
  const [a, b] = [draw(rows * 3), draw(columns * 3)];
  const strength = [30, 8, 7.5];
  const data = Float64Array.from({ length: rows * columns }, (_, i) => {
    const [r, c] = [Math.floor(i / columns), i % columns];
    return 100 + 1e-9 * normal() + strength.reduce((sum, s, k) => sum + s * a[r * 3 + k] * b[c * 3 + k], 0);
  });
  const scores = principalScores(data, { rows, columns, count: 3 });
  const column = (k: number) => Array.from({ length: rows }, (_, r) => scores[r * 3 + k]);
  const along = (x: number[], y: number[]) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const means = Array.from({ length: columns }, (_, c) => {
    return Array.from({ length: rows }, (_, r) => data[r * columns + c]).reduce((x, y) => x + y) / rows;
  });
  const variance = data.reduce((sum, value, i) => sum + (value - means[i % columns]) ** 2, 0);
  const parts = [0, 1, 2].map((k) => along(column(k), column(k)));
  assert.ok(Math.abs(parts.reduce((x, y) => x + y) / variance - 1) < 1e-9, "three components are all there is");
  assert.ok(parts[0] > parts[1] && parts[1] > parts[2]);
  for (const [i, j] of [[0, 1], [0, 2], [1, 2]]) {
    assert.ok(Math.abs(along(column(i), column(j))) < 1e-6 * parts[2], `components ${i} and ${j} are orthogonal`);
  }
  for (const k of [0, 1, 2]) {
    assert.ok(Math.abs(along(column(k), Array(rows).fill(1))) < 1e-6);
    assert.ok(Math.max(...column(k)) >= -Math.min(...column(k)), "the largest score is positive");
  }
  assert.deepEqual(
    principalScores(new Float32Array(20).fill(3), { rows: 4, columns: 5, count: 3 }),
    new Float64Array(12),
    "where nothing varies there is nothing",
  );
});

gpuTest(
  "pca, attention, similarity: pictures have the photograph's size, and patches stand in their places",
  async (gpu) => {
    // Left half dark and smooth, right half bright stripes; 70 x 44, so patches do not divide it.
    const picture: Picture = tinyPicture(70, 44, 1);
    for (const i of picture.data.keys()) {
      const [y, x] = [Math.floor(i / 70) % 44, i % 70];
      picture.data[i] = x < 35 ? 0.1 : y % 4 < 2 ? 1 : 0.5;
    }
    const seen = await features(gpu, picture, 44);
    assert.deepEqual([seen.grid, seen.patch, seen.seen], [{ rows: 5, cols: 8 }, 8, { height: 44, width: 70 }]);
    const colours = pcaColours(seen, 0);
    assert.deepEqual([Math.min(...colours), Math.max(...colours), colours.length], [0, 1, 120]);
    const painted = pcaPicture(seen, 0, picture);
    assert.deepEqual([painted.width, painted.height], [70, 44]);
    const colourAt = (x: number, y: number) => [0, 1, 2].map((c) => painted.data[(c * 44 + y) * 70 + x]);
    const apart = (a: number[], b: number[]) => Math.hypot(...a.map((value, c) => value - b[c]));
    assert.ok(apart(colourAt(10, 10), colourAt(60, 10)) > 3 * apart(colourAt(10, 10), colourAt(10, 30)));

    const alike = similarityTo(seen, 0, { row: 1, col: 1 });
    assert.ok(Math.abs(alike[1 * 8 + 1] - 1) < 1e-5);
    assert.ok(alike[3 * 8 + 2] > alike[3 * 8 + 6], "the left resembles the left");
    for (const overlay of [false, true]) {
      const heat = similarityPicture({ features: seen, layer: 0, picture, overlay }, { x: 12, y: 12 });
      assert.deepEqual([heat.width, heat.height], [70, 44]);
      assert.deepEqual([0, 1, 2].map((c) => heat.data[(c * 44 + 7) * 70 + 12]), [1, 1, 1], "framed");
      assert.ok(heat.data.every((value) => value >= 0 && value <= 1));
      const heads = attentionPicture({ features: seen, layer: 1, picture, overlay });
      assert.deepEqual([heads.width, heads.height], [70, 44], "this model has one head");
    }
    const [shares] = attention(seen, 1);
    assert.ok(shares.length === 40 && shares.every((share) => share > 0 && share < 1));
    assert.ok(shares.reduce((a, b) => a + b) < 1);
  },
);

Deno.test("pictures of patches: enlarging, colours, frames, many side by side", () => {
  const grid = { rows: 2, cols: 2, patch: 8, seen: { height: 16, width: 19 } };
  const steps = Float32Array.of(0, 1, 0, 1, 0, 0, 1, 1, 0.5, 0.5, 0.5, 0.5); // red: columns; green: rows; blue: even
  const { data } = paintGrid(steps, grid, { width: 38, height: 32 });
  const at = (c: number, x: number, y: number) => data[(c * 32 + y) * 38 + x];
  assert.deepEqual([at(0, 0, 0), at(0, 37, 31), at(1, 0, 0), at(1, 37, 31), at(2, 19, 9)], [0, 1, 0, 1, 0.5]);
  // Pixel centres: x = 15 lies at (15.5 / 2) / 8 - 0.5 = 0.46875 between the two patches.
  assert.ok(Math.abs(at(0, 15, 3) - 0.46875) < 1e-6);
  assert.ok(Math.abs(at(1, 3, 16) - (16.5 / 16 - 0.5)) < 1e-6);
  const size = { width: 38, height: 32 };
  assert.deepEqual(patchAt({ x: 0, y: 0 }, grid, size), { row: 0, col: 0 });
  assert.deepEqual(patchAt({ x: 16, y: 15 }, grid, size), { row: 0, col: 1 });
  assert.deepEqual(patchAt({ x: 37, y: 31 }, grid, size), { row: 1, col: 1 }, "beyond the patches, the nearest");

  const ends = heatColours(Float32Array.of(-3, 7, 2));
  const hex = (i: number) => [0, 1, 2].map((c) => Math.round(255 * ends[3 * c + i]).toString(16)).join("");
  assert.deepEqual([hex(0), hex(1), hex(2)], ["44154", "fde725", "21918c"]);
  const [dark, light] = [heatColours([0, 1]).filter((_, i) => i % 2 === 0), heatColours([1, 0], { most: 1 })[0]];
  assert.deepEqual(heatColours([4, 4]).filter((_, i) => i % 2 === 0), dark);
  for (const alike of [[1], [1, 1 - 6e-8], [1 + 1.2e-7]]) {
    assert.ok(heatColours(alike, { most: 1 }).slice(0, alike.length).every((red) => red === light), `${alike}: light`);
  }

  const black = { width: 38, height: 32, data: new Float32Array(3 * 38 * 32) };
  const frame = framed(black, { row: 1, col: 0 }, grid).data;
  assert.deepEqual([frame[15 * 38 + 3], frame[16 * 38 + 3], frame[20 * 38 + 16], frame[20 * 38 + 15]], [1, 0, 1, 0]);
  const four = sideBySide([black, black, black]);
  assert.deepEqual([four.width, four.height], [84, 72]);
  assert.equal(four.data.filter((value) => value === 0).length, 3 * 3 * 38 * 32);
  const sizes = [[3, 4, 14], [3, 400, 4], [6, 8, 12], [12, 12, 9], [1, 4, 90]].map(([count, width, height]) => {
    const one = { width, height, data: new Float32Array(3 * width * height) };
    const whole = sideBySide(Array(count).fill(one));
    return [(whole.width + 8) / (width + 8), (whole.height + 8) / (height + 8)];
  });
  assert.deepEqual(sizes, [[3, 1], [1, 3], [3, 2], [3, 4], [1, 1]], "no more columns than pictures, and rows are even");
});

Deno.test("attention: of several heads the mean counts", () => {
  const [width, tokens] = [128, 3];
  const queries = Float32Array.from({ length: width }, (_, d) => d < 64 ? 1 : 0);
  const keys = Float32Array.from({ length: tokens * width }, (_, i) => i >= 2 * width ? Math.log(2) / 8 : 0);
  const vit = { dim: width, heads: 2, registers: 0, positions: "dino" } as const;
  const options = { queries, keys, vit, grid: { rows: 1, cols: 2 } };
  const near = (got: Float64Array, ...wanted: number[]) => {
    for (const [i, value] of wanted.entries()) assert.ok(Math.abs(got[i] - value) < 1e-6, `${got} is ${wanted}`);
  };
  const heads = clsAttention(options);
  assert.equal(heads.length, 2);
  near(heads[0], 1 / 4, 2 / 4);
  near(heads[1], 1 / 3, 1 / 3);
  near(meanAttention(options), 7 / 24, 5 / 12);
});

gpuTest("features: of a photograph that no buffer holds are those of what is seen of it", async ({ runtime }) => {
  const limits = { ...runtime.gpu.limits, bindingBytes: 2 ** 20 };
  const narrow = { ...runtime, gpu: { ...runtime.gpu, limits } };
  const options = { extractor: tinyExtractor, layers: [1], side: 32, longest: 64 };
  const picture = tinyPicture(400, 300, 1); // 1.4 MB
  for (const resize of ["bilinear", "bicubic"] as const) {
    const { tensors, seen } = await extractFeatures(narrow, { ...options, resize, picture });
    assert.deepEqual(seen, { height: 32, width: 42 });
    const shown = input("picture", f32(3, 300, 400));
    const roots = new Map([["seen", resample(shown, { ...seen, mode: resize })]]);
    const [program] = await runtime.load([compile("resize", { roots }, { profile: runtime.gpu.profile }).step]);
    runtime.run(program, new Map([["picture", picture.data]]));
    const data = await runtime.readOutput(program, "seen") as Float32Array<ArrayBuffer>;
    const again = await extractFeatures(runtime, { ...options, resize, picture: { ...seen, data } });
    const difference = relativeError(tensors.get("block.1.keys")!.data, again.tensors.get("block.1.keys")!.data);
    assert.ok(difference < 1e-5, `${resize}: ${difference}`);
  }
});

Deno.test("looks: what takes too long or all memory is refused with what does not, wherever it is asked for", () => {
  const vit = describeEntry(MODELS.find(({ name }) => name === "dino-vitb8")!);
  const said = (name: LookName, options: Record<string, unknown>, size: readonly [number, number]) => {
    const parsed = parseLook(name, options);
    assert.ok(parsed.ok);
    return tooMuch(parsed.look, { vit, picture: { width: size[0], height: size[1] }, mostPatches: 3200 });
  };
  const message =
    "Cannot paint all 12 heads of a photograph of 4000 x 3000: together that is more than 64 megapixels; " +
    "name one head, or scale the photograph down";
  assert.deepEqual(said("attention", {}, [4000, 3000]), { field: "head", message });
  assert.equal(said("attention", { head: 11 }, [4000, 3000]), null);
  assert.equal(said("attention", {}, [2000, 1500]), null);
  assert.deepEqual(said("pca", { vit_side: 1024 }, [500, 500]), {
    field: "vit_side",
    message: "Cannot use vit_side = 1024: the photograph would be seen as 16384 patches, and components are found of " +
      "3200 at most; vit_side 455 would do",
  });
  assert.equal(said("pca", { vit_side: 455 }, [500, 500]), null);
  assert.match(said("pca", { vit_side: 456 }, [500, 500])!.message, /seen as 3249 patches/);
  assert.equal(said("pca", {}, [4000, 3000]), null);
  assert.equal(said("similarity", { vit_side: 1024 }, [4000, 3000]), null);
});
