/**
 * The forms that this server takes: their pictures, their plain fields, what is wrong with these, and how OpenAPI documents them. The options' types, defaults, bounds and
 * help come from the schema that the command line uses too.
 */
import { kindNames } from "../../images/kinds.ts";
import { z } from "zod";
import { FEATURE_FIELDS, readFeatureFields } from "../../jobs/model/feature_fields.ts";
import { Fault, type FieldError } from "../../jobs/model/job.ts";
import { checkWebhookUrl } from "../../jobs/delivery/webhook.ts";
import { type InputName, INPUTS, type JobKind, kindSchema, parseWork } from "../../jobs/model/work.ts";
import { inversionSchema } from "../../splice/instruments/inversion_options.ts";
import { type LookName, lookOptions, parseLook } from "../../splice/instruments/look_options.ts";
import { applySchema, parseApply } from "../../splice/transfer/apply_options.ts";
import { recipeSchema } from "../../splice/transfer/recipe.ts";
import type { Form } from "./receive.ts";

/** A form, and its body as OpenAPI says it. */
export interface DocumentedForm extends Form {
  readonly body: {
    readonly required: true;
    readonly description: string;
    readonly content: { readonly "multipart/form-data": { readonly schema: FormSchema } };
  };
}

interface FormSchema {
  readonly type: "object";
  readonly properties: Readonly<Record<string, object>>;
  readonly required: string[];
  /** What else holds, where that depends on a field. */
  readonly oneOf?: object[];
  readonly additionalProperties: false;
}

/** What the API page fills in where an option has no default. */
const examples: Readonly<Record<string, object>> = {
  preset: { examples: ["quick"] },
  model: { examples: ["splice-tiny8"] },
  size: { examples: [170] },
  vit_side: { examples: [96] },
  vit_longest: { examples: [205] },
};

interface WebhookRule {
  readonly allowPrivateWebhooks: boolean;
}

const inputs: Readonly<Record<InputName, object>> = {
  structure: picture("the photograph that keeps its shapes"),
  appearance: picture("the photograph that lends its looks"),
  image: picture("the photograph whose features are inverted"),
};

/** Structure, appearance and all options of a transfer. */
export function spliceForm(rule: WebhookRule): DocumentedForm {
  return {
    files: INPUTS.splice,
    check: (fields) => checkWork("splice", fields, rule),
    body: bodyOf("Two photographs, and options as plain fields.", {
      properties: { ...picturesOf("splice"), ...optionsOf(recipeSchema), webhook_url: webhookField(rule) },
      required: INPUTS.splice,
    }),
  };
}

/** The pictures and options of a job of any kind. */
export function jobForm(rule: WebhookRule): DocumentedForm {
  const kindOf = ({ kind }: Readonly<Record<string, string>>) => kindSchema.safeParse(kind ?? usualKind);
  const files = [...new Set(kindSchema.options.flatMap((kind) => INPUTS[kind]))];
  return {
    files,
    wanted(fields) {
      const { data: kind } = kindOf(fields);
      return kind === undefined ? null : INPUTS[kind];
    },
    check({ kind, ...fields }) {
      const known = kindOf({ ...(kind !== undefined && { kind }) });
      if (known.success) return checkWork(known.data, fields, rule);
      const message = `Cannot use kind = ${JSON.stringify(kind.slice(0, 60))}: it must be ${
        kindSchema.options.join(" or ")
      }`;
      return [{ field: "kind", message }];
    },
    body: bodyOf("The photographs of its kind, and options as plain fields.", {
      properties: {
        ...optionsOf(z.object({ kind: kindSchema.default(usualKind) })),
        ...picturesOf("splice"),
        ...picturesOf("invert"),
        ...eitherOf(optionsOf(recipeSchema), optionsOf(inversionSchema)),
        webhook_url: webhookField(rule),
      },
      oneOf: [
        { properties: { kind: { const: "splice" }, image: false }, required: INPUTS.splice },
        {
          properties: { kind: { const: "invert" }, structure: false, appearance: false },
          required: ["kind", "feature", ...INPUTS.invert],
        },
      ],
    }),
  };
}

/** The kind of a job that names none. */
export const usualKind: JobKind = "splice";

function checkWork(
  kind: JobKind,
  { webhook_url, ...fields }: Readonly<Record<string, string>>,
  { allowPrivateWebhooks }: WebhookRule,
): readonly FieldError[] {
  const parsed = parseWork(kind, fields);
  const wrong = errorsOf(() => {
    if (webhook_url !== undefined) checkWebhookUrl(webhook_url, { allowPrivate: allowPrivateWebhooks });
  });
  return [...(parsed.ok ? [] : parsed.errors), ...wrong];
}

const picturesOf = (kind: JobKind) => Object.fromEntries(INPUTS[kind].map((name) => [name, inputs[name]]));

function webhookField({ allowPrivateWebhooks }: WebhookRule): object {
  return {
    type: "string",
    format: "uri",
    examples: ["https://example.invalid/hook"],
    description: "is sent the job as JSON when it starts and when it has ended" +
      (allowPrivateWebhooks ? "" : "; an address of the public internet"),
  };
}

/** A photograph, and the options of a look. */
export function lookForm(look: LookName): DocumentedForm {
  return {
    files: ["image"],
    check(fields) {
      const parsed = parseLook(look, fields);
      return parsed.ok ? [] : parsed.errors;
    },
    body: bodyOf("A photograph, and options as plain fields.", {
      properties: { image: picture("the photograph"), ...optionsOf(lookOptions(look)) },
      required: ["image"],
    }),
  };
}

/** A picture and what the extractor is to make of it. */
export const featuresForm: DocumentedForm = {
  files: ["image"],
  check: (fields) => errorsOf(() => readFeatureFields(fields)),
  body: bodyOf("A photograph, and options as plain fields.", {
    properties: {
      image: picture("the photograph"),
      layers: {
        type: "string",
        pattern: "^\\d{1,3}(,\\d{1,3})*$",
        description: "blocks of the extractor, from 0, as 0,11 (default: the last)",
      },
      ...Object.fromEntries(Object.entries(optionsOf(recipeSchema)).filter(([name]) => isFeatureOption(name))),
    },
    required: ["image"],
  }),
};

/** A picture, and how it is to be rendered. */
export const applyForm: DocumentedForm = {
  files: ["image"],
  check(fields) {
    const parsed = parseApply(fields);
    return parsed.ok ? [] : parsed.errors;
  },
  body: bodyOf(
    "A photograph, and options as plain fields. What does not fit the device is refused, with a size that does.",
    {
      properties: { image: picture("the photograph to render"), ...optionsOf(applySchema) },
      required: ["image"],
    },
  ),
};

/** One picture, and nothing else. */
export const previewForm: DocumentedForm = {
  files: ["image"],
  check: (fields) =>
    Object.keys(fields).map((field) => ({
      field,
      message: `Cannot use ${JSON.stringify(field.slice(0, 60))}: image is all that is taken`,
    })),
  body: bodyOf("A photograph.", { properties: { image: picture("the photograph to be shown") }, required: ["image"] }),
};

function bodyOf(
  description: string,
  { properties, required = [], oneOf }: {
    properties: Record<string, object>;
    required?: readonly string[];
    oneOf?: object[];
  },
): DocumentedForm["body"] {
  const schema: FormSchema = {
    type: "object",
    properties,
    required: [...required],
    ...(oneOf && { oneOf }),
    additionalProperties: false,
  };
  return { required: true, description, content: { "multipart/form-data": { schema } } };
}

function picture(description: string): object {
  return {
    type: "string",
    format: "binary",
    contentMediaType: "application/octet-stream",
    description:
      `${description}: ${kindNames}, at most 25 MB and 64 megapixels, at least 32 pixels a side. Of several pictures in a file the first counts; transparency is laid on white`,
  };
}

/** Options as JSON Schema, by name. */
function optionsOf(schema: z.ZodType): Record<string, Option> {
  const { properties = {} } = z.toJSONSchema(schema, { io: "input" });
  const named = Object.entries(properties as Record<string, Option>);
  return Object.fromEntries(named.map(([name, option]) => [name, { ...option, ...examples[name] }]));
}

interface Option {
  readonly description?: string;
  readonly default?: unknown;
}

/** The options of transfers and of inversions in one list: what a name means in both, its help says of each. */
function eitherOf(transfer: Record<string, Option>, inversion: Record<string, Option>): Record<string, Option> {
  const both = (name: string): Option => {
    const [one, other] = [transfer[name], inversion[name]];
    if (!one || !other) {
      return { ...(one ?? other), description: `${one ? "splice" : "invert"}: ${helpOf(one ?? other)}` };
    }
    if (JSON.stringify(one) === JSON.stringify(other)) return one;
    const { default: _, ...common } = one;
    return { ...common, description: `splice: ${helpOf(one)}; invert: ${helpOf(other)}` };
  };
  const names = new Set([...Object.keys(transfer), ...Object.keys(inversion)]);
  return Object.fromEntries(Array.from(names, (name) => [name, both(name)]));
}

const helpOf = ({ description = "", default: usual }: Option) =>
  usual === undefined ? description : `${description} (default: ${usual})`;

function isFeatureOption(name: string): boolean {
  return (FEATURE_FIELDS as readonly string[]).includes(name);
}

/** What a check that throws a Fault has to complain about. */
function errorsOf(check: () => void): readonly FieldError[] {
  try {
    check();
    return [];
  } catch (error) {
    if (error instanceof Fault) return error.errors;
    throw error;
  }
}
