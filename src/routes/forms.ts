/**
 * The forms that this server takes: their pictures, their plain fields, what is wrong with these, and how OpenAPI documents them. The options' types, defaults, bounds and
 * help come from the schema that the command line uses too.
 */
import { z } from "zod";
import { FEATURE_FIELDS, readFeatureFields } from "../jobs/feature_fields.ts";
import { Fault, type FieldError } from "../jobs/job.ts";
import { checkWebhookUrl } from "../jobs/webhook.ts";
import { parseRecipe, recipeSchema } from "../splice/recipe.ts";
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

/** Structure, appearance and all options of a training. */
export function spliceForm({ allowPrivateWebhooks }: { allowPrivateWebhooks: boolean }): DocumentedForm {
  const pictures = {
    structure: picture("the photograph that keeps its shapes"),
    appearance: picture("the photograph that lends its looks"),
  };
  const webhook = {
    type: "string",
    format: "uri",
    examples: ["https://example.invalid/hook"],
    description: "is sent the job as JSON when it starts and when it has ended" +
      (allowPrivateWebhooks ? "" : "; an address of the public internet"),
  };
  return {
    files: Object.keys(pictures),
    check({ webhook_url, ...options }) {
      const parsed = parseRecipe(options);
      const wrong = errorsOf(() => {
        if (webhook_url !== undefined) checkWebhookUrl(webhook_url, { allowPrivate: allowPrivateWebhooks });
      });
      return [...(parsed.ok ? [] : parsed.errors), ...wrong];
    },
    body: bodyOf("Two photographs, and options as plain fields.", {
      properties: { ...pictures, ...optionProperties(), webhook_url: webhook },
      required: Object.keys(pictures),
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
      ...Object.fromEntries(Object.entries(optionProperties()).filter(([name]) => isFeatureOption(name))),
    },
    required: ["image"],
  }),
};

/** One picture. */
export const applyForm: DocumentedForm = {
  files: ["image"],
  check: (fields) =>
    Object.keys(fields).map((field) => ({
      field,
      message: `Cannot use ${JSON.stringify(field.slice(0, 60))}: image is all that is taken`,
    })),
  body: bodyOf("A photograph of any size.", {
    properties: { image: picture("the photograph to render") },
    required: ["image"],
  }),
};

function bodyOf(
  description: string,
  { properties, required }: { properties: Record<string, object>; required: string[] },
): DocumentedForm["body"] {
  const schema = { type: "object", properties, required, additionalProperties: false } as const;
  return { required: true, description, content: { "multipart/form-data": { schema } } };
}

function picture(description: string): object {
  return {
    type: "string",
    format: "binary",
    contentMediaType: "application/octet-stream",
    description: `${description}: JPEG, PNG or WebP, at most 25 MB and 64 megapixels, at least 32 pixels a side`,
  };
}

/** The options as JSON Schema, by name. */
function optionProperties(): Record<string, object> {
  const { properties = {} } = z.toJSONSchema(recipeSchema, { io: "input" });
  const named = Object.entries(properties as Record<string, object>);
  return Object.fromEntries(named.map(([name, schema]) => [name, { ...schema, ...examples[name] }]));
}

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
