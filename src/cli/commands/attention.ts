/** `splice attention`: where [CLS] looks, head by head. */
import type { Command } from "commander";
import { look, type LookFlags, withLookOptions } from "../runs/look.ts";

export function addAttention(program: Command, finish: (code: number) => void): void {
  const command = program.command("attention")
    .summary("paint where the extractor's [CLS] looks, head by head")
    .description(
      "Paints how [CLS] shares out its attention over the photograph, a picture a head: light is where it looks most.",
    );
  withLookOptions(command, {
    look: "attention",
    example: "splice attention --model dino-vitb8 --image cow.jpg --out attention.png",
  }).action(async (options: LookFlags) => finish(await look(command, "attention", options)));
}
