/**
 * Rendering with a trained generator: any picture, at its own size. No extractor and no training are involved.
 */
import { compile, f32, input, type Runtime } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import { generate, openGenerator } from "../../nets/unet.ts";
import type { TrainedGenerator } from "./checkpoint.ts";
import { refuseUnlessItFits, tryPlan } from "./memory.ts";

export interface ApplyOptions {
  readonly generator: TrainedGenerator;
  readonly picture: Picture;
  /** Bytes the device may use, where that is known. */
  readonly memoryLimit?: number | undefined;
}

/** G(picture). @throws EngineError with a size that fits, if this one does not. */
export async function applyGenerator(runtime: Runtime, options: ApplyOptions): Promise<Picture> {
  const { generator: { slab, padding }, picture: { width, height, data } } = options;
  const plan = (h: number, w: number) => {
    const image = generate(openGenerator(padding, "applied"), input("picture", f32(3, h, w)));
    const roots = new Map([["image", image]]);
    return tryPlan(() => compile(`apply ${w}x${h}`, { roots }, { profile: runtime.gpu.profile }));
  };
  const { memory, compiled } = plan(height, width);
  const longest = Math.max(height, width);
  refuseUnlessItFits(memory, {
    action: "render",
    bindingBytes: runtime.gpu.limits.bindingBytes,
    totalBytes: options.memoryLimit,
    options: [{
      name: "a longest side of",
      value: longest,
      planAt: (size) => plan(Math.ceil(height * size / longest), Math.ceil(width * size / longest)).memory,
    }],
  });
  runtime.writeState("applied", slab);
  const [program] = await runtime.load([compiled!.step]);
  await runtime.run(program, new Map([["picture", data]]));
  return { width, height, data: (await runtime.readOutput(program, "image")) as Float32Array<ArrayBuffer> };
}
