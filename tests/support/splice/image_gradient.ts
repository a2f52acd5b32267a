/** The gradient of sum(cls^2) + mean(keys^2) + sum(S^2), all of the last block, to a picture that is seen as it is. */
import {
  add,
  compile,
  div,
  f32,
  gradients,
  input,
  mul,
  type Runtime,
  sizeOf,
  slice,
  sumAll,
  type Value,
} from "../../../src/engine/mod.ts";
import type { Picture } from "../../../src/images/picture.ts";
import { openVit, prepareImage, seenSize, selfSimilarity, vitBlocks } from "../../../src/nets/vit.ts";
import { type Extractor, uploadExtractor } from "../../../src/splice/transfer/extractor.ts";

export async function imageGradient(
  runtime: Runtime,
  { extractor, picture: { width, height, data }, side, longest }: {
    readonly extractor: Extractor;
    readonly picture: Picture;
    readonly side: number;
    readonly longest: number;
  },
): Promise<Float32Array> {
  const net = openVit(extractor.vit);
  const image = input("image", f32(3, height, width));
  const seen = prepareImage(net, image, { ...seenSize(height, width, side, longest), resize: "bilinear" });
  const { tokens, keys } = vitBlocks(net, seen).at(-1)!;
  const squares = (x: Value) => sumAll(mul(x, x));
  const meanKeys = div(squares(keys), sizeOf(keys.type.shape));
  const scalar = add(add(squares(slice(tokens, 0, 0, 1)), meanKeys), squares(selfSimilarity(keys)));
  const graph = { roots: new Map([["gradient", gradients(scalar, [image])[0]]]) };
  const { prelude, step } = compile("gradient", graph, { profile: runtime.gpu.profile });
  uploadExtractor(runtime, extractor, [prelude, step]);
  if (prelude) runtime.run((await runtime.load([prelude]))[0]);
  const [program] = await runtime.load([step]);
  runtime.run(program, new Map([["image", data]]));
  return await runtime.readOutput(program, "gradient");
}
