/** `splice similarity`: what resembles one place of a photograph, to the extractor. */
import type { Command } from "commander";
import { look, type LookFlags, withLookOptions } from "../runs/look.ts";
import { UsageError } from "../terminal/usage.ts";

interface SimilarityFlags extends LookFlags {
  readonly at?: string;
}

export function addSimilarity(program: Command, finish: (code: number) => void): void {
  const command = program.command("similarity")
    .summary("paint what resembles one place of a photograph")
    .description(
      "Paints how much every part of the photograph resembles one patch of it, by the cosine of their keys: light is most alike. The patch is framed.",
    )
    .option("--at <x,y>", "a pixel of the photograph, counted from its upper left corner (default: the middle)");
  withLookOptions(command, {
    look: "similarity",
    example: "splice similarity --model dino-vitb8 --image cow.jpg --at 320,200 --out like-the-eye.png",
  }).action(async (options: SimilarityFlags) => {
    const { at } = options;
    const [, x, y] = /^(\d{1,9}),(\d{1,9})$/.exec(at ?? "0,0") ?? [];
    const code = await look(command, "similarity", options, {
      problems: x === undefined
        ? [`Cannot use --at = ${JSON.stringify(at)}: it must be a pixel, x and y, as 320,200`]
        : [],
      /** The place that the pixel is: its middle, as parts of width and height. */
      place({ width, height }) {
        if (at === undefined) return {};
        if (Number(x) >= width || Number(y) >= height) {
          throw new UsageError([`Cannot use --at = ${at}: the photograph has ${width} x ${height} pixels`]);
        }
        return { x: (Number(x) + 0.5) / width, y: (Number(y) + 0.5) / height };
      },
    });
    finish(code);
  });
}
