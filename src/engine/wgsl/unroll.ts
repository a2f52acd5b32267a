/** Unrolled loops: one text for each of several numbers, joined to the text of a kernel. */

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** The texts of `items`, a line each, indented as a statement is. */
export function each(items: readonly number[], text: (item: number) => string): string {
  return items.map(text).join("\n  ");
}

/** `text(0) … text(count - 1)`, a line each. */
export function lines(count: number, text: (i: number) => string): string {
  return range(count).map(text).join("\n");
}
