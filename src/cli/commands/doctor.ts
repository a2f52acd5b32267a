/** `splice doctor`: looks at everything a training needs, and says what to do about what is wrong. */
import type { Command } from "commander";
import { addClusterFlags, CLUSTER_ENVIRONMENT, type ClusterFlags, readCluster } from "../terminal/cluster_flags.ts";
import { type Common, EXIT, modelsFlag, type ModelsOption, verboseFlag } from "../terminal/usage.ts";

export function addDoctor(program: Command, finish: (code: number) => void): void {
  const command = program.command("doctor")
    .summary("adapter, driver, memory, models, and what to do about each problem")
    .description(
      "Looks at the GPU, memory and models, and says what to do about each problem. Exit code 1: training cannot work.",
    );
  addClusterFlags(command)
    .option(...modelsFlag)
    .option(...verboseFlag)
    .addHelpText(
      "after",
      `\nEnvironment:\n${CLUSTER_ENVIRONMENT}\nExample:\n  splice doctor\n  splice doctor --cluster nats://a:4222,nats://b:4222,nats://c:4222 --replicas 3`,
    )
    .action(async ({ models, ...flags }: Common & ModelsOption & ClusterFlags) => {
      const { examine } = await import("../runs/examination.ts");
      const cluster = await readCluster(flags);
      finish((await examine((line) => console.log(line), { models, cluster })) ? EXIT.done : EXIT.failed);
    });
}
