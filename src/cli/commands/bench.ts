/** `splice bench`: rates of the main kernels, the time of a training step and where it goes, planned memory. A table, or JSON. */
import type { Command } from "commander";
import type { BenchReport } from "../../splice/bench.ts";
import type { SideBySide } from "../runs/side_by_side.ts";
import { interruptible, modelStore, withRuntime } from "../runs/surroundings.ts";
import { type Common, EXIT, modelsFlag, type ModelsOption, verboseFlag } from "../terminal/usage.ts";

export function addBench(program: Command, finish: (code: number) => void): void {
  program.command("bench")
    .summary("how fast this adapter is: kernels, training steps, memory")
    .description(
      "Measures the main kernels and training steps of the bundled model on this adapter, and plans the memory of ViT-B/8.",
    )
    .option("--json", "print the numbers as JSON")
    .option("--against <folder>", "instead, time training steps in turns with those of another checkout of Splice")
    .option(...modelsFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice bench --json > bench.json")
    .action(async (options: Common & ModelsOption & { json?: boolean; against?: string }) => {
      if (options.against !== undefined) return finish(await compare(options.against, options));
      const report = await measure(options.models);
      console.log(options.json ? JSON.stringify(report, null, 2) : table(report));
      finish(EXIT.done);
    });
}

/** The bundled model, at the sides of the quick preset. */
const MODEL = "splice-tiny8";
const SIZES = [128, 256];

async function compare(folder: string, { json }: { json?: boolean }): Promise<number> {
  const { compareBuilds } = await import("../runs/side_by_side.ts");
  return await interruptible(async (signal) => {
    try {
      const onTurn = (text: string) => console.error(`timing ${text}`);
      const compared = await compareBuilds(folder, { sizes: SIZES, signal, onTurn });
      console.log(json ? JSON.stringify(compared, null, 2) : comparisonText(folder, compared));
      return EXIT.done;
    } catch (error) {
      if (signal.aborted) return EXIT.interrupted;
      throw error;
    }
  });
}

function comparisonText(folder: string, compared: readonly SideBySide[]): string {
  const lines = compared.map(({ size, here, there, steps }) =>
    `${cell(size, 0, 4)} px ${cell(there, 1, 10)} ms ${cell(here, 1, 10)} ms ${
      cell(there / here, 2, 9)
    }   (medians of ${steps})`
  );
  return [
    `a training step of ${MODEL}; there: ${folder}`,
    "            there          here  rate here / there",
    ...lines,
  ]
    .join("\n");
}

async function measure(models: string | undefined): Promise<BenchReport> {
  const { bench } = await import("../../splice/bench.ts");
  const { findModel, loadVit } = await import("../../weights/store/store.ts");
  const { presets } = await import("../../splice/transfer/recipe.ts");
  const extractor = await loadVit(await findModel(MODEL, modelStore(models)));
  return await withRuntime((runtime) =>
    bench({
      runtime,
      extractor,
      extractorSide: presets.quick.vit_side!,
      sizes: SIZES,
      onPart: (name) => console.error(`measuring ${name}`),
    })
  );
}

const cell = (value: number, digits: number, width: number) => value.toFixed(digits).padStart(width);
const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

function table({ adapter, profile, kernels, steps, planned }: BenchReport): string {
  const lines = [`adapter ${adapter}, ${profile} kernels, f32`, "", "kernel                              ms   GFLOP/s"];
  for (const { name, milliseconds, gflops } of kernels) {
    lines.push(`${name.padEnd(30)}${cell(milliseconds, 1, 8)}${cell(gflops, 1, 10)}`);
  }
  for (const step of steps) {
    const host = 100 * step.hostMilliseconds / step.milliseconds;
    lines.push(
      "",
      `training step, ${MODEL}, images of ${step.size} px, extractor at ${step.extractorSide} px: ${
        step.milliseconds.toFixed(0)
      } ms`,
      `  ${step.gflops.toFixed(1)} GFLOP/s = ${(100 * step.ofMatmul).toFixed(0)} % of the best matmul; host ${
        host.toFixed(1)
      } %; ` +
        `${step.dispatches} dispatches, ${step.submits} submit${step.submits === 1 ? "" : "s"}; ${
          mebibytes(step.plannedBytes)
        } planned`,
      "  kernels                 count        ms   share   GFLOP/s      GB/s",
    );
    for (const group of step.groups) {
      lines.push(
        `  ${group.name.padEnd(22)}${cell(group.dispatches, 0, 7)}${cell(group.milliseconds, 1, 10)}${
          cell(100 * group.share, 1, 7)
        }%` +
          `${cell(group.gflops, 1, 10)}${cell(group.gigabytesPerSecond, 2, 10)}`,
      );
    }
  }
  lines.push("", "planned memory of a training step");
  for (const { model, size, totalBytes, stateBytes, scratchBytes, largestBytes } of planned) {
    lines.push(
      `  ${model} at ${size} px: ${mebibytes(totalBytes)} (weights and images ${mebibytes(stateBytes)}, activations ${
        mebibytes(scratchBytes)
      }; ` +
        `largest tensor ${mebibytes(largestBytes)})`,
    );
  }
  return lines.join("\n");
}
