/**
 * The photographs of a contact sheet. Each is read once at the beginning, for its thumbnail and the sum of its content, and again when a cell is trained on it: only the
 * pair that was last in training is held. Invariant: what is trained on has the content that the sum was of.
 */
import { fitPicture, type Picture } from "../../images/picture.ts";
import { pictureText } from "../../splice/transfer/fingerprint.ts";
import { thumbnail } from "../../splice/evaluation/sheet_picture.ts";
import { fitted } from "../../splice/transfer/step_program.ts";
import { readPicture } from "./files.ts";

export interface Photograph {
  readonly path: string;
  readonly width: number;
  readonly height: number;
  /** What it is, pixel by pixel. */
  readonly text: string;
  readonly thumbnail: Picture;
}

/** Photographs by their paths, each once; those that cannot be read with why. */
export async function examinePhotographs(
  paths: readonly string[],
): Promise<Map<string, Photograph | { readonly error: string }>> {
  const found = new Map<string, Photograph | { readonly error: string }>();
  for (const path of new Set(paths)) {
    try {
      const picture = await readPicture(path);
      const { width, height } = picture;
      found.set(path, { path, width, height, text: pictureText(picture), thumbnail: thumbnail(picture) });
    } catch (error) {
      found.set(path, { error: error instanceof Error ? error.message : String(error) });
    }
  }
  return found;
}

/** What `reader.read` gives for this photograph and size, as text. */
export function sizedText({ width, height, text }: Photograph, size: number | undefined): string {
  const sized = size === undefined ? { width, height } : fitted({ width, height }, size);
  return `${text} as ${sized.width}x${sized.height}`;
}

export interface PhotographReader {
  /** Photographs with their longest side at most `size`, or as they are. @throws Error where one is gone, or another than it was */
  read(photographs: readonly Photograph[], size: number | undefined): Promise<Picture[]>;
}

export function openPhotographReader(): PhotographReader {
  let last = new Map<string, Picture>();
  return {
    async read(photographs, size) {
      const before = last;
      last = new Map();
      for (const photograph of photographs) {
        const text = `${photograph.path} ${sizedText(photograph, size)}`;
        last.set(text, before.get(text) ?? last.get(text) ?? await readAgain(photograph, size));
      }
      return photographs.map((photograph) => last.get(`${photograph.path} ${sizedText(photograph, size)}`)!);
    },
  };
}

async function readAgain({ path, text }: Photograph, size: number | undefined): Promise<Picture> {
  const picture = await readPicture(path);
  if (pictureText(picture) !== text) {
    throw new Error(`Cannot use ${path}: it is another picture than when this sheet was begun; make the sheet again`);
  }
  return size === undefined ? picture : fitPicture(picture, size);
}
