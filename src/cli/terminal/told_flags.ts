/** What a user says of a model file that its tensors do not tell: the number of heads, and what colours it was trained with. */
import type { Command } from "commander";
import { HALF, IMAGENET, type Normalisation, type Told } from "../../weights/formats/vit_family.ts";

export interface ToldFlags {
  readonly heads?: string | undefined;
  readonly normalise?: string | undefined;
}

const MOST_HEADS = 256;

/** Adds them to a command that takes a model file. */
export function withToldFlags(command: Command): Command {
  return command
    .option(
      "--heads <number>",
      "heads of a block, where the model's file does not tell (default: as many as have 64 channels)",
    )
    .option(
      "--normalise <colours>",
      "what the model was trained with, where its file does not tell: imagenet, half, or mean and deviation as r,g,b,r,g,b (default: imagenet)",
    );
}

/** What is wrong with them. */
export function toldProblems({ heads, normalise }: ToldFlags): string[] {
  const problems: string[] = [];
  if (heads !== undefined && headsOf(heads) === null) {
    problems.push(`Cannot use --heads = ${JSON.stringify(heads)}: it must be a whole number from 1 to ${MOST_HEADS}`);
  }
  if (normalise !== undefined && normalisationOf(normalise) === null) {
    problems.push(
      `Cannot use --normalise = ${
        JSON.stringify(normalise)
      }: it must be imagenet, half, or six numbers, the mean of red, green and blue and their deviation ` +
        "above 0, as 0.5,0.5,0.5,0.5,0.5,0.5",
    );
  }
  return problems;
}

/** What they say; they must be without `toldProblems`. */
export function toldOf({ heads, normalise }: ToldFlags): Told {
  return {
    heads: heads === undefined ? undefined : headsOf(heads) ?? undefined,
    normalisation: normalise === undefined ? undefined : normalisationOf(normalise) ?? undefined,
  };
}

function headsOf(text: string): number | null {
  const heads = Number(text);
  return /^\d{1,4}$/.test(text) && heads >= 1 && heads <= MOST_HEADS ? heads : null;
}

function normalisationOf(text: string): Normalisation | null {
  if (text === "imagenet") return IMAGENET;
  if (text === "half") return HALF;
  const numbers = text.split(",").map((part) => /^\d*\.?\d+$/.test(part) ? Number(part) : NaN);
  const [mean, deviation] = [numbers.slice(0, 3), numbers.slice(3)];
  const good = numbers.length === 6 && numbers.every(Number.isFinite) && deviation.every((value) => value > 0);
  return good ? { mean, deviation } : null;
}
