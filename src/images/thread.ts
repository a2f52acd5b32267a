/**
 * The program of a thread that decodes one large picture and is ended by whoever started it, which gives back all the memory it took. It hears one question and
 * gives one answer.
 */
import { ImageError, type ImageFault, type Picture } from "./picture.ts";
import { pictureOf, type Raster, uprightSize } from "./raster.ts";
import { readImage } from "./reader.ts";
import type { Size } from "./scale.ts";

export interface Question {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly label: string;
  readonly maxPixels: number;
  /** All pixels, as they are stored; a picture scaled down to `longest`; or only whether it can be read. */
  readonly want: "pixels" | "picture" | "size";
  readonly longest: number | undefined;
}

export type Answer =
  | { readonly raster: Raster; readonly remarks: readonly string[] }
  | { readonly picture: Picture; readonly whole: Size; readonly remarks: readonly string[] }
  | { readonly size: Size; readonly remarks: readonly string[] }
  | { readonly fault: { readonly code: ImageFault; readonly message: string } };

async function answer({ bytes, label, maxPixels, want, longest }: Question): Promise<[Answer, Transferable[]]> {
  try {
    const { raster, remarks } = await readImage(bytes, { label, maxPixels, large: true });
    if (want === "size") return [{ size: uprightSize(raster), remarks }, []];
    if (want === "pixels") return [{ raster, remarks }, [raster.bytes.buffer]];
    const picture = pictureOf(raster, longest);
    return [{ picture, whole: uprightSize(raster), remarks }, [picture.data.buffer]];
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    return [{ fault: { code: error.code, message: error.message } }, []];
  }
}

/** What a thread has of its own; the types in force here are those of a process. */
const thread = globalThis as unknown as {
  onmessage: (event: MessageEvent<Question>) => void;
  postMessage(answer: Answer, transfer: Transferable[]): void;
};
thread.onmessage = async ({ data }) => thread.postMessage(...await answer(data));
