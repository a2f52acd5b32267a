/**
 * Rendering with a trained generator: any picture, at its own size. No extractor and no training are involved.
 */
import { compile, f32, input, type Runtime } from "../engine/mod.ts";
import type { Picture } from "../images/picture.ts";
import { generate, openGenerator } from "../nets/unet.ts";
import { memoryOf, refuseUnlessItFits } from "./memory.ts";

export interface ApplyOptions {
  /** The generator: see `generatorSlab`. */
  readonly slab: Float32Array;
  readonly picture: Picture;
  /** Bytes the device may use, where that is known. */
  readonly memoryLimit?: number | undefined;
}

/** G(picture). @throws EngineError with a size that fits, if this one does not. */
export async function applyGenerator(runtime: Runtime, options: ApplyOptions): Promise<Picture> {
  const { width, height, data } = options.picture;
  const plan = (h: number, w: number) => {
    const image = generate(openGenerator("applied"), input("picture", f32(3, h, w)));
    return compile(`apply ${w}x${h}`, { roots: new Map([["image", image]]) }, { profile: runtime.gpu.profile });
  };
  const compiled = plan(height, width);
  const longest = Math.max(height, width);
  refuseUnlessItFits(memoryOf(compiled), {
    action: "render",
    bindingBytes: runtime.gpu.limits.bindingBytes,
    totalBytes: options.memoryLimit,
    option: {
      name: "a picture scaled down to",
      value: longest,
      planAt: (size) => memoryOf(plan(Math.ceil(height * size / longest), Math.ceil(width * size / longest))),
    },
  });
  runtime.writeState("applied", options.slab);
  const [program] = await runtime.load([compiled.step]);
  runtime.run(program, new Map([["picture", data]]));
  return { width, height, data: (await runtime.readOutput(program, "image")) as Float32Array<ArrayBuffer> };
}
