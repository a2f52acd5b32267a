/** What a user says of a model, on every command that takes one: where models are kept, which network of its file is meant, and what tensors do not tell. */
import type { Command } from "commander";
import { HALF, IMAGENET, type Normalisation } from "../../weights/formats/vit_family.ts";
import type { IdentifyOptions } from "../../weights/store/identify.ts";
import { modelsFlag, type ModelsOption } from "./usage.ts";

export interface ExtractorFlags extends ModelsOption {
  readonly network?: string | undefined;
  readonly heads?: string | undefined;
  readonly normalise?: string | undefined;
}

const MOST_HEADS = 256;

/** Adds them to a command that takes a model. */
export function withExtractorFlags(command: Command): Command {
  return command
    .option(
      "--network <name>",
      "of a model file with several networks, this one: teacher, student, ema, ... (default: the one meant to be used)",
    )
    .option(
      "--heads <number>",
      "heads of a block, where the model's file does not tell (default: as many as have 64 channels)",
    )
    .option(
      "--normalise <colours>",
      "what the model was trained with, where its file does not tell: imagenet, half, or mean and deviation as r,g,b,r,g,b (default: imagenet)",
    )
    .option(...modelsFlag);
}

/** What is wrong with them. */
export function extractorProblems({ heads, normalise }: ExtractorFlags): string[] {
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

/** What they say of the model; they must be without `extractorProblems`. */
export function identifyOptions({ network, heads, normalise }: ExtractorFlags): IdentifyOptions {
  const told = {
    heads: heads === undefined ? undefined : headsOf(heads) ?? undefined,
    normalisation: normalise === undefined ? undefined : normalisationOf(normalise) ?? undefined,
  };
  return { network, told };
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
