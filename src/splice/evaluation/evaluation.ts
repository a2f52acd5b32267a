/**
 * How well a result did what was asked: three numbers of one triple of pictures, taken with the extractor that also judges the training.
 *
 * They compare results with each other, under one extractor at one size. They are no measure of beauty, and not the paper's: its table 2 has the masks of an
 * off-the-shelf segmenter, here the extractor finds them itself. Invariant: no picture is compared larger than the result is; structure and appearance are scaled down to
 * its longest side, as `size` does it before a training. Only the appearance picture of a run without `size` was seen there as large as it is, and is seen smaller here.
 */
import { type Gpu, openRuntime, type Runtime } from "../../engine/mod.ts";
import { fitPicture, type Picture } from "../../images/picture.ts";
import { type BlockFeatures, seenSize, selfSimilarity, type VitShape, withoutRegisters } from "../../nets/vit.ts";
import { meanAttention } from "../instruments/attention_maps.ts";
import { type ExtractorProgram, type ExtractorView, openExtractorProgram } from "../instruments/extractor_program.ts";
import type { Size } from "../transfer/augment.ts";
import { periodsOf } from "../transfer/extractor.ts";
import { type Foreground, foregroundOf, intersectionOverUnion } from "./normalised_cut.ts";

/** The numbers of one triple; each is 0 (iou and cosine: 1) for the picture that would be perfect by it alone. */
export interface Evaluation {
  /** Mean squared difference of the self-similarities of the last block's keys, of result and structure picture. */
  readonly structure_distance: number;
  /** Mean squared difference of the last block's [CLS], of result and appearance picture; and the cosine of the two. */
  readonly appearance_distance: number;
  readonly appearance_cosine: number;
  /** The same of the structure picture itself and the appearance picture: where the result began. */
  readonly untouched_distance: number;
  readonly untouched_cosine: number;
  /**
   * Intersection over union of the foreground masks of result and structure picture. A cut divides, but its sides have no names: what is in front is said by the
   * structure picture, and of the result's two sides the one counts that covers it better.
   */
  readonly layout_iou: number;
}

export const MEASURES = [
  "structure_distance",
  "appearance_distance",
  "appearance_cosine",
  "untouched_distance",
  "untouched_cosine",
  "layout_iou",
] as const satisfies readonly (keyof Evaluation)[];

/** Said wherever the numbers are shown. */
export const COMPARABLE =
  "Comparable: results under the same extractor, at the same size of what it sees. Not comparable: other extractors or sizes; and the paper's table 2, whose " +
  "IoU (0.88 on Wild-Pairs, 0.95 on mountains) is of an off-the-shelf segmenter's masks. Here the masks come from the extractor itself (a normalised cut of its keys), " +
  "on the coarse grid of its patches; they may part sky from ground rather than animal from meadow, and the structure picture says which side is in front.";

export interface Triple {
  readonly structure: Picture;
  readonly appearance: Picture;
  readonly result: Picture;
}

/** A foreground, and the share of the picture's height and width that its patches cover: what fills no patch is not seen. */
export interface Mask extends Foreground {
  readonly covered: { readonly height: number; readonly width: number };
}

export interface Evaluated {
  readonly numbers: Evaluation;
  readonly masks: { readonly structure: Mask; readonly result: Mask };
}

export interface Evaluator {
  /** One triple at a time. @throws Error where structure and result are not of one shape; EngineError where they do not fit the device or the extractor. */
  evaluate(triple: Triple): Promise<Evaluated>;
  /** Frees its buffers; the device stays. */
  release(): void;
}

interface Seen {
  readonly rows: number;
  readonly cols: number;
  readonly cls: Float32Array;
  readonly similarity: Float32Array;
  readonly attention: Float64Array;
  readonly covered: Mask["covered"];
}

/** What is loaded for pictures that are seen at some sizes, by these. */
interface Loads {
  readonly runtime: Runtime;
  readonly programs: Map<string, ExtractorProgram>;
}

const sizeText = ({ width, height }: Size) => `${width}x${height}`;

/** Programs stay loaded from one triple to the next of the same sizes; those of other sizes go, so that any number of triples takes no more of the device than one. */
export function openEvaluator(gpu: Gpu, options: ExtractorView): Evaluator {
  let loads: Loads | null = null;

  function release(): void {
    loads?.runtime.release();
    loads = null;
  }

  const seenAs = ({ height, width }: Size) => seenSize(height, width, options.side, options.longest);

  function loadsFor(pictures: readonly Picture[]): Loads {
    const sizes = new Set(pictures.map((picture) => sizeText(seenAs(picture))));
    if (loads && [...loads.programs.keys()].some((size) => !sizes.has(size))) release();
    return loads ??= { runtime: openRuntime(gpu), programs: new Map() };
  }

  async function see(
    { runtime, programs }: Loads,
    { picture, name }: { readonly picture: Picture; readonly name: string },
  ): Promise<Seen> {
    const { tensors: weights, vit } = options.extractor;
    const size = sizeText(seenAs(picture));
    const program = programs.get(size) ?? await openExtractorProgram(runtime, {
      ...options,
      name: "evaluate",
      action: "evaluate",
      picture,
      called: name,
      last: vit.depth - 1,
      roots: (blocks) => measured(vit, blocks[vit.depth - 1]),
    });
    programs.set(size, program);
    const tensors = await program.read(picture);
    const read = (root: string) => tensors.get(root)!.data;
    const { seen, grid } = program;
    const { rows, cols } = grid;
    return {
      rows,
      cols,
      covered: { height: rows * vit.patch / seen.height, width: cols * vit.patch / seen.width },
      cls: read("tokens").slice(0, vit.dim),
      similarity: read("similarity"),
      attention: meanAttention({
        queries: read("queries"),
        keys: read("keys"),
        vit,
        grid,
        periods: periodsOf(weights),
      }),
    };
  }

  async function measure({ structure, appearance, result }: Triple): Promise<Evaluated> {
    const size = Math.max(result.width, result.height);
    const [a, b] = [fitPicture(structure, size), fitPicture(appearance, size)];
    const loads = loadsFor([a, b, result]);
    const shape = ({ width, height }: Picture) => `${width} x ${height}`;
    const ofA = await see(loads, { picture: a, name: "structure" });
    const ofResult = await see(loads, { picture: result, name: "result" });
    if (ofA.rows !== ofResult.rows || ofA.cols !== ofResult.cols) {
      throw new Error(
        `Cannot compare the layouts of structure (${shape(structure)}) and result (${
          shape(result)
        }): the extractor sees ` +
          `${ofA.cols} x ${ofA.rows} and ${ofResult.cols} x ${ofResult.rows} patches; give a result of the structure picture's proportions`,
      );
    }
    const ofB = await see(loads, { picture: b, name: "appearance" });
    const front = maskOf(ofA);
    const masks = { structure: front, result: agreeing(maskOf(ofResult), front) };
    return {
      numbers: {
        structure_distance: meanSquare(ofResult.similarity, ofA.similarity),
        appearance_distance: meanSquare(ofResult.cls, ofB.cls),
        appearance_cosine: cosine(ofResult.cls, ofB.cls),
        untouched_distance: meanSquare(ofA.cls, ofB.cls),
        untouched_cosine: cosine(ofA.cls, ofB.cls),
        layout_iou: intersectionOverUnion(masks.result.mask, masks.structure.mask),
      },
      masks,
    };
  }

  return {
    async evaluate(triple) {
      try {
        return await measure(triple);
      } catch (error) {
        release(); // what was half loaded is of no use to the next
        throw error;
      }
    },
    release,
  };
}

/** What is read of the last block. */
const measured = (vit: VitShape, { tokens, queries, keys }: BlockFeatures) =>
  new Map(Object.entries({ tokens, queries, keys, similarity: selfSimilarity(withoutRegisters(vit, keys)) }));

const maskOf = (seen: Seen): Mask => ({ ...foregroundOf(seen), covered: seen.covered });

/** The mask with its sides as they agree better with another. */
function agreeing(mask: Mask, { mask: other }: Mask): Mask {
  const { mask: front, behind } = mask;
  if (!behind || intersectionOverUnion(front, other) >= intersectionOverUnion(behind, other)) return mask;
  return { ...mask, mask: behind, behind: front };
}

/** Mean and sample deviation of each measure; the deviation of one alone is 0. */
export function summarise(all: readonly Evaluation[]): Record<"mean" | "deviation", Evaluation> {
  const entries = (of: (values: number[]) => number) =>
    Object.fromEntries(MEASURES.map((name) => [name, of(all.map((one) => one[name]))])) as unknown as Evaluation;
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    mean: entries(mean),
    deviation: entries((values) => {
      const centre = mean(values);
      const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
      return values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1));
    }),
  };
}

/** Three digits that count, never as a power of ten: `0.0123`, `1.53`. */
export function distanceText(value: number): string {
  if (value === 0) return "0";
  return value.toFixed(Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(value)))));
}

function meanSquare(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum / a.length;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.max(Math.sqrt(aa * bb), 1e-30);
}
