/** `splice similarity`: what resembles one place of a photograph, to the extractor. */
import type { Command } from "commander";
import type { Picture } from "../images/picture.ts";
import { look, type LookOptions, withLookOptions } from "./look.ts";

interface SimilarityOptions extends LookOptions {
  readonly at?: string;
}

export function addSimilarity(program: Command, finish: (code: number) => void): void {
  const command = program.command("similarity")
    .summary("paint what resembles one place of a photograph")
    .description(
      "Paints how much every part of the photograph resembles one patch of it, by the cosine of their keys: light is most alike. The patch is framed.",
    )
    .option("--at <x,y>", "a pixel of the photograph, counted from its upper left corner (default: the middle)")
    .option("--overlay", "over the photograph in grey");
  withLookOptions(command, "splice similarity --model dino-vitb8 --image cow.jpg --at 320,200 --out like-the-eye.png")
    .action(async (options: SimilarityOptions) => {
      const match = /^(\d{1,9}),(\d{1,9})$/.exec(options.at ?? "0,0");
      const pixel = ({ width, height }: Picture) =>
        options.at === undefined || !match
          ? { x: Math.floor(width / 2), y: Math.floor(height / 2) }
          : { x: Number(match[1]), y: Number(match[2]) };
      finish(
        await look(command, options, {
          problems: match
            ? []
            : [`Cannot use --at = ${JSON.stringify(options.at)}: it must be a pixel, x and y, as 320,200`],
          check({ picture }) {
            const { x, y } = pixel(picture);
            return x < picture.width && y < picture.height
              ? []
              : [`Cannot use --at = ${options.at}: the photograph has ${picture.width} x ${picture.height} pixels`];
          },
          async paint(looked) {
            const { similarityPicture } = await import("../splice/attention_maps.ts");
            return similarityPicture({ ...looked, overlay: options.overlay }, pixel(looked.picture));
          },
        }),
      );
    });
}
