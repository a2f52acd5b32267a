/** The measures of a result: against numbers that PyTorch, SciPy and LAPACK computed, and each part of them by itself. */
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { type Gpu, openGpu, randomStream } from "../../../src/engine/mod.ts";
import { decodeImage } from "../../../src/images/decode.ts";
import { scalePicture } from "../../../src/images/picture.ts";
import { type Evaluation, MEASURES, openEvaluator, summarise } from "../../../src/splice/evaluation/evaluation.ts";
import {
  aboveOtsu,
  foregroundOf,
  intersectionOverUnion,
  largestPart,
} from "../../../src/splice/evaluation/normalised_cut.ts";
import { secondVector } from "../../../src/splice/instruments/spectrum.ts";
import { loadVit } from "../../../src/weights/store/store.ts";
import { gpuTest } from "../../support/engine/gpu.ts";
import { tinyExtractor, tinyPicture } from "../../support/splice/tiny.ts";

const fixture = new URL("../../fixtures/evaluation/", import.meta.url);
const bundled = fileURLToPath(new URL("../../../models/splice-tiny8.safetensors", import.meta.url));
const picture = async (name: string) =>
  await decodeImage(await Deno.readFile(new URL(`${name}.png`, fixture)), { label: name });
const rowsOf = (mask: Uint8Array, cols: number) =>
  Array.from(
    { length: mask.length / cols },
    (_, row) => Array.from(mask.subarray(row * cols, (row + 1) * cols), (value) => value ? "#" : ".").join(""),
  );

gpuTest("evaluation: distances, masks and their overlap are those of PyTorch and a dense solution", async () => {
  const { side, longest, want, masks: wanted } = JSON.parse(Deno.readTextFileSync(new URL("want.json", fixture)));
  const gpu = await openGpu();
  try {
    const extractor = await loadVit(bundled);
    const evaluator = openEvaluator(gpu, { extractor, side, longest, resize: "bilinear" });
    const triple = {
      structure: await picture("structure"),
      appearance: await picture("appearance"),
      result: await picture("result"),
    };
    const { numbers, masks } = await evaluator.evaluate(triple);
    for (const name of MEASURES) {
      const error = Math.abs(numbers[name] - want[name]) / Math.abs(want[name]);
      assert.ok(error < 1e-5, `${name} is ${numbers[name]}, not ${want[name]}`);
    }
    for (const part of ["structure", "result"] as const) {
      assert.deepEqual(rowsOf(masks[part].mask, masks[part].cols), wanted[part]);
      assert.equal(masks[part].by, "cut");
      assert.deepEqual(masks[part].covered, { height: 1, width: 1 });
    }

    const same = await evaluator.evaluate({ ...triple, appearance: triple.structure, result: triple.structure });
    const perfect = { structure_distance: 0, appearance_distance: 0, untouched_distance: 0, layout_iou: 1 };
    for (const [name, value] of Object.entries(perfect)) assert.equal(same.numbers[name as keyof Evaluation], value);
    assert.ok(Math.abs(same.numbers.appearance_cosine - 1) < 1e-12);

    const square = scalePicture(triple.result, { width: 90, height: 90 });
    await assert.rejects(
      evaluator.evaluate({ ...triple, result: square }),
      /structure \(120 x 90\) and result \(90 x 90\): the extractor sees 15 x 12 and 12 x 12 patches; give a result/,
    );
  } finally {
    gpu.close();
  }
});

gpuTest(
  "evaluation: triples of many sizes take no more of the device than one, and give the numbers each gives alone",
  async () => {
    const gpu = await openGpu();
    try {
      const held = watchBuffers(gpu);
      const options = { extractor: tinyExtractor, side: 32, longest: 64, resize: "bilinear" } as const;
      const triples = [44, 80, 72, 72, 44].map((width) => ({
        structure: tinyPicture(width, 40, 1),
        appearance: tinyPicture(36, width, 2),
        result: tinyPicture(width, 40, 3),
      }));
      const alone: [Evaluation, number][] = [];
      for (const triple of triples) {
        const evaluator = openEvaluator(gpu, options);
        alone.push([(await evaluator.evaluate(triple)).numbers, held()]);
        evaluator.release();
      }
      assert.equal(held(), 0);
      const evaluator = openEvaluator(gpu, options);
      for (const [i, triple] of triples.entries()) {
        assert.deepEqual([(await evaluator.evaluate(triple)).numbers, held()], alone[i]);
      }
      await assert.rejects(evaluator.evaluate({ ...triples[0], result: tinyPicture(60, 40, 3) }), /Cannot compare/);
      assert.equal(held(), 0);
    } finally {
      gpu.close();
    }
  },
);

/** Bytes of the buffers that a device made from now on, and did not free. */
function watchBuffers({ device }: Gpu): () => number {
  const live = new Map<GPUBuffer, number>();
  const create = device.createBuffer.bind(device);
  device.createBuffer = (description) => {
    const buffer = create(description);
    live.set(buffer, buffer.size);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      live.delete(buffer);
      destroy();
    };
    return buffer;
  };
  return () => [...live.values()].reduce((sum, bytes) => sum + bytes, 0);
}

Deno.test("evaluation: mean and sample deviation over many", () => {
  const one = Object.fromEntries(MEASURES.map((name) => [name, 1])) as unknown as Evaluation;
  const { mean, deviation } = summarise([one, { ...one, layout_iou: 0.5 }, { ...one, layout_iou: 0 }]);
  assert.deepEqual([mean.layout_iou, deviation.layout_iou, deviation.structure_distance], [0.5, 0.5, 0]);
  assert.equal(summarise([one]).deviation.layout_iou, 0);
});

/** Patches that point one of few ways, [CLS] first: the cosine of two is 1 within a group, `between` across. */
function grouped(groups: string, between: number) {
  const names = [...groups.replaceAll(" ", "")];
  const t = names.length + 1;
  const similarity = Float64Array.from(
    { length: t * t },
    (_, i) => names[Math.floor(i / t) - 1] === names[i % t - 1] ? 1 : between,
  );
  const [rows, cols] = [groups.split(" ").length, groups.indexOf(" ")];
  return { rows, cols, similarity, attention: Float64Array.from(names, (_, i) => i / names.length) };
}

Deno.test("evaluation: a normalised cut finds the smaller of two groups, and of it the largest part", () => {
  const { mask, behind, by } = foregroundOf(grouped("......#. .##..... .##..... ........", 0.1));
  assert.equal(by, "cut");
  assert.deepEqual(rowsOf(mask, 8), ["........", ".##.....", ".##.....", "........"]);
  assert.deepEqual(rowsOf(behind!, 8), ["######.#", "#..#####", "#..#####", "########"]);
});

Deno.test("evaluation: where nothing can be cut, Otsu's threshold of the attention stands in", () => {
  for (const nothing of [grouped("abcd efgh", 0), grouped("aaaa aaaa", 0)]) {
    const { mask, behind, by } = foregroundOf({ ...nothing, attention: [0.1, 0.1, 0.9, 0.8, 0, 0, 0.2, 0.7] });
    assert.deepEqual([by, behind], ["attention", null]);
    assert.deepEqual(rowsOf(mask, 4), ["..##", "...#"]);
  }
  assert.deepEqual([...aboveOtsu([1, 1, 1])], [0, 0, 0]);
  assert.deepEqual([...aboveOtsu([5, 1, 2, 9, 8, 1])], [1, 0, 0, 1, 1, 0]);
});

Deno.test("evaluation: parts touch along sides; of equals the first; nothing has none", () => {
  const part = (...rows: string[]) => {
    const mask = Uint8Array.from(rows.join(""), (letter) => letter === "#" ? 1 : 0);
    return rowsOf(largestPart(mask, { rows: rows.length, cols: rows[0].length }), rows[0].length);
  };
  assert.deepEqual(part("##.#", "..##", "#..#"), ["...#", "..##", "...#"]);
  assert.deepEqual(part("#..#", "#..#"), ["#...", "#..."]);
  assert.deepEqual(part("...", "..."), ["...", "..."]);
  assert.equal(intersectionOverUnion(Uint8Array.of(1, 1, 0, 0), Uint8Array.of(0, 1, 1, 1)), 0.25);
  assert.equal(intersectionOverUnion(new Uint8Array(3), new Uint8Array(3)), 1);
});

Deno.test("spectrum: the second eigenvector of matrices whose eigenvectors are known", () => {
  const { normal } = randomStream(9);
  for (const [n, eigenvalues] of [[40, [1, 0.9]], [40, [1, 0.999999, 0.999998]], [3, [1, 0.2]]] as const) {
    const vectors: Float64Array[] = []; // orthonormal, by Gram and Schmidt
    for (let k = 0; k < n; k++) {
      let v = Float64Array.from({ length: n }, normal);
      for (const u of [...vectors, ...vectors]) {
        const share = u.reduce((sum, value, i) => sum + value * v[i], 0);
        v = v.map((value, i) => value - share * u[i]);
      }
      const length = Math.hypot(...v);
      vectors.push(v.map((value) => value / length));
    }
    const values = Array.from({ length: n }, (_, k) => eigenvalues[k] ?? 0.1 * (1 - k / n));
    const apply = (x: Float64Array) => {
      const sum = new Float64Array(n);
      for (const [k, u] of vectors.entries()) {
        const share = values[k] * u.reduce((all, value, i) => all + value * x[i], 0);
        for (let i = 0; i < n; i++) sum[i] += share * u[i];
      }
      return sum;
    };
    const first = vectors[0].map((value) => 7 * value);
    const found = secondVector(apply, { first, begin: Float64Array.from({ length: n }, normal) });
    const cosine = Math.abs(found.reduce((sum, value, i) => sum + value * vectors[1][i], 0));
    assert.ok(Math.abs(cosine - 1) < 1e-9, `${n}, ${eigenvalues}: ${cosine}`);
  }
});
