/**
 * What a contact sheet shows: a list of pairs and of settings, as JSON. Every pair is run with every setting; a setting's options are any of a run's, and come over
 * those of the whole list. A setting of the method `colour` is not trained. It opens no picture. Invariant: a list that is accepted has a complete recipe for each setting, and a folder's name of its own for each cell.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { parseRecipe, type Recipe } from "../transfer/recipe.ts";

const name = z.string().trim().min(1).max(80);
const path = z.string().min(1).max(4096);
const options = z.record(z.string(), z.unknown()).default({});

const listSchema = z.strictObject({
  title: z.string().trim().min(1).max(160).optional(),
  options,
  pairs: z.array(z.strictObject({ name, structure: path, appearance: path })).min(1).max(100),
  settings: z.array(z.strictObject({ name, method: z.enum(["splice", "colour"]).default("splice"), options })).min(1)
    .max(24),
});

export interface SheetPair {
  readonly name: string;
  /** As the list has it. */
  readonly structure: string;
  readonly appearance: string;
  readonly slug: string;
}

/** How a cell's picture is made: trained as a transfer, or by the statistics of colours alone (colour_transfer.ts). */
export type SheetMethod = "splice" | "colour";

export interface SheetSetting {
  readonly name: string;
  readonly method: SheetMethod;
  readonly recipe: Recipe;
  readonly slug: string;
}

export interface SheetList {
  readonly title: string | null;
  /** What all settings share; its extractor measures all cells. */
  readonly recipe: Recipe;
  readonly pairs: readonly SheetPair[];
  readonly settings: readonly SheetSetting[];
}

/** Reads a list; all that is wrong is said at once, each where it stands: `settings[1].options: Cannot use ...`. */
export function parseSheetList(text: string): { ok: true; list: SheetList } | { ok: false; errors: string[] } {
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, "")); // some editors begin a file with a mark
  } catch (cause) {
    return { ok: false, errors: [`it is not JSON (${cause instanceof Error ? cause.message : cause})`] };
  }
  const parsed = listSchema.safeParse(json);
  if (!parsed.success) {
    return { ok: false, errors: parsed.error.issues.map((issue) => `${placeOf(issue.path)}${issue.message}`) };
  }
  const { title, pairs, settings, options: shared } = parsed.data;
  const errors: string[] = [];
  const recipeOf = (given: Readonly<Record<string, unknown>>, place: string): Recipe | null => {
    const read = parseRecipe(given);
    if (read.ok) return read.recipe;
    errors.push(...read.errors.map(({ message }) => `${place}: ${message}`));
    return null;
  };
  const recipe = recipeOf(shared, "options");
  const read = settings.map((setting, i) => {
    // What is wrong with the shared options is said once, of them.
    const own = recipe === null ? setting.options : { ...shared, ...setting.options };
    const place = `settings[${i}].options`;
    const { name, method } = setting;
    if (method === "colour") errors.push(...trainedOnly(setting.options).map((message) => `${place}: ${message}`));
    return { name, method, slug: slugOf(name), recipe: recipeOf(own, place) };
  });
  const withSlugs = pairs.map((pair) => ({ ...pair, slug: slugOf(pair.name) }));
  errors.push(...doubles("pairs", withSlugs), ...doubles("settings", read));
  const complete = read.filter((setting): setting is SheetSetting => setting.recipe !== null);
  if (errors.length > 0 || recipe === null) return { ok: false, errors };
  return { ok: true, list: { title: title ?? null, recipe, pairs: withSlugs, settings: complete } };
}

/**
 * A list to begin with: the paper's ablation, each loss removed in turn. Paths are the caller's. The weights are for the bundled extractor and few steps: its [CLS] knows
 * colours so well that shapes would give way with the published ones, and whole pictures are learned sooner than crops.
 */
export function exampleList(pairs: readonly Omit<SheetPair, "slug">[]): string {
  return JSON.stringify(
    {
      title: "Each loss removed in turn",
      options: {
        preset: "quick",
        size: 160,
        steps: 300,
        detail: "none",
        augment: false,
        weight_ssim: 6,
        weight_entire_ssim: 6,
        weight_id: 2,
      },
      pairs,
      settings: [
        { name: "full objective" },
        { name: "without appearance", options: { weight_cls: 0, weight_entire_cls: 0 } },
        { name: "without structure", options: { weight_ssim: 0, weight_entire_ssim: 0 } },
        { name: "without identity", options: { weight_id: 0 } },
      ],
    },
    null,
    2,
  );
}

/** Where pixels alone count, an option of training would do nothing. */
function trainedOnly(options: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(options).filter((name) => !["size", "detail"].includes(name)).map((name) =>
    `Cannot use ${name}: the method colour trains nothing; of all options it takes size and detail alone`
  );
}

function placeOf(path: readonly PropertyKey[]): string {
  const place = path.map((part) => typeof part === "number" ? `[${part}]` : `.${String(part)}`).join("").slice(1);
  return place === "" ? "" : `${place}: `;
}

/** Bytes of a slug. Two of them, and what joins them, are a folder's name, of which systems take 255. */
const LONGEST_SLUG = 120;

/** A name as a folder has it: small letters, digits and hyphens. What is cut off of a long one stands there as a sum, so that others of its beginning are others. */
function slugOf(text: string): string {
  const bare = text.normalize("NFKD").toLowerCase().replaceAll(/(\p{Script=Latin})\p{M}+/gu, "$1").normalize("NFC");
  // In other scripts marks are letters of their own: without them, words would be others.
  const slug = bare.replaceAll(/[^\p{L}\p{M}\p{N}]+/gu, "-").replaceAll(/^-|-$/g, "") || "unnamed";
  const bytes = (part: string) => new TextEncoder().encode(part).length;
  if (bytes(slug) <= LONGEST_SLUG) return slug;
  const sum = createHash("sha256").update(slug).digest("hex").slice(0, 8);
  const letters = [...slug];
  while (bytes(letters.join("")) > LONGEST_SLUG - sum.length - 1) letters.pop();
  return `${letters.join("").replace(/-$/, "")}-${sum}`;
}

function doubles(place: string, named: readonly { name: string; slug: string }[]): string[] {
  const first = new Map<string, number>();
  return named.flatMap(({ name, slug }, i) => {
    const before = first.get(slug);
    first.set(slug, before ?? i);
    return before === undefined ? [] : [`${place}[${i}].name: ${JSON.stringify(name)} is too like that of [${before}]`];
  });
}
