/**
 * Parity cases: folders with pictures, weights and the numbers that another program of the method computed from them. The small
 * ones of the project always run; larger ones beside the checkout run where they are.
 */
import { fileURLToPath } from "node:url";
import { randomStream } from "../../../src/engine/mod.ts";
import { decodeImage } from "../../../src/images/decode.ts";
import type { Picture } from "../../../src/images/picture.ts";
import { freshSlab, readGenerator } from "../../../src/splice/transfer/checkpoint.ts";
import type { Extractor } from "../../../src/splice/transfer/extractor.ts";
import { readSafetensors } from "../../../src/weights/formats/safetensors.ts";
import { loadVit } from "../../../src/weights/store/store.ts";
import type { StateDict } from "../../../src/weights/formats/tensor.ts";

export interface FeaturesCase {
  readonly kind: "features";
  readonly depth: number;
  readonly side: number;
  readonly longest: number;
  readonly sizes: readonly (readonly [number, number])[];
}

export interface TrainingCase {
  readonly kind: "training";
  readonly side: number;
  readonly longest: number;
  readonly entire_every: number;
  readonly steps: number;
  readonly step0: Readonly<Record<string, number>>;
  readonly mean_of_last_10: number;
  readonly spread_of_last_10: number;
  /** Of cases whose generator is drawn from a seed, and whose gradient is a sample of it. */
  /** Where the case does not say: zero. */
  readonly padding?: "reflect";
  readonly generator_seed?: number;
  readonly generator_sha256?: string;
  readonly gradient_stride?: number;
}

export interface Case<Kind extends FeaturesCase | TrainingCase> {
  readonly name: string;
  readonly said: Kind;
  readonly want: StateDict;
  extractor(): Promise<Extractor>;
  picture(name: string): Promise<Picture>;
  /** The slab that training begins with. */
  generator(): Promise<Float32Array>;
}

const OWN = new URL("../../fixtures/cases/", import.meta.url);
const BESIDE = new URL("../../../../shared/cases/", import.meta.url);

export async function cases<Kind extends FeaturesCase | TrainingCase>(kind: Kind["kind"]): Promise<Case<Kind>[]> {
  const folders = [...foldersOf(OWN) ?? []];
  const beside = foldersOf(BESIDE);
  if (beside) folders.push(...beside);
  else console.log("skipped: the larger parity cases, because ../shared/cases is not there");
  const plain = folders.filter((folder) => !("files" in saidIn(folder))); // those with several weight files: extractor_cases.ts
  const all = await Promise.all(plain.map((folder) => openCase(folder)));
  return all.filter((one) => one.said.kind === kind) as Case<Kind>[];
}

const saidIn = (folder: URL) => JSON.parse(Deno.readTextFileSync(new URL("case.json", folder)));

function foldersOf(root: URL): URL[] | null {
  try {
    return [...Deno.readDirSync(root)].filter((entry) => entry.isDirectory).map(({ name }) => new URL(`${name}/`, root))
      .sort((a, b) => a.href < b.href ? -1 : 1);
  } catch {
    return null;
  }
}

async function openCase(folder: URL): Promise<Case<FeaturesCase | TrainingCase>> {
  const path = (name: string) => fileURLToPath(new URL(name, folder));
  const said = saidIn(folder);
  const own = (name: string) => {
    try {
      return Deno.statSync(path(name)).isFile ? path(name) : null;
    } catch {
      return null;
    }
  };
  return {
    name: fileURLToPath(folder).split("/").slice(-4, -1).join("/"),
    said,
    want: (await readSafetensors(path("want.safetensors"))).tensors,
    extractor: () => loadVit(own("vit.safetensors") ?? path("../vit.safetensors")),
    picture: async (name) => await decodeImage(await Deno.readFile(path(`${name}.png`)), { label: name }),
    async generator() {
      const file = own("generator.safetensors");
      if (file) return readGenerator(await readSafetensors(file), file).slab;
      return freshSlab(randomStream(said.generator_seed, 1));
    },
  };
}
