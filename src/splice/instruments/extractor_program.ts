/**
 * The program that shows the extractor pictures of one size and reads what was asked for of its blocks: for what looks and measures, not for what trains. No picture
 * comes to the device larger than the extractor sees it, and a program that does not fit is refused before anything of it is there.
 */
import { compile, f32, input, type Interpolation, type Runtime, type Value } from "../../engine/mod.ts";
import type { Picture } from "../../images/picture.ts";
import { type BlockFeatures, openVit, prepareImage, seenSize, vitBlocks } from "../../nets/vit.ts";
import type { HostTensor, StateDict } from "../../weights/formats/tensor.ts";
import type { Size } from "../transfer/augment.ts";
import { checkSeen, type Extractor, uploadExtractor } from "../transfer/extractor.ts";
import { loadStep } from "../transfer/load_step.ts";
import { refuseUnlessItFits, tryPlan, vitSideOption } from "../transfer/memory.ts";
import { seenPicture } from "./seen_picture.ts";

/** An extractor, and how pictures are shown to it. */
export interface ExtractorView {
  readonly extractor: Extractor;
  /** Short side of what the extractor sees, limit of its long side, and how pictures are resized to it. */
  readonly side: number;
  readonly longest: number;
  readonly resize: Interpolation;
  /** Bytes the device may use, where that is known. */
  readonly memoryLimit?: number | undefined;
}

export interface ExtractorProgramOptions extends ExtractorView {
  readonly name: string;
  /** What cannot be done where it does not fit, for the message: `extract features`. */
  readonly action: string;
  /** The size of the pictures, and what the first of them is called in a message: `given`. */
  readonly picture: Size;
  readonly called: string;
  /** The last block that is run. */
  readonly last: number;
  /** What is read, by name, of the blocks up to that one. */
  roots(blocks: readonly BlockFeatures[]): ReadonlyMap<string, Value>;
}

export interface ExtractorProgram {
  /** What the extractor sees of a picture, in pixels and in patches. */
  readonly seen: Size;
  readonly grid: { readonly rows: number; readonly cols: number };
  /** What was asked for, of a picture that is seen at this size. */
  read(picture: Picture): Promise<StateDict>;
}

/** @throws EngineError where less than a patch would be seen; of kind "memory", with a vit_side that fits, if this one does not. */
export async function openExtractorProgram(
  runtime: Runtime,
  options: ExtractorProgramOptions,
): Promise<ExtractorProgram> {
  const { extractor, side, longest, resize, picture } = options;
  const { patch } = extractor.vit;
  checkSeen(picture, { name: options.called, patch, side, longest });
  const plan = (side: number, longest: number) => {
    const net = openVit(extractor.vit);
    const seen = seenSize(picture.height, picture.width, side, longest);
    const image = input("image", f32(3, seen.height, seen.width));
    const roots = options.roots(vitBlocks(net, prepareImage(net, image, { ...seen, resize }), options.last));
    return { seen, roots, ...tryPlan(() => compile(options.name, { roots }, { profile: runtime.gpu.profile })) };
  };
  const { seen, roots, memory, compiled } = plan(side, longest);
  refuseUnlessItFits(memory, {
    action: options.action,
    bindingBytes: runtime.gpu.limits.bindingBytes,
    totalBytes: options.memoryLimit,
    options: [vitSideOption({ side, longest }, (side, longest) => plan(side, longest).memory)],
  });
  const { prelude, step } = compiled!;
  uploadExtractor(runtime, extractor, [prelude, step]);
  const program = await loadStep(runtime, { prelude, step });
  return {
    seen,
    grid: { rows: Math.floor(seen.height / patch), cols: Math.floor(seen.width / patch) },
    async read(picture) {
      await runtime.run(program, new Map([["image", seenPicture(picture, seen, resize).data]]));
      const tensors = new Map<string, HostTensor>();
      for (const [name, { type }] of roots) {
        tensors.set(name, { shape: type.shape, data: await runtime.readOutput(program, name) });
      }
      return tensors;
    },
  };
}
