/** The list of a contact sheet as people write it. */
import assert from "node:assert/strict";
import { exampleList, parseSheetList } from "../../../src/splice/evaluation/sheet_list.ts";
import { drawSheet, sheetSize, thumbnail } from "../../../src/splice/evaluation/sheet_picture.ts";

const pair = { name: "A Cow's  day", structure: "a.jpg", appearance: "b.jpg" };

Deno.test("sheet: the example is a list; settings come over shared options, and those over a preset", () => {
  const read = parseSheetList(`\uFEFF${exampleList([pair])}`);
  assert.ok(read.ok);
  const { title, recipe, pairs, settings } = read.list;
  assert.deepEqual([title, recipe.preset, recipe.size], ["Each loss removed in turn", "quick", 160]);
  assert.equal(pairs[0].slug, "a-cow-s-day");
  assert.deepEqual(settings.map(({ slug }) => slug), [
    "full-objective",
    "without-appearance",
    "without-structure",
    "without-identity",
  ]);
  assert.deepEqual(settings[1].recipe, { ...recipe, weight_cls: 0, weight_entire_cls: 0 });
  const other = parseSheetList(JSON.stringify({
    options: { preset: "quick", seed: 3 },
    pairs: [pair],
    settings: [{ name: "plain" }, { name: "seed 4, small", options: { seed: 4, size: 64 } }],
  }));
  assert.ok(other.ok);
  assert.deepEqual(other.list.settings.map(({ method }) => method), ["splice", "splice"]);
  const short = other.list.settings.map(({ recipe: { seed, size, steps } }) => [seed, size, steps]);
  assert.deepEqual([other.list.title, ...short], [null, [3, 170, 300], [4, 64, 300]]);
});

Deno.test("sheet: all that is wrong is said at once, each where it stands", () => {
  const errors = (list: unknown) => {
    const read = parseSheetList(typeof list === "string" ? list : JSON.stringify(list));
    return read.ok ? [] : read.errors;
  };
  assert.match(errors("{")[0], /^it is not JSON \(/);
  const shape = errors({ pair: [], pairs: [{ name: "" }], settings: [] });
  for (const place of [/^pairs\[0\]\.name: /, /^pairs\[0\]\.structure: /, /^pairs\[0\]\.appearance: /, /^settings: /]) {
    assert.ok(shape.some((line) => place.test(line)), `${place} among ${shape}`);
  }
  assert.ok(shape.some((line) => /"pair"/.test(line)));
  assert.deepEqual(
    errors({
      options: { steps: 0 },
      pairs: [pair, { ...pair, name: "a cow's day!" }],
      settings: [{ name: "x", options: { weight_clss: 1, seed: -1 } }, { name: "X" }, {
        name: "colours",
        method: "colour",
        options: { steps: 3, size: 64 },
      }],
    }),
    [
      "options: Cannot use steps = 0: it must be a whole number from 1 to 1000000",
      "settings[0].options: Cannot use seed = -1: it must be a whole number from 0 to 4294967295",
      "settings[0].options: Cannot use weight_clss: there is no such option; did you mean weight_cls?",
      "settings[2].options: Cannot use steps: the method colour trains nothing; of all options it takes size and detail alone",
      'pairs[1].name: "a cow\'s day!" is too like that of [0]',
      'settings[1].name: "X" is too like that of [0]',
    ],
  );
});

Deno.test("sheet: folders' names are short enough for every system, without marks, and those of different names differ", () => {
  const slugs = (...names: string[]) => {
    const pairs = names.map((name) => ({ ...pair, name }));
    const read = parseSheetList(JSON.stringify({ pairs, settings: [{ name: "가".repeat(80) }] }));
    assert.ok(read.ok, String(!read.ok && read.errors));
    const { pairs: named, settings } = read.list;
    for (const { slug } of named) {
      assert.ok(new TextEncoder().encode(`${slug}--${settings[0].slug}`).length <= 255, slug);
    }
    return named.map(({ slug }) => slug);
  };
  assert.deepEqual(slugs("Élan, À la carte", "İstanbul", "Ⅷ ﬁne"), ["elan-a-la-carte", "istanbul", "viii-fine"]);
  assert.deepEqual(slugs("мой", "мои", "が", "か", "की", "का"), ["мой", "мои", "が", "か", "की", "का"]);
  const many = slugs("각".repeat(80), `${"각".repeat(79)}간`, "𝒜".repeat(40), "각".repeat(40), "각".repeat(41));
  assert.equal(new Set(many).size, many.length);
  assert.equal(many[3], "각".repeat(40));
  assert.match(many[0], /^각+-[0-9a-f]{8}$/);
});

Deno.test("sheet: the picture has room for every row and column, and shows what failed", () => {
  const picture = { width: 30, height: 20, data: new Float32Array(1800).fill(0.2) };
  const portrait = { width: 20, height: 60, data: new Float32Array(3600).fill(0.2) };
  const numbers = {
    structure_distance: 0,
    appearance_distance: 1e-5,
    appearance_cosine: 1,
    untouched_distance: 123.4,
    untouched_cosine: 0,
    layout_iou: 0.5,
  };
  const cells = [{ kind: "done", picture, numbers }, { kind: "failed", error: "why ".repeat(300) }, {
    kind: "waiting",
  }] as const;
  const content = {
    title: "Title",
    settings: ["a", "b b b b b b b b b b b b b b b b b b b b b b b b b b", "c"],
    notes: [],
  };
  const rows = [{ name: "one", structure: picture, appearance: portrait, cells }];
  const one = drawSheet({ ...content, rows, summaries: [null, null, null] });
  const two = drawSheet({
    ...content,
    rows: [...rows, { name: "two", structure: null, appearance: null, cells }],
    summaries: [{ mean: numbers, deviation: numbers }, null, null],
  });
  assert.equal(one.width, two.width);
  assert.ok(one.width > 5 * 300 && two.height > one.height + 200);
  const red = (sheet: typeof one) => {
    const plane = sheet.width * sheet.height;
    return sheet.data.subarray(0, plane).filter((value, i) => value > sheet.data[plane + i] + 0.3).length;
  };
  assert.ok(red(one) > 500, "the error is drawn");
  assert.ok(one.data.every((value) => value >= 0 && value <= 1));
});

Deno.test("sheet: thumbnails give the sheet that the pictures give, and its size is known before", () => {
  const wave = (width: number, height: number) => ({
    width,
    height,
    data: Float32Array.from({ length: 3 * width * height }, (_, i) => 0.5 + 0.4 * Math.sin(i / 7)),
  });
  const [wide, high, small] = [wave(700, 410), wave(350, 900), wave(90, 40)];
  const content = { title: null, settings: [], notes: ["note"], summaries: [] };
  for (const structure of [wide, high, small]) {
    const rows = [{ name: "one", structure, appearance: structure, cells: [] }];
    const tile = thumbnail(structure);
    const sheet = drawSheet({ ...content, rows });
    assert.deepEqual(drawSheet({ ...content, rows: [{ ...rows[0], structure: tile, appearance: tile }] }), sheet);
    assert.deepEqual(sheetSize({ ...content, rows }), { width: sheet.width, height: sheet.height });
  }
  const tile = thumbnail(high);
  assert.ok(tile.width <= 300 && tile.height === 375 && thumbnail(tile) === tile && thumbnail(small) === small);
});
