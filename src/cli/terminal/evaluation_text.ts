/** The numbers of evaluations as a table for people. */
import { COMPARABLE, distanceText, type Evaluation } from "../../splice/evaluation/evaluation.ts";

export interface EvaluationTextOptions {
  /** Where there is more than one. */
  readonly summary: Record<"mean" | "deviation", Evaluation> | null;
  readonly about: { readonly model: string; readonly vit_side: number };
}

/** A triple with its numbers, or why it has none. */
export type EvaluationRow =
  | { readonly name: string; readonly masks_by: string } & Evaluation
  | { readonly name: string; readonly error: string };

const HEAD = ["", "from structure", "from appearance", "(cosine)", "untouched", "(cosine)", "layout IoU"];

/** A row each, then mean and deviation of those that could be measured, then what the numbers are. */
export function evaluationText(
  rows: readonly EvaluationRow[],
  { summary, about }: EvaluationTextOptions,
): string {
  const table: Line[] = [HEAD, ...rows.map((row) => "error" in row ? row : lineOf(row.name, row))];
  if (summary) table.push(lineOf("mean", summary.mean), lineOf("deviation", summary.deviation));
  const width = (i: number) =>
    Math.max(...table.map((line) => "error" in line ? (i ? 0 : line.name.length) : line[i].length));
  const widths = HEAD.map((_, i) => width(i));
  const lines = table.map((line) =>
    "error" in line
      ? [line.name.padEnd(widths[0]), `FAILED. ${line.error}`]
      : line.map((text, i) => i ? text.padStart(widths[i]) : text.padEnd(widths[i]))
  );
  return [
    ...lines.map((line) => line.join("  ")),
    "",
    `By ${about.model}, which saw the short side at ${about.vit_side} px. Distances are mean squared differences, smaller is nearer;`,
    '"untouched" is the distance of the structure picture itself from the appearance picture.',
    ...wrapped(COMPARABLE, 110),
  ].join("\n");
}

/** A cell each; what failed has none. */
type Line = readonly string[] | { readonly name: string; readonly error: string };

function lineOf(name: string, numbers: Evaluation): string[] {
  const { structure_distance, appearance_distance, appearance_cosine, untouched_distance, untouched_cosine } = numbers;
  return [
    name,
    distanceText(structure_distance),
    distanceText(appearance_distance),
    appearance_cosine.toFixed(3),
    distanceText(untouched_distance),
    untouched_cosine.toFixed(3),
    numbers.layout_iou.toFixed(2),
  ];
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
