/**
 * Rows on a GPU: how row_frame.ts's `Row` is written where a workgroup shares a row.
 *
 * A lane takes several words of each operand at a time, by fours where all of them lie so, and all its loads stand before what is done with them. Indices past the row's
 * end are those of its last word: for a maximum or a store that changes nothing, in a sum it counts as 0. A sum takes two barriers, and its order is fixed.
 */
import { range } from "../unroll.ts";

/** Loads of a lane that are under way at once, at least. */
const LOADS = 4;

export interface WideReader {
  /** Buffers of the operands that are walked; null for one that has a single word for the row, loaded before as `l{k}`. */
  readonly sources: readonly (string | null)[];
  /** Whether words are counted by fours. */
  readonly quads: boolean;
  /** Statements, and then the address of every walked operand, of the row's word or four `at`. `tag` tells one place from another. */
  locate(at: string, tag: string): { readonly text: string; readonly addresses: readonly string[] };
  /** Statements after which v0, v1, … are the op's inputs, in terms of l0, l1, …. */
  readonly values: string;
}

/** Lanes of a row: a small workgroup for short ones, which then needs one hop less. */
export function wideLanes(length: number, maxInvocations: number): number {
  return Math.min(length <= 4096 ? 64 : 256, maxInvocations);
}

/** Workgroup memory and `row_sum`, `row_max`: every lane's value becomes that of all. */
export function widePrelude(lanes: number): string {
  // A lane adds sixteen, then every lane the sums of these: each hop one barrier, and one at the end, before the memory is used again.
  const hops = lanes / 16;
  const tree = (name: string, combine: (a: string, b: string) => string) => `
fn ${name}(value: f32, lane: i32) -> f32 {
  own_values[lane] = value;
  workgroupBarrier();
  if (lane < ${hops}) {
    var some = own_values[lane * 16];
${range(15).map((i) => `    some = ${combine("some", `own_values[lane * 16 + ${i + 1}]`)};`).join("\n")}
    some_values[lane] = some;
  }
  workgroupBarrier();
  var all = some_values[0];
${range(hops - 1).map((i) => `  all = ${combine("all", `some_values[${i + 1}]`)};`).join("\n")}
  return all;
}
`;
  return `var<workgroup> own_values: array<f32, ${lanes}>;\nvar<workgroup> some_values: array<f32, ${hops}>;` +
    tree("row_sum", (a, b) => `${a} + ${b}`) + tree("row_max", (a, b) => `max(${a}, ${b})`);
}

/**
 * A loop over the lane's words. `text` is what is done with one, in terms of j, v0, v1, …, of `inside`, whether it is the row's own, and of `out_at`, its place in an output
 * of the row's length. `first` and `last` stand around what is done with those that are loaded together.
 */
export function wideLoop(
  { sources, quads, locate, values }: WideReader,
  { lanes, first = "", text, last = "" }: { lanes: number; first?: string; text: string; last?: string },
): string {
  const walked = sources.filter((source) => source !== null).length;
  const items = range(Math.ceil(LOADS / Math.max(walked, 1)));
  const words = quads ? range(4) : [0];
  const load = (item: number) => {
    const { text, addresses } = locate(`at${item}`, `${item}`);
    const loads = sources.flatMap((source, k) => {
      if (source === null) return [];
      const loaded = words.map((c) => `${source}[${quads ? `(${addresses[k]}) * 4 + ${c}` : addresses[k]}]`);
      return [`let x${item}_${k} = ${quads ? `vec4f(${loaded.join(", ")})` : loaded[0]};`];
    });
    return [text, ...loads].join("\n");
  };
  const take = (item: number, c: number) =>
    `{
let j = at${item}${quads ? ` * 4 + ${c}` : ""};
let out_at = ${
      quads ? `((p.out_offset + row * p.length) / 4 + at${item}) * 4 + ${c}` : "p.out_offset + row * p.length + j"
    };
let inside = own${item} < end;
${sources.map((source, k) => source === null ? "" : `let l${k} = x${item}_${k}${quads ? `[${c}]` : ""};`).join(" ")}
${values}
${text}
}`;
  return `{
let end = p.length${quads ? " / 4" : ""};
for (var base = 0; base < end; base += ${lanes * items.length}) {
${
    items.map((item) =>
      `let own${item} = base + lane_in_row + ${item * lanes};\nlet at${item} = min(own${item}, end - 1);`
    ).join("\n")
  }
${items.map(load).join("\n")}
${first}
${items.flatMap((item) => words.map((c) => take(item, c))).join("\n")}
${last}
}
}`;
}
