/** The fields of a request for features: which blocks, and how the picture is shown to the extractor. Everything that is wrong is said at once. */
import { parseRecipe, type Recipe } from "../../splice/transfer/recipe.ts";
import { Fault, type FieldError } from "./job.ts";

export const FEATURE_FIELDS = ["model", "vit_side", "vit_longest", "resize"] as const;
const MOST_LAYERS = 64;

/** @throws Fault invalid_options */
export function readFeatureFields(
  fields: Readonly<Record<string, unknown>>,
): { recipe: Recipe; layers: number[] } {
  const { layers: wanted, ...others } = fields;
  const known: Record<string, unknown> = {};
  const errors: FieldError[] = [];
  const layers = readLayers(wanted);
  if (!layers) {
    const message = `Cannot use layers = ${JSON.stringify(String(wanted).slice(0, 60))}: ` +
      `it must be at most ${MOST_LAYERS} block numbers from 0, as 0,11`;
    errors.push({ field: "layers", message });
  }
  for (const [field, value] of Object.entries(others)) {
    if ((FEATURE_FIELDS as readonly string[]).includes(field)) known[field] = value;
    else {
      const message = `Cannot use ${field.slice(0, 60)}: features have layers, ${FEATURE_FIELDS.join(", ")}`;
      errors.push({ field, message });
    }
  }
  const parsed = parseRecipe(known);
  if (!parsed.ok) errors.push(...parsed.errors);
  if (parsed.ok && layers && errors.length === 0) return { recipe: parsed.recipe, layers };
  throw new Fault("invalid_options", errors.map(({ message }) => message).join("; "), { errors });
}

/** Without any: the last block, as an empty list. Null for what is no list. */
function readLayers(wanted: unknown): number[] | null {
  if (wanted === undefined || wanted === "") return [];
  const text = String(wanted);
  if (!/^\d{1,3}( *, *\d{1,3})*$/.test(text)) return null;
  const layers = [...new Set(text.split(",").map(Number))].sort((a, b) => a - b);
  return layers.length <= MOST_LAYERS ? layers : null;
}
