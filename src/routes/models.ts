/** What needs no training: the models that are here, an extractor's features of a picture, and a trained generator on another picture. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Served, Upload } from "../jobs/service.ts";
import { file, json, picture, problems, uploadFaults } from "./answers.ts";
import type { Ask, Shared } from "./environment.ts";
import { applyForm, type DocumentedForm, featuresForm } from "./forms.ts";
import { chosenFormat } from "./jobs.ts";
import { sendFile, type Sending } from "./send.ts";

const modelsSchema = z.strictObject({
  models: z.array(z.strictObject({
    name: z.string(),
    present: z.boolean().describe("can be used"),
    default: z.boolean().describe("used where no model is named"),
    about: z.string().nullable(),
    licence: z.string().nullable(),
    megabytes: z.number().nullable(),
  })),
}).meta({ id: "Models" });

export function addModels(shared: Shared): void {
  const { app, service, receive } = shared;

  const list = createRoute({
    method: "get",
    path: "/v1/models",
    tags: ["models"],
    summary: "The extractors, best first",
    responses: { 200: json(modelsSchema, "Known models, and others that are here"), ...problems() },
  });
  app.openapi(list, async (c) => c.json({ models: await service.models() }, 200));

  /** Receives a form, has the answer made in its upload's folder, and removes that folder once the answer is out. */
  async function answer(
    c: Ask,
    { form, make, sending }: {
      form: DocumentedForm;
      make: (upload: Upload, fields: Readonly<Record<string, string>>) => Promise<Served>;
      sending: Pick<Sending, "name" | "disposition">;
    },
  ): Promise<Response> {
    const { upload, fields } = await receive(c.req.raw, form);
    try {
      const served = await make(upload, fields);
      return await sendFile(c, served, { ...sending, kept: false, after: () => upload.discard() });
    } catch (error) {
      await upload.discard();
      throw error;
    }
  }

  const features = createRoute({
    method: "post",
    path: "/v1/features",
    tags: ["models"],
    summary: "An extractor's features of a picture",
    description:
      "Tensors `block.{i}.tokens`, `.queries`, `.keys`, `.values` [t, d] (heads concatenated, [CLS] first) and `self_similarity.{i}` [t, t]; metadata: grid, patch, resized size.",
    request: { body: featuresForm.body },
    responses: {
      200: file("Tensors as safetensors", "application/octet-stream"),
      ...problems(...uploadFaults, "unknown_model", "memory", "crashed"),
    },
  });
  app.openapi(features, (c) =>
    answer(c, {
      form: featuresForm,
      make: (upload, fields) => service.features(upload, fields),
      sending: { name: "features", disposition: "attachment" },
    }));

  const apply = createRoute({
    method: "post",
    path: "/v1/generators/{id}/apply",
    tags: ["models"],
    summary: "Render another picture with a job's trained generator",
    request: { params: z.object({ id: z.string().describe("the job that trained it") }), body: applyForm.body },
    responses: {
      200: picture("The picture, in the format that the Accept header likes best"),
      ...problems(
        ...uploadFaults,
        "unknown_job",
        "not_finished",
        "no_result",
        "canceled",
        "not_acceptable",
        "memory",
        "crashed",
      ),
    },
  });
  app.openapi(apply, (c) => {
    const { id } = c.req.valid("param");
    const format = chosenFormat(c, undefined);
    service.get(id); // an unknown job is refused before its picture has travelled
    return answer(c, {
      form: applyForm,
      make: (upload) => service.apply(id, upload, format),
      sending: { name: `applied-${id}`, disposition: "inline" },
    });
  });
}
