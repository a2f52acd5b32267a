/** `splice doctor`: looks at everything a training needs, and says what to do about what is wrong. */
import type { Command } from "commander";
import { type Common, EXIT, modelsFlag, type ModelsOption, verboseFlag } from "../terminal/usage.ts";

export function addDoctor(program: Command, finish: (code: number) => void): void {
  program.command("doctor")
    .summary("adapter, driver, memory, models, and what to do about each problem")
    .description(
      "Looks at the GPU, memory and models, and says what to do about each problem. Exit code 1: training cannot work.",
    )
    .option(...modelsFlag)
    .option(...verboseFlag)
    .addHelpText("after", "\nExample:\n  splice doctor")
    .action(async ({ models }: Common & ModelsOption) => {
      const { examine } = await import("../runs/examination.ts");
      finish((await examine((line) => console.log(line), models)) ? EXIT.done : EXIT.failed);
    });
}
