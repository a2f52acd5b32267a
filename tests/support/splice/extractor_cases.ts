/**
 * Extractors of every family and what a plain PyTorch program makes of a picture: small ones of the project's own (tests/fixtures/extractors), and the larger ones beside the
 * checkout, where they are. A case has one weight file; where two published programs disagree about it, either's numbers will do.
 */
import { fileURLToPath } from "node:url";
import type { Picture } from "../../../src/images/picture.ts";
import { decodeImage } from "../../../src/images/decode.ts";
import type { Extractor } from "../../../src/splice/transfer/extractor.ts";
import { readSafetensors } from "../../../src/weights/formats/safetensors.ts";
import type { StateDict } from "../../../src/weights/formats/tensor.ts";
import { completeVit, recogniseVit } from "../../../src/weights/formats/vit_family.ts";
import { loadVit } from "../../../src/weights/store/store.ts";

export interface Looked {
  readonly picture: Picture;
  /** Names of features, and the gradient to the picture as `grad`; several where programs disagree. */
  readonly wants: readonly StateDict[];
}

export interface ExtractorCase {
  readonly name: string;
  open(): Promise<{ readonly extractor: Extractor; readonly looks: readonly Looked[] }>;
}

const OWN = new URL("../../fixtures/extractors/", import.meta.url);
const BESIDE = new URL("../../../../shared/cases/", import.meta.url);

export function extractorCases(): ExtractorCase[] {
  const own = [...Deno.readDirSync(OWN)].filter(({ name }) => name.endsWith(".safetensors")).map(({ name }) => name)
    .sort();
  return [...own.map(ownCase), ...casesBeside()];
}

function ownCase(file: string): ExtractorCase {
  return {
    name: file.replace(".safetensors", ""),
    async open() {
      const { tensors: all, metadata } = await readSafetensors(new URL(file, OWN).pathname);
      const [weights, rest] = [true, false].map((weight) =>
        new Map([...all].filter(([name]) => weight !== (name === "image" || name.startsWith("want."))))
      );
      const { published, sizes } = recogniseVit(weights, file);
      const normalisation = { mean: JSON.parse(metadata.mean), deviation: JSON.parse(metadata.deviation) };
      const told = { heads: Number(metadata.heads), normalisation };
      const { shape: [, height, width], data } = rest.get("image")!;
      const want = new Map([...rest].flatMap(([name, tensor]) => {
        const short = name.replace("want.", "");
        if (short === "image") return [];
        return [[short === "grad" ? short : `block.${sizes.depth - 1}.${short}`, tensor] as const];
      }));
      return {
        extractor: { tensors: published, vit: completeVit(sizes, { told, tensors: published, label: file }) },
        looks: [{ picture: { width, height, data: Float32Array.from(data) }, wants: [want] }],
      };
    },
  };
}

interface Said {
  readonly kind: string;
  readonly sizes: readonly unknown[];
  readonly files?: readonly { readonly file: string; readonly want: string; readonly images?: readonly number[] }[];
}

function casesBeside(): ExtractorCase[] {
  let folders: string[];
  try {
    folders = [...Deno.readDirSync(BESIDE)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
  } catch {
    console.log("skipped: the larger extractors, because ../shared/cases is not there");
    return [];
  }
  return folders.flatMap((folder) => {
    const at = (name: string) => fileURLToPath(new URL(`${folder}/${name}`, BESIDE));
    const { files = [], sizes }: Said = JSON.parse(Deno.readTextFileSync(at("case.json")));
    return [...new Set(files.map(({ file }) => file))].map((file): ExtractorCase => ({
      name: `${folder}/${file}`,
      async open() {
        const entries = await Promise.all(
          files.filter((entry) => entry.file === file).map(async ({ want, images }) => ({
            images: images ?? [...sizes.keys()],
            tensors: (await readSafetensors(at(want))).tensors,
          })),
        );
        const looks = entries[0].images.map(async (n): Promise<Looked> => ({
          picture: await decodeImage(await Deno.readFile(at(`image${n}.png`)), { label: `image${n}` }),
          wants: entries.filter(({ images }) => images.includes(n)).map(({ tensors }) =>
            new Map(
              [...tensors].filter(([name]) => name.startsWith(`image${n}.`)).map((
                [name, tensor],
              ) => [name.slice(`image${n}.`.length), tensor]),
            )
          ),
        }));
        return { extractor: await loadVit(at(file)), looks: await Promise.all(looks) };
      },
    }));
  });
}
