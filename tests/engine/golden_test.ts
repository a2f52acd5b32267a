/**
 * Three small graphs, after each pass and as programs, as text under tests/engine/golden: a change of a pass is a diff to read.
 *
 *   deno task test tests/engine/golden_test.ts -- --update     writes the texts anew
 *
 * Programs are for a made-up adapter, the same everywhere. Their grids are the kernels' business and left out, so that tuning a
 * kernel does not touch these files.
 */
import assert from "node:assert/strict";
import { promisedProfile } from "../support/engine/profiles.ts";
import { compilationText, smallGraphs } from "../support/engine/small_graphs.ts";

const folder = new URL("./golden/", import.meta.url);
const update = Deno.args.includes("--update");

for (const [name, build] of Object.entries(smallGraphs)) {
  Deno.test(`golden: ${name}`, () => {
    const file = new URL(`${name}.txt`, folder);
    const grids = / \[[\d,]+\] /g;
    const text = compilationText(name, build(), { profile: promisedProfile("portable") }).replaceAll(grids, " ");
    if (update) Deno.writeTextFileSync(file, text);
    assert.equal(
      text,
      Deno.readTextFileSync(file),
      `tests/engine/golden/${name}.txt is another text; --update writes it anew`,
    );
  });
}
