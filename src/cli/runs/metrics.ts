/**
 * The file of `--metrics`: one JSON object a step, in order, each step once. A run that goes on from a checkpoint goes on in the
 * same file: what lies after the checkpoint is cut off and comes again. (The package ndjson 2.0 would write the lines; where to
 * cut, which is most of this file, it leaves to its caller.)
 */
import { TERMS } from "../../splice/transfer/objective.ts";
import type { StepReport } from "../../splice/transfer/trainer.ts";

export interface Metrics {
  add(reports: readonly StepReport[]): void;
  close(): void;
}

/** Opens the file for the steps from `step` on; 0 begins it anew. */
export async function openMetrics(path: string, step: number): Promise<Metrics> {
  const keep = step === 0 ? 0 : await lengthUpTo(path, step);
  const file = await Deno.open(path, { write: true, create: true });
  if (keep === 0 || (await file.stat()).isFile) await file.truncate(keep).catch(() => {}); // a pipe has no length
  await file.seek(keep, Deno.SeekMode.Start).catch(() => {});
  const encoder = new TextEncoder();
  return {
    add(reports) {
      const bytes = encoder.encode(reports.map((report) => `${JSON.stringify(lineOf(report))}\n`).join(""));
      for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    },
    close: () => file.close(),
  };
}

function lineOf({ step, losses, ms }: StepReport): Record<string, number> {
  const line: Record<string, number> = { step, total: losses.total! };
  for (const term of TERMS) if (losses[term] !== undefined) line[term] = losses[term];
  return { ...line, ms: Number(ms.toFixed(3)) };
}

/** The length in bytes of the lines before `step`. A file that is not there begins with `step`; one with a gap is refused. */
async function lengthUpTo(path: string, step: number): Promise<number> {
  const text = await Deno.readTextFile(path).catch(() => "");
  let [length, next]: [number, number | null] = [0, null];
  for (const line of text.split(/(?<=\n)/)) {
    const found = stepOf(line);
    if (found === null || (next !== null && found !== next) || found >= step) break;
    length += new TextEncoder().encode(line).length;
    next = found + 1;
  }
  if (text !== "" && next !== step) {
    throw new Error(
      `Cannot go on in --metrics ${path}: it ends before step ${step}, where the checkpoint is; name another file or the one of that run`,
    );
  }
  return length;
}

function stepOf(line: string): number | null {
  if (!line.endsWith("\n")) return null;
  try {
    const { step } = JSON.parse(line);
    return Number.isInteger(step) ? step : null;
  } catch {
    return null;
  }
}
