/** `splice pca`: what the extractor takes for alike, as colours. */
import type { Command } from "commander";
import { look, type LookFlags, withLookOptions } from "../runs/look.ts";

export function addPca(program: Command, finish: (code: number) => void): void {
  const command = program.command("pca")
    .summary("paint what the extractor takes for alike in like colours")
    .description(
      "Paints three principal components of the keys' self-similarity as red, green and blue: parts that are alike to the extractor get like colours.",
    );
  withLookOptions(command, {
    look: "pca",
    example: "splice pca --model dino-vitb8 --image cow.jpg --layer 11 --out parts.png",
  }).action(async (options: LookFlags) => finish(await look(command, "pca", options)));
}
