/** Random streams: streams that are their names' alone, and numbers spread as they should be. */
import assert from "node:assert/strict";
import { randomStream } from "../../src/engine/mod.ts";

const take = (count: number, next: () => number) => Array.from({ length: count }, next);
const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;

Deno.test("random: a name is a stream, the same each time, and other names are other streams", () => {
  const first = take(8, randomStream(7, 1, 2).uniform);
  assert.deepEqual(take(8, randomStream(7, 1, 2).uniform), first);
  const names = [[7, 2, 1], [7, 1], [7, 1, 2, 0], [8, 1, 2], [0], [], [0, 0], [-1], [2 ** 31], [1, 0], [0, 1]];
  const starts = names.map((name) => take(4, randomStream(...name).uniform).join());
  assert.equal(new Set([...starts, first.slice(0, 4).join()]).size, names.length + 1);
});

Deno.test("random: streams of neighbouring steps are not alike", () => {
  const streams = Array.from({ length: 2000 }, (_, step) => take(2, randomStream(3, step).uniform));
  const [a, b] = [0, 1].map((k) => streams.map((stream) => stream[k] - 0.5));
  const correlation = (x: readonly number[], y: readonly number[]) => 12 * mean(x.map((value, i) => value * y[i]));
  // Standard deviation of a correlation of 2000 pairs: 0.022.
  assert.ok(Math.abs(mean(a)) < 0.03);
  assert.ok(Math.abs(correlation(a, b)) < 0.09);
  assert.ok(Math.abs(correlation(a.slice(1), a.slice(0, -1))) < 0.09);
});

Deno.test("random: uniform, below and normal are spread as they should be", () => {
  const stream = randomStream(11);
  const uniform = take(20000, stream.uniform);
  assert.ok(uniform.every((x) => x >= 0 && x < 1));
  assert.ok(Math.abs(mean(uniform) - 1 / 2) < 0.01);
  assert.ok(Math.abs(mean(uniform.map((x) => x * x)) - 1 / 3) < 0.01);

  const counts = [0, 0, 0, 0, 0];
  for (const face of take(20000, () => stream.below(5))) counts[face]++;
  assert.ok(counts.every((count) => Math.abs(count - 4000) < 250), `${counts}`);

  const normal = take(20000, stream.normal);
  const moments = [1, 2, 3, 4].map((power) => mean(normal.map((x) => x ** power)));
  [0, 1, 0, 3].forEach((moment, i) => assert.ok(Math.abs(moments[i] - moment) < 0.2, `moment ${i + 1}: ${moments[i]}`));
});
