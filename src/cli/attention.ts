/** `splice attention`: where [CLS] looks, head by head. */
import type { Command } from "commander";
import { look, type LookOptions, wholeNumber, withLookOptions } from "./look.ts";

interface AttentionOptions extends LookOptions {
  readonly head?: string;
}

export function addAttention(program: Command, finish: (code: number) => void): void {
  const command = program.command("attention")
    .summary("paint where the extractor's [CLS] looks, head by head")
    .description(
      "Paints how [CLS] shares out its attention over the photograph, a picture a head: light is where it looks most.",
    )
    .option("--head <number>", "one head alone, from 0 (default: all of them side by side)")
    .option("--overlay", "over the photograph in grey");
  withLookOptions(command, "splice attention --model dino-vitb8 --image cow.jpg --out attention.png")
    .action(async (options: AttentionOptions) => {
      const head = options.head === undefined ? undefined : wholeNumber(options.head);
      finish(
        await look(command, options, {
          problems: head === null
            ? [`Cannot use --head = ${JSON.stringify(options.head)}: it must be a head's number, from 0`]
            : [],
          check: ({ heads, model }) =>
            head !== undefined && head !== null && head >= heads
              ? [`Cannot use --head = ${head}: ${model} has ${heads} heads, 0 to ${heads - 1}`]
              : [],
          async paint(looked) {
            const { attentionPicture } = await import("../splice/attention_maps.ts");
            return attentionPicture({ ...looked, overlay: options.overlay }, head ?? undefined);
          },
        }),
      );
    });
}
