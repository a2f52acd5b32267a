/**
 * From a picture as it was trained to one of the photograph's size, by the option `detail`. The result comes row by row, and is computed as it is read, so that no large
 * picture is ever held in floats. What is written with it, and where, its owner says.
 */
import type { Runtime } from "../../engine/mod.ts";
import type { PictureFile } from "../../images/decode.ts";
import { guidedRows } from "../../images/guided.ts";
import type { Picture } from "../../images/picture.ts";
import { planes, type Rows, type Size } from "../../images/scale.ts";
import { applyGenerator, renderWhole } from "./apply.ts";
import type { TrainedGenerator } from "./checkpoint.ts";
import type { Recipe } from "./recipe.ts";

export interface EnlargingOptions {
  readonly detail: Recipe["detail"];
  /** The photograph; opened so small, it is what was painted over. */
  readonly file: PictureFile;
  readonly runtime: Runtime;
  /** What painted it. */
  generator(): Promise<TrainedGenerator> | TrainedGenerator;
  /** Bytes the device may use, where that is known. */
  readonly memoryLimit?: number | undefined;
}

export interface Enlarging {
  /** Of what will come of it. */
  readonly size: Size;
  /** How long it will take, about: only the work itself shows. */
  readonly seconds: number;
  /** For looking at while the training goes on: by the same means where they are cheap, no larger than a preview is, if it was not painted larger. */
  preview(painted: Picture): Promise<Picture | Rows>;
  /**
   * `use` reads the rows, and thereby computes them. `onLeft` hears now and then how many seconds are left.
   * @throws `signal`'s reason once that is aborted
   */
  enlarge<T>(
    painted: Picture,
    options: { readonly signal?: AbortSignal | undefined; onLeft?(seconds: number): void },
    use: (rows: Rows) => Promise<T>,
  ): Promise<T>;
}

/** Seconds a pixel of two cores of the year 2020, the writing of a PNG included; the generator's on a software adapter. */
const SECONDS = { guided: 0.3e-6, generator: 4e-6 } as const;
/** Of the time, what is over when the last row was read: then it is compressed and written. And what is over when the generator has painted all of it. */
const READ = { guided: 0.5, generator: 0.95 } as const;
const PAINTED = 0.9;
/** `onLeft` is called at most this often, in ms. */
const LEAST_GAP = 250;
/** Previews are for looking at: their longest side, in pixels. */
export const PREVIEW_LONGEST = 768;

/** Null where nothing is to be enlarged: it was trained at the photograph's own size, or is to stay small. */
export function openEnlarging({ detail, file, runtime, generator, memoryLimit }: EnlargingOptions): Enlarging | null {
  const { picture: seen, size } = file;
  if (detail === "none" || (seen.width === size.width && seen.height === size.height)) return null;
  let small: Promise<Picture> | undefined;
  return {
    size,
    seconds: size.width * size.height * SECONDS[detail],
    async preview(painted) {
      const longest = Math.min(PREVIEW_LONGEST, Math.max(size.width, size.height));
      if (detail !== "guided" || Math.max(painted.width, painted.height) >= longest) return painted;
      return guidedRows({ seen, painted, full: planes(await (small ??= file.fitted(longest))) });
    },
    enlarge(painted, { signal, onLeft }, use) {
      const began = performance.now();
      let last = began;
      function tell(share: number): void {
        signal?.throwIfAborted();
        const now = performance.now();
        if (share === 0 || now - last < LEAST_GAP) return;
        last = now;
        onLeft?.((now - began) / 1000 * (1 - share) / share);
      }
      return file.withRows(async (full) => {
        if (detail === "guided") {
          return await use(watched(guidedRows({ seen, painted, full }), (share) => tell(READ.guided * share)));
        }
        const rows = await renderWhole(runtime, {
          generator: await generator(),
          picture: seen,
          full,
          memoryLimit,
          onShare: (share) => tell(PAINTED * share),
        });
        return await use(watched(rows, (share) => tell(PAINTED + (READ.generator - PAINTED) * share)));
      });
    },
  };
}

export interface PhotographRendering extends Pick<EnlargingOptions, "detail" | "file" | "memoryLimit"> {
  readonly generator: TrainedGenerator;
}

/** Renders a photograph with a trained generator, as large as it was opened, and has `use` have that at the size that is wanted. @throws EngineError, ImageError */
export async function renderPhotograph<T>(
  runtime: Runtime,
  options: PhotographRendering,
  use: (rendered: Picture | Rows) => Promise<T>,
): Promise<T> {
  const { generator, file, memoryLimit } = options;
  const painted = await applyGenerator(runtime, { generator, picture: file.picture, memoryLimit });
  const enlarging = openEnlarging({ ...options, runtime, generator: () => generator });
  return enlarging === null ? await use(painted) : await enlarging.enlarge(painted, {}, use);
}

/** The same rows; `tell` hears after each which share of them was read. */
function watched(rows: Rows, tell: (share: number) => void): Rows {
  const { width, height } = rows;
  return {
    width,
    height,
    read(y, into) {
      rows.read(y, into);
      tell((y + 1) / height);
    },
  };
}
